//! Every figure that a process shows is described in docs/OPERATIONS.md, and nothing is described there that no
//! process shows: operators build alarms on these names.
use super::{Finding, Source};
use std::collections::BTreeMap;

const DOCUMENT: &str = "docs/OPERATIONS.md";
/// Where the reasons of `dfs status` are decided.
const REASONS: &str = "services/health.rs";
const PREFIXES: [&str; 5] = [
    "dfs_build_",
    "dfs_coordinator_",
    "dfs_datanode_",
    "dfs_mount_",
    "process_",
];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|source| source.path == DOCUMENT) else {
        return Vec::new();
    };
    let described = names(&document.text, '`');
    let shown: Vec<(&Source, BTreeMap<&str, usize>)> = sources
        .iter()
        .filter(|source| {
            source.path.starts_with("dfs-") && source.is_rust() && !source.path.contains("tests")
        })
        .map(|source| (source, names(&source.text, '"')))
        .collect();
    let mut findings: Vec<Finding> = sources
        .iter()
        .filter(|source| source.path.ends_with(REASONS))
        .flat_map(|source| reasons(source, document))
        .collect();
    for (source, shown) in &shown {
        for (name, line) in shown.iter().filter(|(name, _)| !described.contains_key(*name)) {
            let advice = format!("{name}: describe it in {DOCUMENT}, under Figures");
            findings.push(Finding::line(source, *line, advice));
        }
    }
    for (name, line) in &described {
        if !shown.iter().any(|(_, shown)| shown.contains_key(name)) {
            let advice = format!("no process shows {name}: take it out");
            findings.push(Finding::line(document, *line, advice));
        }
    }
    findings
}

/// Each reason that `dfs status` may give is described, too.
fn reasons(source: &Source, document: &Source) -> Vec<Finding> {
    let name = |word: &str| {
        word.len() > 5 && word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let mut findings = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for word in line
            .split('"')
            .filter(|word| name(word) && !word.starts_with("HEALTH_") && !word.starts_with("CARGO_"))
        {
            if !document.text.contains(&format!("`{word}`")) {
                let advice = format!("{word}: say in {DOCUMENT}, under Health, what it means and what to do");
                findings.push(Finding::line(source, number + 1, advice));
            }
        }
    }
    findings
}

/// The names between two marks, each with its first line.
fn names(text: &str, mark: char) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        for word in line.split(mark) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if PREFIXES.iter().any(|prefix| word.starts_with(prefix)) && word.chars().all(plain) {
                found.entry(word).or_insert(number + 1);
            }
        }
    }
    found
}
