//! The coordinator's bounds, each with its reason. Every file of this role reads them; nobody sets them.

use std::time::Duration;

/// Calls waiting for the executor, over all sessions: about a tenth of a second of work.
pub const QUEUE_CALLS: usize = 8192;
/// Calls of one session that have no answer yet; a client that sends more is broken.
pub const SESSION_CALLS: usize = 8192;
/// Sessions of a volume.
pub const SESSIONS: usize = 10_000;
/// Inodes on which one session may hold leases: what a client caches in some hundred megabytes.
pub const SESSION_LEASES: usize = 1 << 20;
/// Idle leases that one session is asked to give back at a time, when all sessions together hold too many: far less
/// than its stream takes, and ten thousand in a second.
pub const SPARED_LEASES: usize = 1024;
/// Leases and locks that one `Hello` may reclaim.
pub const RECLAIM: usize = 1 << 20;
/// Messages to one client that its stream has not taken yet; a slower client must reconnect.
pub const STREAM_MESSAGES: usize = 4096;
/// Largest message of a client: a commit of 4,096 files with their extents, or a large reclaim.
pub const MESSAGE_BYTES: usize = 32 << 20;
/// Replies in one message: one system call for many, without delaying the first.
pub const REPLIES_PER_MESSAGE: usize = 1024;
/// A record is closed when its rows reach this: larger ones gain nothing and cost etcd's limit.
pub const RECORD_BYTES: usize = 1 << 20;
/// Records on their way to the disk before the executor waits.
pub const RECORDS_IN_FLIGHT: usize = 2;
/// How long an inode that two sessions wanted is changed by the coordinator alone.
pub const CONTENTION: Duration = Duration::from_secs(2);
/// Inode numbers taken from the durable counter at once.
pub const INO_BLOCK: u64 = 4096;
/// How often timers are looked at.
pub const TICK: Duration = Duration::from_millis(100);
/// Datanodes of a cluster.
pub const NODES: usize = 1024;
/// A holder that is alive but does not answer a recall (it may be flushing) loses the lease after this many
/// lease terms.
pub const RECALL_TERMS: u32 = 3;
/// How long a request for chunk ids waits for datanodes to appear.
pub const NODES_WAIT: Duration = Duration::from_secs(10);
/// A checkpoint is made when the log has grown by this since the last one: replaying it takes seconds.
pub const CHECKPOINT_BYTES: u64 = 256 << 20;
/// In a large volume it waits until the log has grown by this part of the last checkpoint, so that writing all rows
/// again costs no more than some times writing the new ones.
pub const CHECKPOINT_PART: u64 = 2;
/// And no longer than this: every start reads through the log.
pub const CHECKPOINT_BYTES_MOST: u64 = 2 << 30;
/// Disk that must stay free for the log, the state and a checkpoint; below it only shrinking work is taken.
pub const DISK_RESERVE: u64 = 128 << 20;
/// Space held back in a file of its own and given up when the disk is filled by others, so that deletions
/// still find room.
pub const BALLAST: u64 = 64 << 20;
/// Bad copies that a client or operator may report in one message.
pub const BAD_COPIES: usize = 4096;
/// How long a call that a quota has no room for waits until sessions have given back what they were promised and
/// do not use.
pub const PROMISES_WAIT: Duration = Duration::from_secs(1);
/// Promises looked at for a refused call: sessions that write below quotas at the same time.
pub const PROMISES: usize = 4096;
/// Files without a name looked at for a refused call.
pub const ORPHANS: usize = 1024;
