//! What fsbench wrote: the runs, and medians over them. Called by everything that makes the page.
use crate::shell::Outcome;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Deserialize, Serialize)]
pub struct Run {
    pub label: String,
    /// The commit that was measured.
    pub note: String,
    pub when: String,
    pub kernel: String,
    pub cpus: u32,
    pub quick: bool,
    pub load_before: [f64; 3],
    pub total_s: f64,
    pub rows: Vec<Row>,
}

#[derive(Deserialize, Serialize)]
pub struct Row {
    pub id: String,
    pub title: String,
    pub unit: String,
    pub better: String,
    pub value: Option<f64>,
    pub secs: Option<f64>,
    /// CPU seconds of the file system's processes and of the benchmark.
    pub cpu_s: Option<f64>,
    /// Of everything else on the machine, the kernel's threads among it.
    pub other_s: Option<f64>,
    pub disk_w_mb: Option<f64>,
    pub flushes: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing)]
    detail: Vec<serde_json::Value>,
}

impl Row {
    pub fn higher_is_better(&self) -> bool {
        self.better == "high"
    }

    /// CPU seconds for each gigabyte, where the row moved bytes.
    pub fn cpu_per_gb(&self) -> Option<f64> {
        let bytes = self.detail.first()?.get("bytes")?.as_f64()?;
        Some(self.cpu_s? / (bytes / 1e9))
    }
}

pub struct Results {
    pub runs: Vec<Run>,
}

impl Results {
    /// All runs of the directory, in the order of their names.
    pub fn read(dir: &Path) -> Outcome<Self> {
        let list = std::fs::read_dir(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
        let mut files: Vec<_> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "json"));
        files.sort();
        let runs = files.iter().map(|file| {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|e| format!("cannot read {}: {e}", file.display()))?;
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
        });
        let runs: Vec<Run> = runs.collect::<Outcome<_>>()?;
        match runs.is_empty() {
            true => Err("no run left a result".into()),
            false => Ok(Self { runs }),
        }
    }

    pub fn of<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.label == label)
    }

    /// The rows that any run has, in the order in which they are measured.
    pub fn rows(&self) -> Vec<&Row> {
        let longest = self.runs.iter().max_by_key(|run| run.rows.len());
        longest.map_or(Vec::new(), |run| run.rows.iter().collect())
    }

    pub fn median(&self, label: &str, id: &str, field: fn(&Row) -> Option<f64>) -> Option<f64> {
        let rows = self
            .of(label)
            .filter_map(|run| run.rows.iter().find(|row| row.id == id));
        median(rows.filter_map(field).collect())
    }

    pub fn value(&self, label: &str, id: &str) -> Option<f64> {
        self.median(label, id, |row| row.value)
    }
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
