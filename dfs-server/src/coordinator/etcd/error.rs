//! What etcd's answers mean: wait and ask again, full, gone, or refused for good. The connection judges by it;
//! callers see `EtcdError`. Knows no keys.

use tonic::Code;

/// Why etcd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("{doing}: no etcd endpoint answers ({last}); look at etcd's members and the network to them")]
    Unreachable { doing: &'static str, last: String },
    #[error(
        "{doing}: etcd is full; it takes nothing until records are trimmed, its history is compacted and its \
         members are defragmented, or its --quota-backend-bytes is raised"
    )]
    Full { doing: &'static str },
    #[error("{doing}: etcd has compacted what was asked for")]
    Compacted { doing: &'static str },
    #[error("{doing}: the lease is gone")]
    LeaseGone { doing: &'static str },
    #[error("{doing}: the lease is there already")]
    LeaseExists { doing: &'static str },
    #[error("{doing}: etcd refuses it: {reason}")]
    Refused { doing: &'static str, reason: String },
    #[error("{key} in etcd is damaged: {reason}; restore etcd from a snapshot, or remove the key")]
    Damaged { key: String, reason: String },
}

/// What to do after an error.
pub enum Verdict {
    /// Nobody knows whether it was done; ask again, here or elsewhere.
    Again(String),
    /// The answer.
    Final(EtcdError),
}

/// Judges an error of etcd's client.
pub fn judge(doing: &'static str, error: etcd_client::Error) -> Verdict {
    use etcd_client::Error;
    match error {
        Error::GRpcStatus(status) => judge_status(doing, status.code(), status.message()),
        Error::LeaseKeepAliveError(reason) if reason.contains("not found") => {
            Verdict::Final(EtcdError::LeaseGone { doing })
        }
        Error::InvalidArgs(reason) => Verdict::Final(EtcdError::Refused { doing, reason }),
        Error::InvalidUri(error) => Verdict::Final(EtcdError::Refused {
            doing,
            reason: error.to_string(),
        }),
        error => Verdict::Again(chain(&error)),
    }
}

fn judge_status(doing: &'static str, code: Code, message: &str) -> Verdict {
    let refused = || {
        let reason = message.to_owned();
        Verdict::Final(EtcdError::Refused { doing, reason })
    };
    match code {
        Code::ResourceExhausted if message.contains("space exceeded") => {
            Verdict::Final(EtcdError::Full { doing })
        }
        Code::OutOfRange if message.contains("compacted") => Verdict::Final(EtcdError::Compacted { doing }),
        Code::NotFound if message.contains("lease") => Verdict::Final(EtcdError::LeaseGone { doing }),
        Code::FailedPrecondition if message.contains("lease already exists") => {
            Verdict::Final(EtcdError::LeaseExists { doing })
        }
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => {
            refused()
        }
        Code::OutOfRange | Code::NotFound | Code::AlreadyExists => refused(),
        _ => Verdict::Again(format!("{code:?}: {message}")),
    }
}

/// An error with its causes: the transport's own text says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
