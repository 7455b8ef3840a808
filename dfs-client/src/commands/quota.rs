//! `dfs quota`: limits of directories, and what they hold.

use super::space::{Space, amount, directory};
use super::{CLEAN, Failure, finish, size, target};
use dfs_proto::v1;
use serde_json::{Value, json};
use std::process::ExitCode;

/// What is asked of `dfs quota`.
pub enum Ask {
    /// A limit that is not given is none.
    Set {
        dir: String,
        bytes: Option<String>,
        inodes: Option<String>,
    },
    Get {
        dir: String,
    },
    Remove {
        dir: String,
    },
    /// All of a volume: the one that is named, or the one that is mounted here.
    List {
        volume: Option<String>,
    },
}

pub fn run(ask: Ask, json: bool) -> ExitCode {
    finish("quota", async {
        match ask {
            Ask::Set { dir, bytes, inodes } => {
                let limit = |given: Option<String>, step| match given {
                    Some(text) => amount(&text, step),
                    None => Ok(u64::MAX),
                };
                let (bytes, inodes) = (limit(bytes, 1024)?, limit(inodes, 1000)?);
                if bytes == u64::MAX && inodes == u64::MAX {
                    return Err(Failure::Usage("give --bytes, --inodes or both".to_owned()));
                }
                let (source, dir) = directory(&dir)?;
                let mut space = Space::of(&source).await?;
                let dir = Some(dir);
                let request = space.ask(v1::SetQuotaRequest { dir, bytes, inodes });
                space.client.set_quota(request).await?;
            }
            Ask::Remove { dir } => {
                let (source, dir) = directory(&dir)?;
                let mut space = Space::of(&source).await?;
                let request = space.ask(v1::RemoveQuotaRequest { dir: Some(dir) });
                space.client.remove_quota(request).await?;
            }
            Ask::Get { dir } => {
                let (source, dir) = directory(&dir)?;
                let quotas = quotas(&mut Space::of(&source).await?, Some(dir)).await?;
                if quotas.is_empty() {
                    return Err(Failure::Usage(
                        "this directory has no quota of its own".to_owned(),
                    ));
                }
                show(&quotas, json);
            }
            Ask::List { volume } => {
                let source = target::volume(volume.as_deref())?;
                show(&quotas(&mut Space::of(&source).await?, None).await?, json);
            }
        }
        Ok(CLEAN)
    })
}

async fn quotas(space: &mut Space, dir: Option<v1::Place>) -> Result<Vec<v1::Quota>, Failure> {
    let request = space.ask(v1::ListQuotasRequest { dir });
    Ok(space.client.list_quotas(request).await?.into_inner().quotas)
}

fn show(quotas: &[v1::Quota], json: bool) {
    if json {
        let quotas: Vec<Value> = quotas.iter().map(as_json).collect();
        return say!("{:#}", Value::from(quotas));
    }
    for quota in quotas {
        let usage = quota.usage.unwrap_or_default();
        let bytes = |value| {
            if value == u64::MAX {
                "no limit".to_owned()
            } else {
                size(value)
            }
        };
        let inodes = |value| {
            if value == u64::MAX {
                "no limit".to_owned()
            } else {
                format!("{value}")
            }
        };
        say!(
            "{}: {} of {}, {} of {} inodes{}",
            String::from_utf8_lossy(&quota.path),
            size(usage.used_bytes),
            bytes(usage.limit_bytes),
            usage.used_inodes,
            inodes(usage.limit_inodes),
            if quota.counting { " (counting)" } else { "" },
        );
    }
}

fn as_json(quota: &v1::Quota) -> Value {
    let usage = quota.usage.unwrap_or_default();
    let limit = |value| (value != u64::MAX).then_some(value);
    json!({
        "path": String::from_utf8_lossy(&quota.path),
        "inode": quota.dir,
        "limit_bytes": limit(usage.limit_bytes),
        "limit_inodes": limit(usage.limit_inodes),
        "used_bytes": usage.used_bytes,
        "used_inodes": usage.used_inodes,
        "reserved_bytes": quota.reserved_bytes,
        "counting": quota.counting,
    })
}
