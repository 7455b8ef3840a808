//! One connection with the kernel: negotiates, then serves it with a pool of threads until it is unmounted.
//! Called by `dfs mount` and by tests. What operations do is the `Filesystem`'s business.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::abi;
use super::answer::Frame;
use super::device::{Device, Incoming};
use super::filesystem::Filesystem;
use super::init::{self, Decision, Negotiated};
use super::interrupt::Interrupts;
use super::notify::Notifier;
use super::parse;
use super::pool::{BUFFER, Pool, Serving, Threads};
use super::request::{Header, Operation};

/// A connection after INIT, before anything else is read.
pub struct Session {
    device: Arc<Device>,
    negotiated: Negotiated,
    notifier: Notifier,
}

impl Session {
    /// Exchanges INIT on the descriptor of a fresh mount.
    pub fn negotiate(fd: OwnedFd) -> io::Result<Self> {
        let device = Arc::new(Device::new(fd, Arc::new(Interrupts::default())));
        let mut buffer = vec![0; BUFFER];
        let negotiated = loop {
            match device.receive(&mut buffer)? {
                Incoming::Nothing => {}
                Incoming::Ended => return Err(io::Error::other("unmounted before it was ready")),
                Incoming::Request(len) => {
                    if let Some(negotiated) = answer_init(&device, &buffer[..len])? {
                        break negotiated;
                    }
                }
            }
        };
        let notifier = Notifier::start(device.clone())?;
        Ok(Self {
            device,
            negotiated,
            notifier,
        })
    }

    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Starts serving; returns at once.
    pub fn serve(self, fs: Arc<dyn Filesystem>, threads: Threads) -> io::Result<Serving> {
        fs.start(&self.negotiated);
        Pool::start(self.device, fs, &self.negotiated, threads)
    }
}

/// Answers one INIT; `None` when the kernel will ask again.
fn answer_init(device: &Device, bytes: &[u8]) -> io::Result<Option<Negotiated>> {
    let malformed = || io::Error::other("the kernel's first request cannot be understood");
    let header = Header::parse(bytes).map_err(|_| malformed())?;
    let body = header.body(bytes).map_err(|_| malformed())?;
    let Ok(Operation::Init(offer)) = parse::operation(header.opcode, body, false) else {
        return Err(malformed());
    };
    let mut frame = Frame::new();
    let agreed = match init::decide(&offer) {
        Decision::Agreed(negotiated) => Some(negotiated),
        Decision::AskAgain => None,
        Decision::TooOld(missing) => {
            device.answer(header.unique, libc::EPROTO, &[]);
            return Err(io::Error::other(format!(
                "this kernel's FUSE {}.{} is too old: {}.{} with capabilities {missing:#x} is needed (Linux 5.15 or newer)",
                offer.major,
                offer.minor,
                abi::MAJOR,
                abi::OLDEST_MINOR,
            )));
        }
    };
    init::encode(agreed.as_ref(), &mut frame);
    device.send(header.unique, 0, &[IoSlice::new(frame.as_slice())])?;
    Ok(agreed)
}
