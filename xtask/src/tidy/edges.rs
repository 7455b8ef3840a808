//! Which crate may depend on which, and which role of the server may name which. The map is here and in
//! docs/ARCHITECTURE.md, nowhere else.
use super::{Finding, Source, code};

/// Each crate with those of ours that it may name; what is absent is the point.
const CRATES: [(&str, &[&str]); 7] = [
    ("dfs-core", &[]),
    ("dfs-proto", &["dfs-core"]),
    ("dfs-client", &["dfs-core", "dfs-proto"]),
    ("dfs-fuse", &["dfs-core", "dfs-proto", "dfs-client"]),
    ("dfs-server", &["dfs-core", "dfs-proto", "dfs-client"]),
    ("integration", &[]),
    ("xtask", &[]),
];

/// Roles of the server; only `standalone` may name the others.
const ROLES: [&str; 4] = ["coordinator", "datanode", "gateway", "standalone"];
const ALL_IN_ONE: &str = "standalone";

pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        if let Some(package) = source.path.strip_suffix("/Cargo.toml") {
            findings.extend(dependencies(source, package));
        }
        if let Some(inside) = source.path.strip_prefix("dfs-server/src/") {
            findings.extend(roles(source, inside));
        }
    }
    findings
}

fn dependencies(source: &Source, package: &str) -> Vec<Finding> {
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == package) else {
        return vec![Finding::file(
            source,
            "a new crate: say in xtask/src/tidy/edges.rs what it may depend on",
        )];
    };
    let ours = |name: &str| CRATES.iter().any(|(ours, _)| *ours == name);
    let mut findings = Vec::new();
    let mut section = "";
    for (number, line) in source.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(|c| c == '[' || c == ']');
        } else if section.ends_with("dependencies") {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if ours(name) && !allowed.contains(&name) {
                let advice =
                    format!("{package} must not depend on {name}: move the decision down, the deed up");
                findings.push(Finding::line(source, number + 1, advice));
            } else if !name.is_empty() && !name.starts_with('#') && !line.contains("workspace = true") {
                let advice = format!("{name}: name the version once, in the root manifest, with its reason");
                findings.push(Finding::line(source, number + 1, advice));
            }
        }
    }
    findings
}

fn roles(source: &Source, inside: &str) -> Vec<Finding> {
    let own = inside.split(['/', '.']).next().unwrap_or_default();
    // Files beside the roles put them together; what all roles share must not name any.
    if own == ALL_IN_ONE || own == "main" {
        return Vec::new();
    }
    let foreign = |name: &str| name != own && ROLES.contains(&name);
    let mut named = code::after(&source.code, "crate");
    named.extend(code::after(&source.code, "super::super"));
    let named = named
        .into_iter()
        .filter(|(_, name)| foreign(name) && own != "lib");
    named
        .map(|(line, name)| {
            let advice =
                format!("{own} must not name {name}: share it in dfs-core, dfs-proto or beside the roles");
            Finding::line(source, line, advice)
        })
        .collect()
}
