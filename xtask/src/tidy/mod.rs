//! `cargo xtask tidy`: the rules of the house that no compiler knows. Each rule is a file that takes the sources
//! and gives back findings; this one reads the sources and prints. Rules read text only.
mod code;
mod edges;
mod figures;
mod heads;
mod paths;
mod promises;
mod purity;
mod sizes;
#[cfg(test)]
mod tests;
mod words;

use crate::shell::{self, Outcome};

/// A file of the repository: its path from the root, its text, and for Rust the text without comments and literals.
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") {
            code::blank(&text)
        } else {
            String::new()
        };
        Self {
            path: path.to_owned(),
            text,
            code,
        }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Where, and what to do about it.
pub struct Finding {
    pub place: String,
    pub advice: String,
}

impl Finding {
    pub fn file(source: &Source, advice: impl Into<String>) -> Self {
        Self {
            place: source.path.clone(),
            advice: advice.into(),
        }
    }

    pub fn line(source: &Source, line: usize, advice: impl Into<String>) -> Self {
        Self {
            place: format!("{}:{line}", source.path),
            advice: advice.into(),
        }
    }
}

type Rule = fn(&[Source]) -> Vec<Finding>;

const RULES: [(&str, Rule); 8] = [
    ("edges", edges::check),
    ("figures", figures::check),
    ("heads", heads::check),
    ("paths", paths::check),
    ("promises", promises::check),
    ("purity", purity::check),
    ("sizes", sizes::check),
    ("words", words::check),
];

pub fn run() -> Outcome {
    let sources = read_all()?;
    let mut count = 0;
    for (name, rule) in RULES {
        for finding in rule(&sources) {
            println!("{name}: {}: {}", finding.place, finding.advice);
            count += 1;
        }
    }
    match count {
        0 => {
            println!(
                "tidy: {} files, {} rules, nothing found",
                sources.len(),
                RULES.len()
            );
            Ok(())
        }
        _ => Err(format!("tidy found {count} places")),
    }
}

/// All text files that git knows or would add.
fn read_all() -> Outcome<Vec<Source>> {
    let mut git = shell::command("git");
    // A clone may belong to another account than the one that checks it.
    git.args(["-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]);
    let list = shell::capture(&mut git)?;
    let mut sources = Vec::new();
    for path in list.lines() {
        match std::fs::read(shell::root().join(path)) {
            Ok(bytes) => sources.extend(String::from_utf8(bytes).ok().map(|text| Source::new(path, text))),
            // Deleted, not yet committed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("cannot read {path}: {e}")),
        }
    }
    Ok(sources)
}
