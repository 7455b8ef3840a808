//! Where the figures are served: an address, or nowhere. Roles and mounts parse it from their settings and begin
//! with it.

use super::{Observer, http};
use std::net::SocketAddr;
use std::str::FromStr;
use tokio::net::TcpListener;

/// What `--metrics-listen` and `metrics=` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nothing was said: the role's usual address. When somebody else has it, the process goes on without.
    Usual(SocketAddr),
    At(SocketAddr),
    Off,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if text == "off" {
            return Ok(Listen::Off);
        }
        text.parse()
            .map(Listen::At)
            .map_err(|_| format!("{text:?} is no address: write HOST:PORT with a numeric host, or `off`"))
    }
}

/// Serves the observer in the background of the present runtime. An address that was asked for and cannot be had is
/// an error.
pub async fn begin(listen: Listen, observer: Observer) -> Result<(), String> {
    let (address, usual) = match listen {
        Listen::Off => return Ok(()),
        Listen::Usual(address) => (address, true),
        Listen::At(address) => (address, false),
    };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tracing::info!(%address, "serves /metrics, /healthz and /readyz");
            tokio::spawn(http::serve(listener, observer));
            Ok(())
        }
        Err(error) if usual => {
            tracing::warn!(%address, %error, "no /metrics: the usual address is taken; choose one with --metrics-listen");
            Ok(())
        }
        Err(error) => Err(format!(
            "cannot listen on {address} for /metrics; choose another address: {error}"
        )),
    }
}
