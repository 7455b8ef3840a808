//! Words that say nothing, and marks of unfinished work.
use super::{Finding, Source, code};

const EMPTY: [&str; 8] = [
    "manager", "helper", "helpers", "util", "utils", "common", "misc", "wrapper",
];
const EMPTY_TOO: [&str; 2] = ["handler", "handlers"];
/// Names that other people's libraries chose.
const FOREIGN: [&str; 5] = [
    "SigHandler",
    "sighandler_t",
    "futures_util",
    "http_body_util",
    "hyper_util",
];
/// Split, so that this file does not find itself.
const UNFINISHED: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("HA", "CK"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[", "ignore"),
];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.is_rust()) {
        for part in source
            .path
            .split('/')
            .filter(|part| empty(part.trim_end_matches(".rs")))
        {
            findings.push(Finding::file(
                source,
                format!("`{part}` says nothing: name what the file does"),
            ));
        }
        for (line, name) in code::names(&source.code).filter(|(_, name)| empty(name)) {
            findings.push(Finding::line(
                source,
                line,
                format!("`{name}` says nothing: name what it does"),
            ));
        }
        for (number, line) in source.text.lines().enumerate() {
            for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
                findings.push(Finding::line(
                    source,
                    number + 1,
                    format!("{mark}: finish it, or open an issue"),
                ));
            }
        }
    }
    findings
}

fn empty(name: &str) -> bool {
    let says_nothing = |word: &str| EMPTY.contains(&word) || EMPTY_TOO.contains(&word);
    !FOREIGN.contains(&name) && split(name).iter().any(|word| says_nothing(word))
}

/// `FooBar_baz` has the words foo, bar and baz.
pub fn split(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || c == '-' || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
        if c.is_alphanumeric() {
            words
                .last_mut()
                .expect("begins with one")
                .extend(c.to_lowercase());
        }
    }
    words
}
