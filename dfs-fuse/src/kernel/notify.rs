//! Tells the kernel what it must not believe any more. The client's recall path submits here; threads of their own
//! write, because the kernel may wait for locks that a request in progress holds: never wait for `done` in a request.
//! There are several, so that one inode whose pages are locked does not hold up the others; notices that are submitted
//! together may therefore arrive in any order.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

use super::abi::{self, notify as code};
use super::answer::Frame;
use super::device::Device;

/// Notifications waiting to be written; a full queue holds back the recall path, which is the right place to wait.
const QUEUE: usize = 8192;

/// Notices being written at once; each may wait for a lock of its own inode, until a call that holds it is answered.
const THREADS: usize = 8;

/// One thing for the kernel to drop, or to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Attributes, and pages from `offset` on: `len` 0 means to the end; a negative offset, attributes only.
    Inode { node: u64, offset: i64, len: i64 },
    /// A name in a directory; with `expire` it is looked up again at its next use instead of being dropped.
    Entry {
        parent: u64,
        name: Vec<u8>,
        expire: bool,
    },
    /// A name that was removed elsewhere, so that watchers hear of it.
    Delete { parent: u64, child: u64, name: Vec<u8> },
    /// Content for the page cache.
    Store { node: u64, offset: u64, data: Vec<u8> },
    /// Every name is looked up again at its next use; takes no lock of any directory (7.44).
    Epoch,
}

type DoneCallback = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Item {
    notice: Notice,
    done: Option<DoneCallback>,
}

/// Hands notices to the notifying threads. Cloned freely; the threads end with the last clone.
#[derive(Clone)]
pub struct Notifier {
    queue: SyncSender<Item>,
    device: Arc<Device>,
}

impl Notifier {
    /// Starts the threads.
    pub(super) fn start(device: Arc<Device>) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let items = Arc::new(Mutex::new(items));
        for number in 0..THREADS {
            let (device, items) = (device.clone(), items.clone());
            std::thread::Builder::new()
                .name(format!("dfs-notify-{number}"))
                .spawn(move || run(&device, &items))?;
        }
        Ok(Notifier { queue, device })
    }

    /// Writes it in the calling thread, which serves no request and may wait in the kernel.
    pub fn write_here(&self, notice: &Notice) -> io::Result<()> {
        match write(&self.device, notice) {
            Err(e) if unknown_or_gone(&e) => Ok(()),
            other => other,
        }
    }

    pub fn submit(&self, notice: Notice) {
        self.push(Item { notice, done: None });
    }

    /// Calls back on a notifying thread when the kernel has dropped it. An inode or name that the kernel does not
    /// have, or a mount that is gone, counts as dropped.
    pub fn submit_then(&self, notice: Notice, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        self.push(Item {
            notice,
            done: Some(Box::new(done)),
        });
    }

    /// Waits until the kernel has dropped all of these. Not from a thread that serves requests.
    pub fn and_wait(&self, notices: impl IntoIterator<Item = Notice>) -> io::Result<()> {
        let (tell, told) = std::sync::mpsc::channel();
        for notice in notices {
            let tell = tell.clone();
            self.submit_then(notice, move |result| {
                let _ = tell.send(result);
            });
        }
        drop(tell);
        told.into_iter().collect()
    }

    fn push(&self, item: Item) {
        // The threads only end when all senders have; should they have died, nobody must wait for them.
        if let Err(refused) = self.queue.send(item)
            && let Some(done) = refused.0.done
        {
            done(Err(io::ErrorKind::BrokenPipe.into()));
        }
    }
}

fn run(device: &Device, items: &Mutex<Receiver<Item>>) {
    loop {
        let next = items.lock().recv();
        let Ok(item) = next else { return };
        let result = match write(device, &item.notice) {
            Err(e) if unknown_or_gone(&e) => Ok(()),
            other => other,
        };
        if let Err(error) = &result {
            tracing::error!(%error, notice = ?Kind(&item.notice), "the kernel refused a notification");
        }
        if let Some(done) = item.done {
            done(result);
        }
    }
}

fn unknown_or_gone(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENOTCONN | libc::ENOTDIR | libc::ENOTEMPTY)
    )
}

/// Shows a notice without its content.
struct Kind<'a>(&'a Notice);

impl std::fmt::Debug for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Notice::Store { node, offset, data } => {
                write!(f, "Store {node} at {offset}, {} bytes", data.len())
            }
            other => other.fmt(f),
        }
    }
}

fn write(device: &Device, notice: &Notice) -> io::Result<()> {
    let mut frame = Frame::new();
    let (code, tail) = encode(notice, &mut frame);
    device.send(
        0,
        code,
        &[
            IoSlice::new(frame.as_slice()),
            IoSlice::new(tail.0),
            IoSlice::new(tail.1),
        ],
    )
}

/// Code, fixed part (into `frame`) and the two parts behind it: name or content, terminator.
fn encode<'a>(notice: &'a Notice, frame: &mut Frame) -> (i32, (&'a [u8], &'static [u8])) {
    match notice {
        Notice::Inode { node, offset, len } => {
            frame.u64(*node).u64(*offset as u64).u64(*len as u64);
            (code::INVAL_INODE, (&[], &[]))
        }
        Notice::Entry { parent, name, expire } => {
            frame
                .u64(*parent)
                .u32(name.len() as u32)
                .u32(if *expire { abi::EXPIRE_ONLY } else { 0 });
            (code::INVAL_ENTRY, (name, &[0]))
        }
        Notice::Delete { parent, child, name } => {
            frame.u64(*parent).u64(*child).u32(name.len() as u32).u32(0);
            (code::DELETE, (name, &[0]))
        }
        Notice::Store { node, offset, data } => {
            frame.u64(*node).u64(*offset).u32(data.len() as u32).u32(0);
            (code::STORE, (data, &[]))
        }
        Notice::Epoch => (code::INC_EPOCH, (&[], &[])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(notice: &Notice) -> (i32, Vec<u8>) {
        let mut frame = Frame::new();
        let (code, (body, end)) = encode(notice, &mut frame);
        (code, [frame.as_slice(), body, end].concat())
    }

    #[test]
    fn notices_are_encoded_as_the_kernel_reads_them() {
        let (code, inode) = bytes(&Notice::Inode {
            node: 5,
            offset: -1,
            len: 0,
        });
        assert_eq!(code, 2);
        assert_eq!(
            inode,
            [&[5, 0, 0, 0, 0, 0, 0, 0][..], &[255; 8], &[0; 8]].concat()
        );
        let (code, entry) = bytes(&Notice::Entry {
            parent: 1,
            name: b"ab".to_vec(),
            expire: true,
        });
        assert_eq!(code, 3);
        assert_eq!(
            entry,
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, b'a', b'b', 0]
        );
        let (code, delete) = bytes(&Notice::Delete {
            parent: 1,
            child: 9,
            name: b"x".to_vec(),
        });
        assert_eq!(code, 6);
        assert_eq!(
            delete,
            [
                1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'x', 0
            ]
        );
        let (code, store) = bytes(&Notice::Store {
            node: 2,
            offset: 4096,
            data: vec![7],
        });
        assert_eq!(code, 4);
        assert_eq!(
            store,
            [
                2, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7
            ]
        );
        assert_eq!(bytes(&Notice::Epoch), (8, vec![]));
    }
}
