//! SIGTERM and SIGINT, which ask a server to stop in order. Every role takes them over before it does anything else:
//! afterwards none is lost, and none ends the process by itself.

use super::Fatal;
use tokio::signal::unix::{SignalKind, signal};

/// From now on the process is asked, not ended; what is returned is over when it was asked.
pub fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Fatal> {
    let taken = |kind| signal(kind).map_err(|error| Fatal::io("signals cannot be waited for", error));
    let mut terminate = taken(SignalKind::terminate())?;
    let mut interrupt = taken(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
