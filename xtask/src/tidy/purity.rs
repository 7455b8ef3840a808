//! dfs-core decides from values alone: no clock, no randomness, no file, no socket, no thread, nothing async.
use super::{Finding, Source, code};

/// Parts of the standard library that reach outside of the process or of the argument list.
const OUTSIDE: [&str; 6] = ["fs", "net", "process", "env", "thread", "os"];
const NAMES: [&str; 6] = ["SystemTime", "Instant", "tokio", "rand", "async", "await"];

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|s| s.is_rust() && s.path.starts_with("dfs-core/src/"))
    {
        let outside = code::after(&source.code, "std")
            .into_iter()
            .filter(|(_, name)| OUTSIDE.contains(name));
        let named = code::names(&source.code).filter(|(_, name)| NAMES.contains(name));
        for (line, name) in outside.chain(named) {
            let advice =
                format!("`{name}` in the core: take the value as an argument, do the deed in a shell crate");
            findings.push(Finding::line(source, line, advice));
        }
    }
    findings
}
