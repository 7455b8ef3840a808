//! From the runs' results to the page, its charts and the figures beside it. Called by `mod`.
use super::bars;
use super::chart::{Bar, Chart, Group};
use super::results::{Results, Row, Run};
use super::table;
use super::targets::{ALL, Target};
use crate::shell::{self, Outcome};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// The generated part of the page is between these lines; what people write around it stays.
pub const BEGIN: &str = "<!-- begin: written by cargo xtask bench -->";
pub const END: &str = "<!-- end: written by cargo xtask bench -->";
const INTRODUCTION: &str = "# Benchmarks\n\nThe same workloads on every file system, alternating in one run of \
`cargo xtask bench --peers`. All processes and all copies share the machine's cores and its one disk.\n";

/// Charts: file name, title, and which rows. Times are drawn in seconds.
type Rows = fn(&Row) -> bool;
const CHARTS: [(&str, &str, Rows); 5] = [
    (
        "small-files",
        "Small files, per second (longer is better)",
        |row| row.id.starts_with("small_"),
    ),
    (
        "metadata",
        "Names and directories, per second (longer is better)",
        |row| row.id.starts_with("md_"),
    ),
    ("large-files", "One large file, MB/s (longer is better)", |row| {
        row.unit == "MB/s"
    }),
    (
        "random",
        "Random access and transactions, per second (longer is better)",
        |row| row.unit == "IOPS" || row.unit == "tx/s",
    ),
    (
        "times",
        "Trees, repositories, appends, in seconds (shorter is better)",
        |row| row.unit == "s" || row.unit == "ms",
    ),
];

pub fn write(results: &Path, output: &Path, weighted: bool) -> Outcome {
    let results = Results::read(results)?;
    let beside = output.with_file_name("benchmarks");
    std::fs::create_dir_all(&beside).map_err(|e| format!("cannot make {}: {e}", beside.display()))?;
    let charts = draw(&results, &beside)?;
    save(&beside.join("results.json"), &(pretty(&results.runs)? + "\n"))?;
    let text = page(&results, &charts, weighted).map_err(|e| e.to_string())?;
    println!("{text}");
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
    save(output, &format!("{before}{BEGIN}\n{text}{END}{after}"))?;
    println!("written to {}", output.display());
    Ok(())
}

fn save(file: &Path, text: &str) -> Outcome {
    std::fs::write(file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))
}

fn pretty(runs: &[Run]) -> Outcome<String> {
    serde_json::to_string_pretty(runs).map_err(|e| e.to_string())
}

/// The file systems that have a result, in the usual order.
fn measured(results: &Results) -> Vec<&'static Target> {
    ALL.iter()
        .filter(|target| results.of(target.name).next().is_some())
        .collect()
}

/// Writes the charts that have something to show, and gives their names and titles.
fn draw(results: &Results, beside: &Path) -> Outcome<Vec<(&'static str, &'static str)>> {
    let mut drawn = Vec::new();
    for (name, title, wanted) in CHARTS {
        if let Some(svg) = chart(results, title, wanted).draw() {
            save(&beside.join(format!("{name}.svg")), &svg)?;
            drawn.push((name, title));
        }
    }
    Ok(drawn)
}

fn chart(results: &Results, title: &str, wanted: Rows) -> Chart {
    let targets = measured(results);
    let groups = results.rows().into_iter().filter(|row| wanted(row)).map(|row| {
        let seconds = if row.unit == "ms" { 1e-3 } else { 1.0 };
        let bars = targets.iter().enumerate().filter_map(|(series, target)| {
            let value = results.value(target.name, &row.id)? * seconds;
            Some(Bar { series, value })
        });
        Group {
            title: row.title.clone(),
            bars: bars.collect(),
        }
    });
    Chart {
        title: title.to_owned(),
        series: targets.iter().map(|target| target.name.to_owned()).collect(),
        groups: groups.collect(),
    }
}

pub fn page(
    results: &Results,
    charts: &[(&str, &str)],
    weighted: bool,
) -> std::result::Result<String, std::fmt::Error> {
    let mut text = String::new();
    let targets = measured(results);
    conditions(&mut text, results, &targets, weighted)?;
    writeln!(text, "\n## Bars\n")?;
    writeln!(
        text,
        "How many times better (above 1) or worse (below 1) DFS is than the best peer and than the limit, and what is \
         asked. Against the disk a sequential write with three copies can reach a third.\n"
    )?;
    table::judged(&mut text, results)?;
    cost(&mut text, results)?;
    writeln!(text, "\n## Figures\n")?;
    table::figures(&mut text, results, &targets)?;
    for (name, title) in charts {
        writeln!(text, "\n![{title}](benchmarks/{name}.svg)")?;
    }
    gaps(&mut text, results)?;
    Ok(text)
}

