//! A datanode's beat: the first one registers it, and when enough nodes are there replica sets are formed.

use super::cluster::Node;
use super::event::Beat;
use super::{Executor, Fault};
use crate::coordinator::limits::NODES;
use dfs_core::ids::{NodeId, SetId, Term};
use dfs_core::keys;
use dfs_core::placement;
use dfs_core::rows::{CounterRow, NodeRow, NodeState, SetRow};
use tokio::sync::oneshot;

type Answer = oneshot::Sender<Result<(u32, Term), String>>;

impl Executor {
    pub(super) fn on_beat(&mut self, beat: Beat, answer: Answer) -> Result<(), Fault> {
        let known = self
            .cluster
            .nodes
            .iter()
            .find(|(_, node)| node.row.uuid == beat.uuid)
            .map(|(id, node)| (*id, node.row.state));
        let id = match known {
            Some((id, NodeState::Removed)) => {
                let _ = answer.send(Err(format!(
                    "this datanode was node {id} and was removed from the cluster; \
                     to take it in again, start it with an empty data directory and --init"
                )));
                return Ok(());
            }
            Some((id, _)) => id,
            None if self.cluster.present().count() >= NODES => {
                let _ = answer.send(Err(format!("the cluster has {NODES} datanodes already")));
                return Ok(());
            }
            None => self.register(&beat)?,
        };
        self.note_beat(id, beat)?;
        let term = self.term;
        let index = self.batch_or_durable();
        self.when_durable(index, move || {
            // A datanode that gave up waiting beats again.
            let _ = answer.send(Ok((id.0, term)));
        });
        self.retry_for_nodes()
    }

    fn register(&mut self, beat: &Beat) -> Result<NodeId, Fault> {
        let id = NodeId(self.counter(b"next_node")?.max(1) as u32);
        let value = u64::from(id.0) + 1;
        self.put_row(keys::counter(b"next_node"), Some(CounterRow { value }.encode()));
        let row = NodeRow {
            uuid: beat.uuid,
            address: beat.address.clone(),
            zone: beat.zone.clone(),
            state: NodeState::Active,
            since: self.now.wall,
        };
        self.put_row(keys::node(id), Some(row.encode()));
        tracing::info!(node = %id, address = row.address, zone = row.zone, "a datanode joined");
        self.cluster.nodes.insert(
            id,
            Node {
                row,
                heard: self.now.monotonic,
                alive: false,
                beat: None,
            },
        );
        Ok(id)
    }

    /// Forms the sets that are missing among the nodes that live and have room; those that exist stay.
    fn form_sets(&mut self) -> Result<(), Fault> {
        let candidates = self.cluster.candidates();
        let existing: Vec<Vec<NodeId>> = self
            .cluster
            .sets
            .values()
            .map(|set| set.members.clone())
            .collect();
        let first = self.counter(b"next_set")?.max(1);
        let formed = placement::form_sets(&candidates, &existing, self.settings.replication);
        for (number, members) in (first..).zip(formed) {
            let Ok(local) = u16::try_from(number) else {
                tracing::error!("the volume has had 65,535 replica sets; no more are formed");
                break;
            };
            let id = SetId::new(self.settings.number, local);
            let next = number + 1;
            tracing::info!(set = id.0, ?members, "a replica set was formed");
            let row = SetRow::new(members);
            self.put_row(keys::set(id), Some(row.encode()));
            self.put_row(
                keys::counter(b"next_set"),
                Some(CounterRow { value: next }.encode()),
            );
            self.cluster.sets.insert(id, row);
        }
        self.cluster.changed();
        Ok(())
    }

    fn note_beat(&mut self, id: NodeId, beat: Beat) -> Result<(), Fault> {
        let now = self.now.monotonic;
        let mut moved = None;
        let mut changed = false;
        let leaving = beat.process.leaving;
        if let Some(node) = self.cluster.nodes.get_mut(&id) {
            if node.row.address != beat.address || node.row.zone != beat.zone {
                node.row.address.clone_from(&beat.address);
                node.row.zone.clone_from(&beat.zone);
                moved = Some(node.row.encode());
            }
            let alive = !beat.process.leaving;
            changed = node.alive != alive || moved.is_some();
            node.alive = alive;
            node.heard = now;
            node.beat = Some(beat);
        }
        if let Some(row) = moved {
            self.put_row(keys::node(id), Some(row));
        }
        if changed {
            if leaving {
                tracing::info!(node = %id, "a datanode stops in order");
            } else {
                tracing::info!(node = %id, "a datanode is alive");
                self.take_back(id);
                self.form_sets()?;
            }
            self.cluster.changed();
            self.push_map();
        }
        Ok(())
    }
}
