//! Every Rust file begins by saying what lives there, who calls it and what it must not know.
use super::{Finding, Source};

/// Shorter heads say nothing.
const LEAST: usize = 12;

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let bad = |s: &&Source| {
        let head: String = s
            .text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .collect();
        head.trim().len() < LEAST
    };
    let advice = "begin the file with `//!`: what lives here, who calls it, what it must not know";
    sources
        .iter()
        .filter(|s| s.is_rust())
        .filter(bad)
        .map(|s| Finding::file(s, advice))
        .collect()
}
