//! Where log lines go and how they look. `main` calls it once.

use super::Fatal;
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Tonic says here, at level debug and once for each connection, that a peer sent something that is no HTTP/2:
/// the operator wants to know, whatever the level of everything else.
const REFUSED_CONNECTIONS: &str = "tonic::transport::server=debug";

/// Logs to standard error from here on.
pub fn begin(format: Format, level: &str) -> Result<(), Fatal> {
    let filter = EnvFilter::try_new(level)
        .map_err(|e| Fatal::io(format!("--log-level {level:?} is not understood"), e))?;
    let refused = REFUSED_CONNECTIONS
        .parse()
        .map_err(|e| Fatal::io("a log filter of our own is not understood", e))?;
    let filter = if level.contains("tonic") {
        filter
    } else {
        filter.add_directive(refused)
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let begun = match format {
        Format::Text => lines.with_ansi(false).try_init(),
        Format::Json => lines.json().try_init(),
    };
    begun.map_err(|e| Fatal::io("logging cannot begin", e))
}
