//! The trash and quotas by directory: what operators list and change. Changes are operations of the executor.

use super::paths::{Paths, locate, split};
use super::stopping;
use crate::coordinator::clock::wall_clock;
use crate::coordinator::host::{Handle, Hosted};
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::keys::{self, Key};
use dfs_core::op::{Op, Reply};
use dfs_core::rows::{InodeRow, QuotaRow, QuotaState, SettingRow, TrashRow};
use dfs_core::types::{QuotaUsage, Timestamp};
use dfs_core::view::{View, ViewError};
use dfs_proto::status::to_status;
use dfs_proto::v1::space_server::Space;
use dfs_proto::v1::{
    EmptyTrashReply, EmptyTrashRequest, ListQuotasReply, ListQuotasRequest, ListTrashReply, ListTrashRequest,
    Quota, RemoveQuotaReply, RemoveQuotaRequest, RestoreReply, RestoreRequest, SetQuotaReply,
    SetQuotaRequest, SetRetentionReply, SetRetentionRequest, TrashItem,
};
use std::ops::ControlFlow;
use tonic::{Request, Response, Status};

/// Items of the trash looked at for one page.
const PAGE: usize = 1024;
/// Quotas shown.
const QUOTAS_MAX: usize = 65_536;
/// Inodes freed by one step of emptying.
const STEP: u32 = 256;

pub struct Service {
    hosted: Hosted,
}

impl Service {
    pub fn new(hosted: Hosted) -> Service {
        Service { hosted }
    }
}

fn internal(error: &impl ToString) -> Status {
    Status::internal(error.to_string())
}

async fn own(handle: &Handle, op: Op, on: &str) -> Result<Reply, Status> {
    handle.own(op).await.map_err(|error| match error {
        FsError::Interrupted => stopping(),
        error => to_status(error, format!("{on}: {error}")),
    })
}

async fn read<T: Send + 'static>(
    handle: &Handle,
    work: impl FnOnce(&dyn View) -> Result<T, ViewError> + Send + 'static,
) -> Result<T, Status> {
    let store = handle.store.clone();
    let task = tokio::task::spawn_blocking(move || {
        let moment = store.moment().map_err(|error| internal(&error))?;
        work(&moment).map_err(|error| internal(&error))
    });
    task.await.map_err(|error| internal(&error))?
}

#[tonic::async_trait]
impl Space for Service {
    async fn set_retention(
        &self,
        request: Request<SetRetentionRequest>,
    ) -> Result<Response<SetRetentionReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let value = request.into_inner().seconds;
        let name = b"trash_retention".to_vec();
        own(&handle, Op::SetSetting { name, value }, "retention").await?;
        tracing::info!(seconds = value, "the trash's retention was set");
        Ok(Response::new(SetRetentionReply {}))
    }

    async fn list_trash(
        &self,
        request: Request<ListTrashRequest>,
    ) -> Result<Response<ListTrashReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let request = request.into_inner();
        read(&handle, move |view| list_trash(view, &request))
            .await
            .map(Response::new)
    }

    async fn restore(&self, request: Request<RestoreRequest>) -> Result<Response<RestoreReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let RestoreRequest { ino, to } = request.into_inner();
        let to = match to {
            Some(path) => {
                let (parent, name) = split(&path);
                Some((locate(&handle, parent).await?, name.to_vec()))
            }
            None => None,
        };
        let hint = match &to {
            Some(_) => format!("inode {ino}"),
            None => format!("inode {ino} (if its directory is gone or its name is taken, use --to)"),
        };
        let op = Op::Restore { ino: Ino(ino), to };
        own(&handle, op, &hint).await?;
        Ok(Response::new(RestoreReply {}))
    }

    async fn empty_trash(
        &self,
        request: Request<EmptyTrashRequest>,
    ) -> Result<Response<EmptyTrashReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let age = request.into_inner().older_than_seconds;
        let now = wall_clock();
        let before = Timestamp {
            secs: now.secs.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)),
            nanos: now.nanos,
        };
        let op = Op::EmptyTrash { before, limit: STEP };
        let more = own(&handle, op, "trash").await? == Reply::Progress { more: true };
        Ok(Response::new(EmptyTrashReply { more }))
    }

    async fn set_quota(&self, request: Request<SetQuotaRequest>) -> Result<Response<SetQuotaReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let SetQuotaRequest { dir, bytes, inodes } = request.into_inner();
        let dir = super::paths::place(&handle, dir).await?;
        let op = Op::SetQuota { dir, bytes, inodes };
        own(&handle, op, "the directory").await?;
        tracing::info!(%dir, bytes, inodes, "a quota was set");
        Ok(Response::new(SetQuotaReply {}))
    }

    async fn remove_quota(
        &self,
        request: Request<RemoveQuotaRequest>,
    ) -> Result<Response<RemoveQuotaReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let dir = super::paths::place(&handle, request.into_inner().dir).await?;
        own(&handle, Op::RemoveQuota { dir }, "the directory's quota").await?;
        tracing::info!(%dir, "a quota was removed");
        Ok(Response::new(RemoveQuotaReply {}))
    }

    async fn list_quotas(
        &self,
        request: Request<ListQuotasRequest>,
    ) -> Result<Response<ListQuotasReply>, Status> {
        let handle = self.hosted.led(&request)?;
        let only = match request.into_inner().dir {
            Some(dir) => Some(super::paths::place(&handle, Some(dir)).await?),
            None => None,
        };
        let quotas = read(&handle, move |view| list_quotas(view, only)).await?;
        Ok(Response::new(ListQuotasReply { quotas }))
    }
}

