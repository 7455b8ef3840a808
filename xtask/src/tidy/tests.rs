//! Each rule finds what it is for and leaves the rest alone.
use super::{Source, code, edges, heads, paths, promises, purity, sizes, words};

fn source(path: &str, text: &str) -> Vec<Source> {
    vec![Source::new(path, text.to_owned())]
}

#[test]
fn literals_and_comments_are_blank_and_lines_stay() {
    let text = "let a = \"fn x\"; // fn y\nlet b = 'f'; let c: &'static str = r#\"fn \"z\"#;\nfn real() {}\n";
    let blanked = code::blank(text);
    assert_eq!(blanked.len(), text.len());
    assert_eq!(blanked.matches('\n').count(), 3);
    let functions = code::functions(&blanked);
    assert_eq!(functions.len(), 1);
    assert_eq!(
        (functions[0].name, functions[0].line, functions[0].lines),
        ("real", 3, 1)
    );
}

#[test]
fn paths_and_groups_are_followed() {
    let names = code::after(
        "use crate::{datanode::Store, config, a::{b, c}};\nlet x = crate::gateway::run();",
        "crate",
    );
    assert_eq!(names, [(1, "datanode"), (1, "config"), (1, "a"), (2, "gateway")]);
}

#[test]
fn crates_keep_to_the_map() {
    let bad = source(
        "dfs-core/Cargo.toml",
        "[dependencies]\ndfs-client.workspace = true\nserde = { workspace = true }\n",
    );
    assert_eq!(edges::check(&bad).len(), 1);
    let version = source("dfs-core/Cargo.toml", "[dependencies]\nserde = \"1\"\n");
    assert_eq!(edges::check(&version).len(), 1);
    let good = source(
        "dfs-fuse/Cargo.toml",
        "[package]\nname = \"dfs-fuse\"\n[dependencies]\ndfs-client.workspace = true\n",
    );
    assert!(edges::check(&good).is_empty());
}

#[test]
fn roles_do_not_name_each_other() {
    assert_eq!(
        edges::check(&source(
            "dfs-server/src/coordinator/mod.rs",
            "use crate::datanode::Store;"
        ))
        .len(),
        1
    );
    assert_eq!(
        edges::check(&source(
            "dfs-server/src/config.rs",
            "use crate::{datanode, coordinator};"
        ))
        .len(),
        2
    );
    assert!(
        edges::check(&source(
            "dfs-server/src/standalone/mod.rs",
            "use crate::datanode::Store;"
        ))
        .is_empty()
    );
    assert!(
        edges::check(&source(
            "dfs-server/src/datanode/mod.rs",
            "use crate::config::Config;"
        ))
        .is_empty()
    );
}

#[test]
fn heads_sizes_words_and_places_are_found() {
    assert_eq!(heads::check(&source("a.rs", "//! short\nfn x() {}")).len(), 1);
    assert_eq!(sizes::check(&source("a.rs", &"\n".repeat(501))).len(), 1);
    assert_eq!(
        sizes::check(&source("a.rs", &format!("fn x() {{{}}}", "\n".repeat(80)))).len(),
        1
    );
    assert_eq!(
        words::check(&source("x/utils.rs", "struct LeaseManager;")).len(),
        2
    );
    assert!(words::check(&source("a.rs", "struct Commander; // a manager")).is_empty());
    assert_eq!(
        paths::check(&source("a.sh", concat!("cd /wor", "k/main"))).len(),
        1
    );
}

#[test]
fn the_core_is_pure() {
    let bad = "use std::{fs, collections::BTreeMap};\nfn now() -> SystemTime { tokio::now() }";
    assert_eq!(purity::check(&source("dfs-core/src/a.rs", bad)).len(), 3);
    assert!(purity::check(&source("dfs-server/src/a.rs", bad)).is_empty());
}

#[test]
fn promises_want_tests() {
    let document = Source::new(
        "docs/SEMANTICS.md",
        "# Promises\n**S1** one\n- S2: two\nSee S3.\n".into(),
    );
    let test = Source::new("a.rs", "// S2\n#[test]\nfn x() {}\n".into());
    let findings = promises::check(&[document, test]);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].advice.contains("S1"));
}
