//! Datanodes that register and form sets.

use super::*;
use crate::coordinator::executor::Order;
use dfs_core::ids::{NodeId, SetId};
use dfs_core::plan::Move;
use dfs_core::rows::{NodeState, PlanKind, PlanState};

#[tokio::test(flavor = "multi_thread")]
async fn three_beats_make_a_set_that_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::new(&handle, 1).await;
    let waiting = client
        .begin(Op::AllocChunks {
            count: 8,
            avoid: Vec::new(),
        })
        .await;
    for node in 1..=3u8 {
        assert_eq!(beat(&handle, node).await.0, u32::from(node));
    }
    let reply = client.reply().await;
    assert_eq!((reply.op_id, error(&reply)), (waiting, None));
    assert_eq!(beat(&handle, 2).await.0, 2);
    let (sets, term) = {
        let status = handle.status().await.unwrap();
        (status.sets, status.term)
    };
    assert_eq!(sets.len(), 1);
    drop(handle);
    stop(coordinator).await;
    let handle = start(dir.path()).handle();
    let status = handle.status().await.unwrap();
    assert_eq!(status.sets, sets);
    assert!(status.term > term);
}

/// A volume with four nodes and the sets that they form.
async fn four_nodes(handle: &Handle) -> SetId {
    for node in 1..=4u8 {
        beat(handle, node).await;
    }
    let sets = handle.status().await.unwrap().sets;
    let first = sets.iter().find(|(_, set)| !set.members.contains(&NodeId(4)));
    *first.expect("three nodes formed one before the fourth came").0
}

fn step(set: SetId) -> Order {
    Order::Begin(Move {
        kind: PlanKind::Drain,
        set,
        leaves: NodeId(1),
        joins: NodeId(4),
        bytes: 0,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_survives_restarts_and_ends_once() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let set = four_nodes(&handle).await;
    handle.order(Order::Drain(NodeId(1))).await.unwrap();
    handle.order(step(set)).await.unwrap();
    assert!(handle.order(step(set)).await.is_err(), "it is under way");
    let advance = |epoch, next| Order::Advance {
        set,
        node: NodeId(4),
        epoch,
        next,
        chunks: 2,
        bytes: 20,
    };
    handle.order(advance(2, 7)).await.unwrap();
    assert!(handle.order(advance(1, 9)).await.is_err(), "of a move before");
    drop(handle);
    stop(coordinator).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let status = handle.status().await.unwrap();
    let row = &status.sets[&set];
    assert_eq!((row.joining[0].next, row.is_leaving(NodeId(1))), (7, true));
    assert_eq!(status.nodes[&NodeId(1)].row.state, NodeState::Draining);
    let plan = status.plans.values().next().unwrap();
    assert_eq!((plan.chunks, plan.bytes, plan.moves), (2, 20, 1));
    let remove = Order::Remove {
        node: NodeId(1),
        force: false,
    };
    assert!(handle.order(remove.clone()).await.is_err(), "it still has places");
    let finish = Order::Finish { set, node: NodeId(4) };
    handle.order(finish.clone()).await.unwrap();
    assert!(handle.order(finish).await.is_err(), "once");
    let row = handle.status().await.unwrap().sets[&set].clone();
    assert_eq!((row.members, row.epoch), ([2, 3, 4].map(NodeId).to_vec(), 3));
    assert_eq!(row.former[0].node, NodeId(1));
    let back = Order::Begin(Move {
        kind: PlanKind::Rebalance,
        set,
        leaves: NodeId(2),
        joins: NodeId(1),
        bytes: 0,
    });
    assert!(
        handle.order(back).await.is_err(),
        "its old copies are still there"
    );
    handle
        .order(Order::Forget { set, node: NodeId(1) })
        .await
        .unwrap();
    assert!(handle.status().await.unwrap().sets[&set].former.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn uncordon_gives_up_what_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let set = four_nodes(&handle).await;
    let mut client = Client::new(&handle, 1).await;
    handle.order(Order::Drain(NodeId(1))).await.unwrap();
    handle.order(step(set)).await.unwrap();
    // Clients are told who joins and who leaves.
    let told = loop {
        if let Some(Message::Map(map)) = client.message().await {
            let found = map.sets.into_iter().find(|found| found.id == set.0).unwrap();
            if !found.joining.is_empty() {
                break found;
            }
        }
    };
    assert_eq!(
        (told.joining, told.leaving, told.members),
        (vec![4], vec![1], vec![1, 2, 3, 4])
    );
    handle.order(Order::Uncordon(NodeId(1))).await.unwrap();
    let status = handle.status().await.unwrap();
    let row = &status.sets[&set];
    assert_eq!(
        (&row.members[..], row.joining.len()),
        (&[1, 2, 3].map(NodeId)[..], 0)
    );
    assert_eq!(row.former[0].node, NodeId(4));
    assert_eq!(status.plans.values().next().unwrap().state, PlanState::Aborted);
    assert_eq!(status.nodes[&NodeId(1)].row.state, NodeState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_not_let_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    four_nodes(&handle).await;
    let remove = |force| Order::Remove {
        node: NodeId(3),
        force,
    };
    let refusal = handle.order(remove(false)).await.unwrap_err();
    assert!(refusal.contains("drain it first"), "{refusal}");
    handle.order(remove(true)).await.unwrap();
    let (answer, answered) = oneshot::channel();
    handle.inbox.send(Event::Beat(said_by(3), answer)).await.unwrap();
    let refusal = answered.await.unwrap().unwrap_err();
    assert!(refusal.contains("was removed"), "{refusal}");
    let status = handle.status().await.unwrap();
    assert!(
        status.sets.values().any(|set| set.members.contains(&NodeId(3))),
        "until others took its places"
    );
}

async fn beat(handle: &Handle, node: u8) -> (u32, dfs_core::ids::Term) {
    let (answer, answered) = oneshot::channel();
    handle
        .inbox
        .send(Event::Beat(said_by(node), answer))
        .await
        .unwrap();
    answered.await.unwrap().unwrap()
}

fn said_by(node: u8) -> crate::coordinator::executor::Beat {
    crate::coordinator::executor::Beat {
        uuid: [node; 16],
        address: format!("127.0.0.1:{node}"),
        zone: format!("zone-{node}"),
        capacity: 1 << 30,
        used: 0,
        free: 1 << 30,
        chunks: 0,
        problem: String::new(),
        process: Default::default(),
    }
}