fn list_trash(view: &dyn View, request: &ListTrashRequest) -> Result<ListTrashReply, ViewError> {
    let (first, end) = keys::prefix::trash();
    let start = if request.after.is_empty() {
        first
    } else {
        request.after.clone()
    };
    let mut rows = Vec::new();
    let mut next = Vec::new();
    view.scan(&start, &end, &mut |key, value| {
        if rows.len() == PAGE {
            next = key.to_vec();
            return ControlFlow::Break(());
        }
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    let mut paths = Paths::new(view);
    let mut items = Vec::new();
    for (key, value) in rows {
        let Some(Key::Trash { since, ino }) = keys::parse(&key) else {
            continue;
        };
        let row = TrashRow::decode(&key, &value)?;
        let path = paths.below(row.origin.parent, &row.origin.name)?;
        if !path.starts_with(&request.prefix) {
            continue;
        }
        let key = keys::inode(ino);
        let uid = match view.get(&key)? {
            Some(value) => InodeRow::decode(&key, &value)?.uid,
            None => 0,
        };
        items.push(TrashItem {
            ino: ino.0,
            path,
            kind: dfs_proto::v1::FileKind::from(row.kind).into(),
            removed: Some(since.into()),
            bytes: row.bytes,
            uid,
        });
    }
    let key = keys::setting(b"trash_retention");
    let retention_seconds = match view.get(&key)? {
        Some(value) => SettingRow::decode(&key, &value)?.value,
        None => 0,
    };
    Ok(ListTrashReply {
        items,
        next,
        retention_seconds,
    })
}

fn list_quotas(view: &dyn View, only: Option<Ino>) -> Result<Vec<Quota>, ViewError> {
    let (start, end) = keys::prefix::quotas();
    let mut rows = Vec::new();
    view.scan(&start, &end, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        match rows.len() < QUOTAS_MAX {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let mut paths = Paths::new(view);
    let mut quotas = Vec::new();
    for (key, value) in rows {
        let Some(Key::Quota(dir)) = keys::parse(&key) else {
            continue;
        };
        let row = QuotaRow::decode(&key, &value)?;
        if row.state == QuotaState::Removing || only.is_some_and(|only| only != dir) {
            continue;
        }
        let usage = QuotaUsage {
            limit_bytes: row.limit_bytes,
            limit_inodes: row.limit_inodes,
            used_bytes: row.used_bytes,
            used_inodes: row.used_inodes,
            available_bytes: row
                .limit_bytes
                .saturating_sub(row.used_bytes.saturating_add(row.reserved)),
            available_inodes: row.limit_inodes.saturating_sub(row.used_inodes),
        };
        quotas.push(Quota {
            dir: dir.0,
            path: paths.of(dir)?,
            usage: Some(usage.into()),
            reserved_bytes: row.reserved,
            counting: row.state == QuotaState::Counting,
        });
    }
    Ok(quotas)
}
