//! Each numbered promise of docs/SEMANTICS.md is borne by a test that carries its number: a comment `S7` beside
//! the test, or a name that begins with `s7_`.
use super::{Finding, Source, code};
use std::collections::BTreeSet;

const DOCUMENT: &str = "docs/SEMANTICS.md";

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|s| s.path == DOCUMENT) else {
        return vec![Finding {
            place: DOCUMENT.into(),
            advice: "write down what the file system promises".into(),
        }];
    };
    let promised: BTreeSet<(u32, usize)> = document
        .text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((promise(line)?, at + 1)))
        .collect();
    if promised.is_empty() {
        return vec![Finding::file(
            document,
            "promises are lines that begin with their number, like `**S7** ...`",
        )];
    }
    let borne: BTreeSet<u32> = sources
        .iter()
        .filter(|s| has_tests(s))
        .flat_map(carried)
        .collect();
    let bare = promised.iter().filter(|(number, _)| !borne.contains(number));
    bare.map(|(number, line)| {
        let advice = format!("no test carries S{number}: write one and put `// S{number}` beside it");
        Finding::line(document, *line, advice)
    })
    .collect()
}

/// The number that a line of the document begins with, whatever mark-up is around it.
fn promise(line: &str) -> Option<u32> {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || "#*-|".contains(c));
    number(line.strip_prefix('S')?)
}

/// Digits, and then no letter.
fn number(text: &str) -> Option<u32> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let follows = text[digits..].chars().next();
    if follows.is_some_and(|c| c.is_alphanumeric()) {
        None
    } else {
        text[..digits].parse().ok()
    }
}

fn has_tests(source: &Source) -> bool {
    source.is_rust()
        && (source.code.contains("#[test]")
            || source.code.contains("::test]")
            || source.code.contains("proptest!"))
}

fn carried(source: &Source) -> Vec<u32> {
    let comments = source
        .text
        .lines()
        .filter_map(|line| line.split_once("//").map(|(_, comment)| comment));
    let words = comments.flat_map(|c| c.split(|c: char| !c.is_alphanumeric()));
    let mut numbers: Vec<u32> = words.filter_map(|word| number(word.strip_prefix('S')?)).collect();
    let named = code::functions(&source.code).into_iter().filter_map(|f| {
        let (first, _) = f.name.split_once('_')?;
        number(first.strip_prefix('s')?)
    });
    numbers.extend(named);
    numbers
}
