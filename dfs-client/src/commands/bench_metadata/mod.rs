//! `dfs bench metadata`: offers a volume's coordinator what mounts offer, batches of operations on several sessions,
//! and tells how fast they became durable. The `dfs` executable calls `run`; no kernel and no datanode takes part.

mod link;
mod report;
mod work;

use super::{CLEAN, Failure, PROBLEMS, connecting, finish, serving, target};
use dfs_proto::v1::{self, op::Op};
use futures_util::future::try_join_all;
use link::{Arrived, Link};
use report::{Report, Tally};
use std::cell::Cell;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use work::Share;

/// Sessions on one connection: servers allow some two hundred streams on each.
const SESSIONS_PER_CONNECTION: usize = 64;
/// Operations of one message while directories are made and removed.
const SETUP_BATCH: usize = 1000;
const ROOT: u64 = 1;

/// What the sessions do, in the order of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Create,
    Mkdir,
    Lookup,
    List,
    Rename,
    Unlink,
    Rmdir,
    Mix,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Create => "create",
            Phase::Mkdir => "mkdir",
            Phase::Lookup => "lookup",
            Phase::List => "list",
            Phase::Rename => "rename",
            Phase::Unlink => "unlink",
            Phase::Rmdir => "rmdir",
            Phase::Mix => "mix",
        }
    }
}

/// How much of what.
#[derive(Clone, Debug)]
pub struct Settings {
    pub sessions: usize,
    /// Files, over all sessions.
    pub files: u64,
    pub per_dir: u64,
    /// Operations in one message, and messages on their way for each session.
    pub batch: usize,
    pub window: usize,
    /// Inodes on which each session keeps leases.
    pub leases: usize,
    /// A phase ends after this, whatever it has done.
    pub duration: Option<Duration>,
    pub phases: Vec<Phase>,
    pub json: bool,
}

/// Runs the phases against the volume that `given` names.
pub fn run(given: Option<&str>, settings: Settings) -> ExitCode {
    finish("bench metadata", bench(given, settings))
}

async fn bench(given: Option<&str>, settings: Settings) -> Result<u8, Failure> {
    let source = target::volume(given)?;
    let (_, status, address) = serving(&source).await?;
    let mut links = Vec::new();
    let mut channel = connecting(&address)?;
    for number in 0..settings.sessions {
        if number > 0 && number % SESSIONS_PER_CONNECTION == 0 {
            channel = connecting(&address)?;
        }
        let client = format!("bench metadata {number}");
        links.push(Link::open(channel.clone(), &source.volume, &client, settings.leases).await?);
    }
    let mut setup = Link::open(channel, &source.volume, "bench metadata", settings.leases).await?;
    let top = format!("bench-metadata-{}", uuid::Uuid::new_v4().simple());
    let (top_ino, mut shares) = set_up(&mut setup, &top, &settings).await?;
    setup.close().await?;
    let mut report = Report::new(status.usage.unwrap_or_default().inodes, &settings);
    for phase in &settings.phases {
        let tally = Tally::new(phase.name(), settings.json);
        let began = Progress::default();
        let work = links.iter_mut().zip(&mut shares);
        let work = work.map(|(link, share)| perform(link, share, *phase, &settings, &tally, &began));
        try_join_all(work).await?;
        report.add(tally.finish());
    }
    let left: u64 = shares.iter().map(|share| share.made + share.dirs_made).sum();
    try_join_all(links.into_iter().map(Link::close)).await?;
    if left == 0 {
        let mut setup = Link::open(connecting(&address)?, &source.volume, "bench metadata", 0).await?;
        tear_down(&mut setup, &top, top_ino, &shares).await?;
        setup.close().await?;
    }
    let kept = (left > 0).then(|| format!("{left} inodes stay in /{top}"));
    report.print(kept.as_deref());
    Ok(if report.errors() == 0 { CLEAN } else { PROBLEMS })
}

/// Makes the sessions' directories below a new one: its inode, and each session's share of the work.
async fn set_up(link: &mut Link, top: &str, settings: &Settings) -> Result<(u64, Vec<Share>), Failure> {
    let top = make_dirs(link, ROOT, &[top.as_bytes().to_vec()]).await?[0];
    let sessions = settings.sessions as u64;
    let mut shares = Vec::new();
    for session in 0..sessions {
        let files = settings.files / sessions + u64::from(session < settings.files % sessions);
        let dirs = files.div_ceil(settings.per_dir).max(1);
        let names: Vec<Vec<u8>> = (0..dirs).map(|number| session_dir(session, number)).collect();
        let mut inos = Vec::new();
        for names in names.chunks(SETUP_BATCH) {
            inos.extend(make_dirs(link, top, names).await?);
        }
        shares.push(Share {
            dirs: inos,
            per_dir: settings.per_dir,
            files,
            made: 0,
            dirs_made: 0,
            renamed: false,
        });
    }
    Ok((top, shares))
}

