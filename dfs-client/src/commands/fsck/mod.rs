//! `dfs fsck`: every row of the metadata against every other, and every copy of every chunk against its checksum.
//! Prints paths; progress goes to standard error. Nothing is changed unless a repair is asked for.

mod copies;
mod rows;

use super::{CLEAN, Failure, PROBLEMS, connect, finish, size, target};
use copies::{BadCopy, Copies};
use dfs_core::check::Problem;
use dfs_proto::v1;
use serde_json::json;
use std::process::ExitCode;

/// Checks the volume that `given` names; without it, the one that is mounted here. Exit code 0: clean, 1: problems
/// were found, 2: it could not be checked. With `repair` the coordinator is asked to replace bad copies.
pub fn run(given: Option<&str>, json: bool, repair: bool) -> ExitCode {
    finish("fsck", fsck(given, json, repair))
}

async fn fsck(given: Option<&str>, json: bool, repair: bool) -> Result<u8, Failure> {
    let (mut admin, status) = connect(&target::volume(given)?).await?;
    eprintln!("reading the metadata of volume {}", status.volume);
    let metadata = rows::read(&mut admin).await?;
    let chunks = metadata.chunks.len();
    let bytes = metadata.chunks.values().map(|chunk| u64::from(chunk.len)).sum();
    eprintln!(
        "{} rows at index {}; verifying {chunks} chunks, {}",
        metadata.rows,
        metadata.index,
        size(bytes)
    );
    let copies = copies::verify(&mut admin, &status, &metadata).await?;
    let paths: Vec<String> = copies
        .bad
        .iter()
        .map(|copy| metadata.path_of(copy.chunk))
        .collect();
    let (rows, index) = (metadata.rows, metadata.index);
    let problems = metadata.checker.finish();
    if repair && !copies.bad.is_empty() {
        ask_repair(&mut admin, &copies).await?;
    }
    let report = Report {
        rows,
        index,
        chunks,
        bytes,
        problems: &problems,
        copies: &copies,
        paths: &paths,
    };
    if json {
        report.print_json()
    } else {
        report.print(repair)
    }
    Ok(
        if problems.is_empty() && copies.bad.is_empty() && copies.unreachable.is_empty() {
            CLEAN
        } else {
            PROBLEMS
        },
    )
}

async fn ask_repair(admin: &mut super::Admin, copies: &Copies) -> Result<(), Failure> {
    let bad = |copy: &BadCopy| v1::BadCopy {
        chunk: Some(copy.chunk.into()),
        node: copy.node.0,
        reason: copy.reason.clone(),
    };
    for batch in copies.bad.chunks(copies::BATCH) {
        admin
            .repair(v1::RepairRequest {
                copies: batch.iter().map(bad).collect(),
            })
            .await?;
    }
    eprintln!("asked the coordinator to replace {} bad copies", copies.bad.len());
    Ok(())
}

struct Report<'a> {
    rows: u64,
    index: u64,
    chunks: usize,
    bytes: u64,
    problems: &'a [Problem],
    copies: &'a Copies,
    /// A file that uses each bad copy's chunk.
    paths: &'a [String],
}

impl Report<'_> {
    fn print_json(&self) {
        let copies: Vec<_> = self
            .copies
            .bad
            .iter()
            .zip(self.paths)
            .map(|(copy, path)| {
                json!({
                    "chunk": copy.chunk.to_string(),
                    "node": copy.node.0,
                    "reason": copy.reason,
                    "path": path,
                    "good_copies": self.copies.good.get(&copy.chunk).copied().unwrap_or(0),
                })
            })
            .collect();
        say!(
            "{:#}",
            json!({
                "clean": self.problems.is_empty() && copies.is_empty() && self.copies.unreachable.is_empty(),
                "rows": self.rows,
                "index": self.index,
                "chunks": self.chunks,
                "bytes": self.bytes,
                "copies_verified": self.copies.verified,
                "copies_awaiting_repair": self.copies.awaiting_repair,
                "problems": self.problems,
                "bad_copies": copies,
                "unreachable": self.copies.unreachable,
            })
        );
    }

    fn print(&self, repair: bool) {
        for problem in self.problems {
            say!("{problem}");
        }
        for (copy, path) in self.copies.bad.iter().zip(self.paths) {
            let good = self.copies.good.get(&copy.chunk).copied().unwrap_or(0);
            let lost = if good == 0 { "; NO GOOD COPY IS LEFT" } else { "" };
            say!(
                "{path}: chunk {} on node {}: {}{lost}",
                copy.chunk,
                copy.node,
                copy.reason
            );
        }
        for reason in &self.copies.unreachable {
            say!("not checked: {reason}");
        }
        let problems = self.problems.len() + self.copies.bad.len() + self.copies.unreachable.len();
        say!(
            "{} rows, {} chunks ({}), {} copies verified, {} awaiting repair: {}",
            self.rows,
            self.chunks,
            size(self.bytes),
            self.copies.verified,
            self.copies.awaiting_repair,
            if problems == 0 {
                "clean".to_string()
            } else {
                format!("{problems} problems")
            },
        );
        if !self.copies.bad.is_empty() && !repair {
            say!("`dfs fsck --repair` has bad copies replaced from good ones");
        }
    }
}
