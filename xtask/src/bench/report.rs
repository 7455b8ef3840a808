//! From the runs' JSON files to the table in docs/BENCHMARKS.md. Knows the shape of fsbench's output, not how it ran.
use crate::shell::{self, Outcome};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

#[derive(Deserialize)]
struct Run {
    label: String,
    when: String,
    kernel: String,
    cpus: u32,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    title: String,
    unit: String,
    better: String,
    value: Option<f64>,
    cpu_s: Option<f64>,
    flushes: Option<f64>,
    note: Option<String>,
}

/// The generated part of the document is between these lines; what people write around it stays.
const BEGIN: &str = "<!-- begin: written by cargo xtask bench -->";
const END: &str = "<!-- end: written by cargo xtask bench -->";
const INTRODUCTION: &str = "# Benchmarks\n\nThe same workloads on the disk itself (ext4), on libfuse's passthrough \
over it (what FUSE allows with one copy) and on DFS (three copies on three datanodes, honest fsync), alternating in \
one run of `cargo xtask bench`. All processes share the machine's cores and its one disk.\n";

/// The columns that are limits come first; DFS is compared with them.
const LIMITS: [&str; 2] = ["ext4", "passthrough"];
const SUBJECT: &str = "dfs";

pub fn write(results: &Path, output: &Path, quick: bool) -> Outcome {
    let runs = read(results)?;
    let table = render(&runs, quick)?;
    println!("{table}");
    let old = std::fs::read_to_string(output).unwrap_or_else(|_| format!("{INTRODUCTION}\n{BEGIN}\n{END}\n"));
    let (before, after) = match (old.split_once(BEGIN), old.split_once(END)) {
        (Some((before, _)), Some((_, after))) => (before, after),
        _ => {
            return Err(format!(
                "{}: the lines `{BEGIN}` and `{END}` are missing",
                output.display()
            ));
        }
    };
    std::fs::write(output, format!("{before}{BEGIN}\n{table}{END}{after}"))
        .map_err(|e| format!("cannot write {}: {e}", output.display()))?;
    println!("written to {}", output.display());
    Ok(())
}

fn read(results: &Path) -> Outcome<Vec<Run>> {
    let list = std::fs::read_dir(results).map_err(|e| format!("cannot read {}: {e}", results.display()))?;
    let mut files: Vec<_> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let text =
                std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
        })
        .collect()
}

/// The medians of one row by label.
fn medians(runs: &[Run], id: &str, field: fn(&Row) -> Option<f64>) -> BTreeMap<String, f64> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for run in runs {
        let row = run.rows.iter().find(|row| row.id == id);
        values
            .entry(run.label.clone())
            .or_default()
            .extend(row.and_then(field));
    }
    values
        .into_iter()
        .filter_map(|(label, values)| Some((label, median(values)?)))
        .collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

fn render(runs: &[Run], quick: bool) -> Outcome<String> {
    let first = runs.first().ok_or("no run left a result")?;
    let mut text = String::new();
    let write = |text: &mut String| -> std::fmt::Result {
        let rounds = runs.iter().filter(|run| run.label == first.label).count();
        writeln!(
            text,
            "\n{}, commit {}, {} cores, Linux {}, medians of {rounds} round(s){}.\n\
             (xN): DFS is N times better (>1) or worse (<1) than that column.\n",
            first.when,
            commit(),
            first.cpus,
            first.kernel,
            if quick { ", `--quick` sizes" } else { "" }
        )?;
        writeln!(
            text,
            "| workload | unit | ext4 | passthrough | DFS | DFS CPU s | DFS flushes |"
        )?;
        writeln!(text, "| --- | --- | ---: | ---: | ---: | ---: | ---: |")?;
        let longest = runs.iter().max_by_key(|run| run.rows.len()).unwrap_or(first);
        for row in &longest.rows {
            write_row(text, runs, row)?;
        }
        write_notes(text, runs)
    };
    write(&mut text).map_err(|e| e.to_string())?;
    Ok(text)
}

fn write_row(text: &mut String, runs: &[Run], row: &Row) -> std::fmt::Result {
    let values = medians(runs, &row.id, |r| r.value);
    let subject = values.get(SUBJECT).copied();
    write!(text, "| {} | {} |", row.title, row.unit)?;
    for limit in LIMITS {
        match (values.get(limit), subject) {
            (Some(&theirs), Some(ours)) => {
                let ratio = if row.better == "high" {
                    ours / theirs
                } else {
                    theirs / ours
                };
                write!(text, " {} (x{}) |", figure(theirs), figure(ratio))?;
            }
            (Some(&theirs), None) => write!(text, " {} |", figure(theirs))?,
            (None, _) => write!(text, " - |")?,
        }
    }
    let more = |field| {
        medians(runs, &row.id, field)
            .get(SUBJECT)
            .map_or("-".into(), |v| figure(*v))
    };
    let ours = subject.map_or("-".into(), figure);
    writeln!(
        text,
        " **{ours}** | {} | {} |",
        more(|r| r.cpu_s),
        more(|r| r.flushes)
    )
}

/// Rows without a value say why.
fn write_notes(text: &mut String, runs: &[Run]) -> std::fmt::Result {
    for run in runs {
        for row in &run.rows {
            if let Some(note) = &row.note {
                writeln!(text, "\n- {}, {}: {note}", run.label, row.id)?;
            }
        }
    }
    Ok(())
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn commit() -> String {
    let mut git = shell::command("git");
    let id = shell::capture(git.args(["-c", "safe.directory=*", "rev-parse", "--short=10", "HEAD"]));
    id.map_or("unknown".into(), |id| id.trim().to_owned())
}