fn conditions(text: &mut String, results: &Results, targets: &[&Target], weighted: bool) -> std::fmt::Result {
    let runs = &results.runs;
    let subject = results.of(bars::SUBJECT).map(|run| run.note.as_str());
    let versions: Vec<&str> = subject.collect::<BTreeSet<_>>().into_iter().collect();
    let (first, last) = (
        runs.iter().map(|r| &r.when).min(),
        runs.iter().map(|r| &r.when).max(),
    );
    let quick = if runs.iter().any(|run| run.quick) {
        ", `--quick` sizes"
    } else {
        ""
    };
    if let (Some(first), Some(last), Some(run)) = (first, last, runs.first()) {
        writeln!(
            text,
            "\n{first} to {last}, DFS of {}, {} cores ({}), {} of memory, Linux {}{quick}. All on one disk.",
            versions.join(", "),
            run.cpus,
            proc_field("/proc/cpuinfo", "model name"),
            proc_field("/proc/meminfo", "MemTotal"),
            run.kernel
        )?;
    }
    let group = match weighted {
        true => "File systems and benchmark ran in a CPU control group of 20 times the usual weight.",
        false => "Without a CPU control group: other programs had their full part of the CPU.",
    };
    let loads = || runs.iter().map(|run| run.load_before[0]);
    let (low, high) = (loads().fold(f64::MAX, f64::min), loads().fold(0.0, f64::max));
    writeln!(
        text,
        "{group} Load of the machine before the runs: {low:.1} to {high:.1}.\n"
    )?;
    writeln!(
        text,
        "| name | what | rounds | CPU that others used meanwhile |\n| --- | --- | ---: | ---: |"
    )?;
    for target in targets {
        let rounds = results.of(target.name).count();
        let foreign = foreign(results.of(target.name)) * 100.0;
        writeln!(
            text,
            "| {} | {} | {rounds} | {foreign:.0} % |",
            target.name, target.about
        )?;
    }
    Ok(())
}

/// The part of the machine's CPU time that others used during the rows; the kernel's own threads are among them.
fn foreign<'a>(runs: impl Iterator<Item = &'a Run>) -> f64 {
    let (mut others, mut all) = (0.0, 0.0);
    for run in runs {
        for row in &run.rows {
            others += row.other_s.unwrap_or(0.0);
            all += row.secs.unwrap_or(0.0) * f64::from(run.cpus);
        }
    }
    if all > 0.0 { others / all } else { 0.0 }
}

fn proc_field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, value)| value.trim());
    value.unwrap_or("unknown").to_owned()
}

fn cost(text: &mut String, results: &Results) -> std::fmt::Result {
    let Some((ours, peer)) = bars::write_cost(results) else {
        return Ok(());
    };
    write!(
        text,
        "\nSequential write with three copies: DFS uses {ours:.1} CPU seconds per GB"
    )?;
    match peer {
        None => writeln!(text, "."),
        Some((name, theirs)) => {
            let verdict = if ours <= theirs { "holds" } else { "does not hold" };
            writeln!(text, ", {name} {theirs:.1}: `no more CPU` {verdict}.")
        }
    }
}

/// Rows without a value say why.
fn gaps(text: &mut String, results: &Results) -> std::fmt::Result {
    let rows = results
        .runs
        .iter()
        .flat_map(|run| run.rows.iter().map(move |row| (run, row)));
    let notes =
        rows.filter_map(|(run, row)| Some(format!("- {}, {}: {}", run.label, row.id, row.note.as_ref()?)));
    let notes: BTreeSet<String> = notes.collect();
    if !notes.is_empty() {
        writeln!(text, "\nWithout a figure in some round:\n")?;
    }
    for note in notes {
        writeln!(text, "{}", note.replace('\n', " "))?;
    }
    Ok(())
}

/// What is measured: ten digits of the commit.
pub fn commit() -> String {
    let mut git = shell::command("git");
    let id = shell::capture(git.args(["-c", "safe.directory=*", "rev-parse", "--short=10", "HEAD"]));
    id.map_or("unknown".into(), |id| id.trim().to_owned())
}
