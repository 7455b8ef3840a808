//! Nothing in the repository may name a place of the machine that it was written on.
use super::{Finding, Source};

/// Split, so that this file does not find itself.
const PLACES: [&str; 5] = [
    concat!("/wor", "k/main"),
    concat!("/wor", "k/shared"),
    concat!("/wor", "k/."),
    concat!("/tmp", "/brief"),
    concat!("../sha", "red"),
];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            for place in PLACES.iter().filter(|place| line.contains(**place)) {
                let advice = format!(
                    "{place} exists on no other machine: take it from the environment or leave it out"
                );
                findings.push(Finding::line(source, number + 1, advice));
            }
        }
    }
    findings
}
