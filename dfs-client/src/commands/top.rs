//! `dfs top`: what each client of a volume does at this moment: calls and bytes in a second, leases, recalls, what
//! waits. Asks the coordinator for its counts at intervals and shows the differences.

use super::{CLEAN, Failure, connect, finish, hex, size, target};
use dfs_proto::v1;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// Lines of clients that are shown, busiest first; `--json` has all.
const LINES: usize = 40;

/// How to show it.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// One JSON object a line instead of a table.
    pub json: bool,
    /// One picture and the end.
    pub once: bool,
    pub interval: Duration,
}

/// Shows the clients of the volume that `given` names, until interrupted.
pub fn run(given: Option<&str>, show: Show) -> ExitCode {
    finish("top", top(given, show))
}

/// What a client did in an interval.
struct Doing {
    session: v1::SessionStatus,
    calls: f64,
    recalls: f64,
    read: f64,
    written: f64,
}

async fn top(given: Option<&str>, show: Show) -> Result<u8, Failure> {
    let source = target::volume(given)?;
    let (_, mut before) = connect(&source).await?;
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(show.interval).await;
        // Connected anew each time: the leader may have changed.
        let (_, now) = connect(&source).await?;
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        since = Instant::now();
        let doing = differences(&before, &now, seconds);
        if show.json {
            say!("{}", as_json(&now, &doing));
        } else {
            print(&now, &doing, !show.once);
        }
        if show.once {
            return Ok(CLEAN);
        }
        before = now;
    }
}

/// What each present client did since `before`, busiest first.
fn differences(before: &v1::StatusReply, now: &v1::StatusReply, seconds: f64) -> Vec<Doing> {
    let known: BTreeMap<&[u8], &v1::SessionStatus> = before
        .sessions
        .iter()
        .map(|session| (session.session.as_slice(), session))
        .collect();
    // A coordinator that took over counts from zero.
    let rate = |new: u64, old: u64| if new < old { new } else { new - old } as f64 / seconds;
    let doing = now.sessions.iter().map(|session| {
        let old = known.get(session.session.as_slice());
        let of = |what: fn(&v1::SessionStatus) -> u64| {
            rate(what(session), old.map_or(what(session), |old| what(old)))
        };
        Doing {
            session: session.clone(),
            calls: of(|one| one.calls),
            recalls: of(|one| one.recalls),
            read: of(|one| one.read_bytes),
            written: of(|one| one.written_bytes),
        }
    });
    let mut doing: Vec<Doing> = doing.collect();
    doing.sort_by(|one, other| {
        let weight = |doing: &Doing| doing.calls + (doing.read + doing.written) / 4096.0;
        weight(other).total_cmp(&weight(one))
    });
    doing
}

fn as_json(status: &v1::StatusReply, doing: &[Doing]) -> Value {
    let clients: Vec<Value> = doing
        .iter()
        .map(|one| {
            json!({
                "session": hex(&one.session.session),
                "client": one.session.client,
                "connected": one.session.connected,
                "calls_per_second": one.calls,
                "read_bytes_per_second": one.read,
                "written_bytes_per_second": one.written,
                "recalls_per_second": one.recalls,
                "leases": one.session.leases,
                "locks": one.session.locks,
                "pending": one.session.pending,
                "oldest_pending_ms": one.session.oldest_pending_ms,
            })
        })
        .collect();
    json!({ "volume": status.volume, "health": status.health, "log_index": status.log_index, "clients": clients })
}

fn print(status: &v1::StatusReply, doing: &[Doing], refresh: bool) {
    let sum = |what: fn(&Doing) -> f64| doing.iter().map(what).sum::<f64>();
    let clear = if refresh { CLEAR } else { "" };
    say!(
        "{clear}volume {}: {}   {} clients, {:.0} calls/s, {}/s read, {}/s written",
        status.volume,
        status.health,
        doing.len(),
        sum(|one| one.calls),
        size(sum(|one| one.read) as u64),
        size(sum(|one| one.written) as u64),
    );
    say!(
        "{:>9} {:>12} {:>12} {:>8} {:>6} {:>9} {:>8} {:>9}  CLIENT",
        "CALLS/s",
        "READ/s",
        "WRITTEN/s",
        "LEASES",
        "LOCKS",
        "RECALLS/s",
        "PENDING",
        "OLDEST"
    );
    for one in doing.iter().take(LINES) {
        say!(
            "{:>9.1} {:>12} {:>12} {:>8} {:>6} {:>9.1} {:>8} {:>6} ms  {}{}",
            one.calls,
            size(one.read as u64),
            size(one.written as u64),
            one.session.leases,
            one.session.locks,
            one.recalls,
            one.session.pending,
            one.session.oldest_pending_ms,
            one.session.client,
            if one.session.connected { "" } else { " (silent)" },
        );
    }
    if doing.len() > LINES {
        say!("... and {} more", doing.len() - LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sessions: &[(u8, u64, u64)]) -> v1::StatusReply {
        let session = |(id, calls, read_bytes): &(u8, u64, u64)| v1::SessionStatus {
            session: vec![*id; 16],
            calls: *calls,
            read_bytes: *read_bytes,
            ..v1::SessionStatus::default()
        };
        v1::StatusReply {
            sessions: sessions.iter().map(session).collect(),
            ..v1::StatusReply::default()
        }
    }

    #[test]
    fn rates_are_differences_and_the_busiest_is_first() {
        let before = status(&[(1, 100, 0), (2, 900, 0)]);
        // 2 is at a new coordinator, which counts anew; 3 is new.
        let now = status(&[(1, 140, 8192), (2, 60, 0), (3, 7, 0)]);
        let doing = differences(&before, &now, 2.0);
        let seen: Vec<(u8, f64, f64)> = doing
            .iter()
            .map(|one| (one.session.session[0], one.calls, one.read))
            .collect();
        assert_eq!(seen, [(2, 30.0, 0.0), (1, 20.0, 4096.0), (3, 0.0, 0.0)]);
    }
}
