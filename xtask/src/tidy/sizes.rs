//! Files and functions stay small enough to be read at once: the owner of a state tends to become the file
//! that holds everything.
use super::{Finding, Source, code};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.is_rust()) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            let advice =
                format!("{lines} lines, {FILE_LINES} are the limit: one file per operation or transition");
            findings.push(Finding::file(source, advice));
        }
        for function in code::functions(&source.code)
            .into_iter()
            .filter(|f| f.lines > FUNCTION_LINES)
        {
            let advice = format!(
                "fn {} has {} lines, {FUNCTION_LINES} are the limit: split it",
                function.name, function.lines
            );
            findings.push(Finding::line(source, function.line, advice));
        }
    }
    findings
}