fn session_dir(session: u64, number: u64) -> Vec<u8> {
    format!("s{session:05}-{number:07}").into_bytes()
}

async fn make_dirs(link: &mut Link, parent: u64, names: &[Vec<u8>]) -> Result<Vec<u64>, Failure> {
    let make = |name: &Vec<u8>| work::make(parent, name.clone(), v1::FileKind::Directory);
    let replies = link.ask(names.iter().map(make).collect()).await?;
    let made = |reply: v1::Reply| match reply.outcome {
        Some(v1::reply::Outcome::Result(v1::Result {
            result: Some(v1::result::Result::Entry(v1::Entry { attr: Some(attr), .. })),
        })) => Ok(attr.ino),
        other => Err(Failure::Usage(format!("no directory could be made: {other:?}"))),
    };
    replies.into_iter().map(made).collect()
}

/// Removes the directories of a run that left no files.
async fn tear_down(link: &mut Link, top: &str, top_ino: u64, shares: &[Share]) -> Result<(), Failure> {
    let remove = |parent: u64, name: Vec<u8>| {
        let held = false;
        Op::Rmdir(v1::Rmdir { parent, name, held })
    };
    for (session, share) in shares.iter().enumerate() {
        let names = (0..share.dirs.len() as u64).map(|number| session_dir(session as u64, number));
        let names: Vec<Vec<u8>> = names.collect();
        for names in names.chunks(SETUP_BATCH) {
            let ops = names.iter().map(|name| remove(top_ino, name.clone()));
            link.ask(ops.collect()).await?;
        }
    }
    link.ask(vec![remove(ROOT, top.as_bytes().to_vec())]).await?;
    Ok(())
}

/// How many sessions have done their part of a phase.
#[derive(Default)]
struct Progress {
    done: Cell<usize>,
    changed: tokio::sync::Notify,
}

/// One session's part of a phase; then it serves recalls until all others have done theirs.
async fn perform(
    link: &mut Link,
    share: &mut Share,
    phase: Phase,
    settings: &Settings,
    tally: &Tally,
    progress: &Progress,
) -> Result<(), Failure> {
    let until = settings.duration.map(|duration| Instant::now() + duration);
    match phase {
        Phase::List => list(link, share, until, tally).await?,
        _ => {
            let done = drive(link, share, phase, settings, until, tally).await?;
            share.note(phase, done);
        }
    }
    progress.done.set(progress.done.get() + 1);
    progress.changed.notify_waiters();
    while progress.done.get() < settings.sessions {
        let changed = progress.changed.notified();
        tokio::select! {
            arrived = link.receive() => { arrived?; }
            () = changed => {}
        }
    }
    Ok(())
}

/// Keeps a window of batches on their way: how many operations were done.
async fn drive(
    link: &mut Link,
    share: &Share,
    phase: Phase,
    settings: &Settings,
    until: Option<Instant>,
    tally: &Tally,
) -> Result<u64, Failure> {
    let count = share.count(phase);
    let mut next = 0;
    let mut under_way: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut answered = 0;
    loop {
        let over = until.is_some_and(|until| Instant::now() >= until);
        while !over && next < count && under_way.len() < settings.window {
            let end = count.min(next + settings.batch as u64);
            let ops = (next..end).map(|number| share.op(phase, number)).collect();
            let sent = Instant::now();
            under_way.push_back((link.send(ops).await?, sent));
            next = end;
        }
        if answered == next {
            return Ok(next);
        }
        let Arrived::Replies(replies) = link.receive().await? else {
            continue;
        };
        answered += replies.len() as u64;
        tally.answered(&replies);
        while under_way
            .front()
            .is_some_and(|(last, _)| link.has_all_below(last + 1))
        {
            if let Some((_, sent)) = under_way.pop_front() {
                tally.took(sent.elapsed());
            }
        }
    }
}

/// Lists the session's directories page by page.
async fn list(link: &mut Link, share: &Share, until: Option<Instant>, tally: &Tally) -> Result<(), Failure> {
    for dir in &share.dirs {
        let mut after = 0;
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(());
            }
            let sent = Instant::now();
            let replies = link.ask(vec![work::list(*dir, after)]).await?;
            tally.took(sent.elapsed());
            let Some(page) = tally.listed(&replies) else {
                return Ok(());
            };
            match page.entries.last() {
                Some(last) if !page.end => after = last.cookie,
                _ => break,
            }
        }
    }
    Ok(())
}
