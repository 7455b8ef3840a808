//! `dfs-server move-log`: takes the logs of a coordinator that was alone to etcd, while it is stopped. Everything
//! that its newest good checkpoints do not cover is copied and read back before the cluster exists in etcd; the
//! directory refuses to be used alone from the moment before. Interrupted, it is simply run again.

use super::authority::{Authority, Embedded, Leader, VolumeEntry, VolumeState, volume_dir};
use super::checkpoint;
use super::etcd::{Etcd, EtcdArgs, EtcdError, Move, Names};
use super::log::{FileLog, MetadataLog};
use crate::config::data_dir::{DataDir, replace_file};
use crate::config::{Fatal, Shared};
use dfs_core::ids::Index;
use dfs_core::record::Record;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Its presence says that the logs are in etcd, and of which cluster.
const MOVED: &str = "moved-to-etcd";
/// Records are written and read back in steps of about this many bytes: one transaction, within etcd's limits.
const STEP_BYTES: usize = 512 << 10;
/// etcd's limit on operations of one transaction is 128.
const STEP_RECORDS: usize = 100;

/// Settings of `dfs-server move-log`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub shared: Shared,
    /// Data directory of the coordinator; of a standalone server the folder `coordinator` in its own
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    #[command(flatten)]
    pub etcd: EtcdArgs,
}

/// Refuses a directory whose logs are somewhere else: in etcd when `alone`, in itself otherwise.
pub fn check_place(dir: &Path, alone: bool) -> Result<(), Fatal> {
    let shown = dir.display();
    let moved = dir.join(MOVED).exists();
    if alone && moved {
        return Err(Fatal(format!(
            "the metadata logs of {shown} were moved to etcd: start with --etcd, or go on with a move that was \
             interrupted (dfs-server move-log --from {shown} --etcd ...)"
        )));
    }
    if !alone && !moved && dir.join("log").exists() {
        return Err(Fatal(format!(
            "{shown} has a metadata log of its own: move it first (dfs-server move-log --from {shown} --etcd ...), \
             or give another --data-dir"
        )));
    }
    Ok(())
}

/// The process `dfs-server move-log`.
pub async fn run(args: Args) -> Result<(), Fatal> {
    let Some(settings) = args.etcd.settings()? else {
        return Err(Fatal(
            "say where the logs go to: --etcd http://host:2379,...".into(),
        ));
    };
    let dir = DataDir::open(&args.from, "coordinator", false)?;
    let Some(cluster) = dir.identity().cluster else {
        return Err(Fatal(format!(
            "{} belongs to no cluster yet: there is nothing to move; start with --etcd and --init",
            args.from.display()
        )));
    };
    let wrong = |error: EtcdError| Fatal(error.to_string());
    let claim = Move::begin(&Etcd::new(&settings), Names::new(cluster), dir.identity().node)
        .await
        .map_err(wrong)?;
    let Some(claim) = claim else {
        mark(&args.from, &cluster.to_string())?;
        println!("the logs of {} are in etcd already", args.from.display());
        return Ok(());
    };
    let own = Leader {
        coordinator: dir.identity().node,
        address: String::new(),
    };
    let volume = dir.identity().volume.clone().unwrap_or_else(|| "default".into());
    let embedded = Embedded::open(&args.from, &volume, own).map_err(|error| Fatal(error.to_string()))?;
    let volumes = embedded.volumes().borrow().clone();
    for entry in volumes.iter() {
        let (count, last) = move_one(&args.from, entry, &claim).await?;
        println!(
            "volume {:?}: {count} records up to {} are in etcd and were read back",
            entry.name, last.0
        );
    }
    let next = embedded.next_number();
    // From here on nobody uses the directory alone, and nobody uses etcd yet.
    mark(&args.from, &cluster.to_string())?;
    let listed = volumes.iter().map(|entry| {
        (
            entry.name.clone(),
            entry.number,
            entry.state == VolumeState::Deleting,
        )
    });
    claim.finish(listed.collect(), next).await.map_err(wrong)?;
    println!(
        "done: start the coordinator on {} with --etcd, then others with empty directories",
        args.from.display()
    );
    Ok(())
}

fn mark(dir: &Path, cluster: &str) -> Result<(), Fatal> {
    replace_file(dir, MOVED, cluster.as_bytes())
        .map_err(|error| Fatal::io(format!("cannot write {}", dir.join(MOVED).display()), error))
}

/// Copies one volume's log from behind its newest good checkpoint, and reads it back: how many records, and the
/// last one's index.
async fn move_one(root: &Path, entry: &VolumeEntry, claim: &Move) -> Result<(u64, Index), Fatal> {
    let dir = volume_dir(root, entry.number);
    // Opening reads every record and stops at damage.
    let log = FileLog::open(&dir.join("log")).map_err(|error| Fatal(error.to_string()))?;
    let good = checkpoint::verified(&dir, &[]).map_err(|error| Fatal(error.to_string()))?;
    let covered = good.first().copied().unwrap_or_default();
    if covered.next() < log.first() || log.last() == Index(0) {
        return Err(Fatal(format!(
            "volume {:?}: its log begins with record {} and no good checkpoint reaches it; start it alone first, \
             it says what is missing",
            entry.name,
            log.first().0
        )));
    }
    // The last record always goes along: the next append is compared with it.
    let from = covered.next().clamp(log.first(), log.last());
    let wrong = |error: EtcdError| Fatal(error.to_string());
    claim.clear(entry.number).await.map_err(wrong)?;
    for step in steps(&log, from)? {
        claim.write(entry.number, &step).await.map_err(wrong)?;
    }
    let mut count = 0;
    for step in steps(&log, from)? {
        for record in step {
            let copied = claim
                .read(entry.number, record.index)
                .await
                .map_err(|error| Fatal(error.to_string()))?;
            if copied != record {
                return Err(Fatal(format!(
                    "record {} of volume {:?} came back otherwise than it was written; run the move again",
                    record.index.0, entry.name
                )));
            }
            count += 1;
        }
    }
    Ok((count, log.last()))
}

/// The log's records in groups that fit one transaction.
fn steps(log: &FileLog, from: Index) -> Result<Vec<Vec<Record>>, Fatal> {
    let mut steps: Vec<Vec<Record>> = Vec::new();
    let mut bytes = usize::MAX;
    log.read_from(from, &mut |record| {
        let len: usize = record
            .rows
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 16)
            .sum();
        bytes = bytes.saturating_add(len);
        match steps.last_mut() {
            Some(step) if bytes <= STEP_BYTES && step.len() < STEP_RECORDS => step.push(record),
            _ => {
                bytes = len;
                steps.push(vec![record]);
            }
        }
        ControlFlow::Continue(())
    })
    .map_err(|error| Fatal(error.to_string()))?;
    Ok(steps)
}
