//! The tables of the page: all figures, and what is asked against what is. Called by `report`.
use super::bars::{self, Ratio, SUBJECT};
use super::results::{Results, Row};
use super::targets::Target;
use std::fmt::{Result, Write};

/// Every row of every file system.
pub fn figures(text: &mut String, results: &Results, targets: &[&Target]) -> Result {
    write!(text, "| workload | unit |")?;
    for target in targets {
        write!(text, " {} |", target.name)?;
    }
    writeln!(text, " DFS CPU s | DFS flushes |")?;
    writeln!(
        text,
        "| --- | --- |{} ---: | ---: |",
        " ---: |".repeat(targets.len())
    )?;
    for row in results.rows() {
        write!(text, "| {} | {} |", row.title, row.unit)?;
        for target in targets {
            let value = shown(results.value(target.name, &row.id));
            match target.name == SUBJECT {
                true => write!(text, " **{value}** |")?,
                false => write!(text, " {value} |")?,
            }
        }
        let of = |field| shown(results.median(SUBJECT, &row.id, field));
        writeln!(text, " {} | {} |", of(|r: &Row| r.cpu_s), of(|r: &Row| r.flushes))?;
    }
    Ok(())
}

/// Each row's ratios with what is asked of them, and the counts of what holds.
pub fn judged(text: &mut String, results: &Results) -> Result {
    writeln!(
        text,
        "| workload | best peer | DFS is | asked | limit | DFS is | asked |"
    )?;
    writeln!(text, "| --- | --- | ---: | ---: | --- | ---: | ---: |")?;
    let (mut peers, mut limits) = (Count::default(), Count::default());
    for row in results.rows() {
        let (peer, limit) = (bars::to_peer(results, row), bars::to_limit(results, row));
        if peer.is_none() && limit.is_none() {
            continue;
        }
        writeln!(text, "| {} | {} | {} |", row.title, cells(&peer), cells(&limit))?;
        peers.add(peer.as_ref());
        limits.add(limit.as_ref());
    }
    writeln!(text)?;
    writeln!(
        text,
        "Of the bars against peers {peers}; of those against the limits {limits}."
    )
}

#[derive(Default)]
struct Count {
    asked: usize,
    hold: usize,
}

impl Count {
    fn add(&mut self, ratio: Option<&Ratio>) {
        let Some(ratio) = ratio.filter(|ratio| ratio.asked.is_some()) else {
            return;
        };
        self.asked += 1;
        self.hold += usize::from(ratio.holds());
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> Result {
        write!(f, "{} of {} hold", self.hold, self.asked)
    }
}

fn cells(ratio: &Option<Ratio>) -> String {
    let Some(ratio) = ratio else {
        return "- | - | -".to_owned();
    };
    let is = format!("x{}", figure(ratio.is));
    match ratio.asked {
        None => format!("{} | {is} | reported", ratio.to),
        Some(asked) if ratio.holds() => format!("{} | {is} | x{}, holds", ratio.to, figure(asked)),
        Some(asked) => {
            let short = figure(asked / ratio.is);
            format!("{} | {is} | **x{}, short by {short}** |", ratio.to, figure(asked))
                .trim_end_matches(" |")
                .to_owned()
        }
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or("-".into(), figure)
}

/// Three digits are enough of a figure that varies by a tenth.
pub fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}
