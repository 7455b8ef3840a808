//! Two hosts with one log between them: the follower keeps warm, a deposed leader leaves nothing behind that is not in
//! the log, and leads again.

use super::{Handle, Host};
use crate::coordinator::Settings;
use crate::coordinator::authority::{Leader, Memory, VolumeEntry, VolumeState, World};
use crate::coordinator::executor::{Beat, Event};
use crate::coordinator::recovery::first_record;
use crate::coordinator::settings::Healing;
use dfs_core::ids::{Term, VolumeId};
use dfs_core::keys;
use dfs_core::types::Timestamp;
use dfs_core::view::View;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

const PATIENCE: Duration = Duration::from_secs(20);

struct One {
    host: Host,
    authority: Arc<Memory>,
    id: u128,
    dir: tempfile::TempDir,
}

fn settings(dir: &Path) -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        data_dir: dir.to_owned(),
        cluster: uuid::Uuid::from_u128(7),
        volume: "default".into(),
        number: VolumeId(0),
        replication: 3,
        min_replicas: 2,
        lease_term: second,
        session_timeout: 3 * second,
        gc_delay: second,
        inventory_interval: 60 * second,
        clean_interval: 600 * second,
        checkpoint_records: 1000,
        max_leases: 1 << 21,
        observer: Default::default(),
        healing: Healing {
            suspect_after: 3 * second,
            dead_after: 600 * second,
        },
    }
}

fn start(world: &Arc<World>, id: u128, stands: bool) -> One {
    let dir = tempfile::tempdir().unwrap();
    let own = Leader {
        coordinator: uuid::Uuid::from_u128(id),
        address: format!("host-{id}:1"),
    };
    let authority = Arc::new(Memory {
        world: world.clone(),
        own: own.clone(),
        stands: watch::Sender::new(stands),
    });
    let host = Host::start(authority.clone(), own, settings(dir.path()), false).unwrap();
    One {
        host,
        authority,
        id,
        dir,
    }
}

async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn leads(one: &One) -> Handle {
    until("it leads", || one.host.hosted.led_here(VolumeId(0))).await
}

/// A datanode presents itself: its number and the term.
async fn beat(handle: &Handle, node: u8) -> Option<(u32, Term)> {
    let beat = Beat {
        uuid: [node; 16],
        address: format!("127.0.0.1:{node}"),
        zone: "zone".into(),
        capacity: 1 << 30,
        used: 0,
        free: 1 << 30,
        chunks: 0,
        problem: String::new(),
        process: Default::default(),
    };
    let (answer, answered) = oneshot::channel();
    handle.inbox.send(Event::Beat(beat, answer)).await.ok()?;
    answered.await.ok()?.ok()
}

fn has_node(view: &dyn View, node: u32) -> bool {
    view.get(&keys::node(dfs_core::ids::NodeId(node)))
        .unwrap()
        .is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_follows_with_nothing_but_the_log_and_leads_again() {
    let world = World::new(&first_record(Timestamp::default()));
    let one = start(&world, 1, true);
    let first = leads(&one).await;
    let two = start(&world, 2, false);
    let (node, term) = beat(&first, 1).await.unwrap();
    assert!(two.host.hosted.led_here(VolumeId(0)).is_none());

    // What the old leader takes in when its reign is over is answered to nobody, and in no store.
    two.authority.stands.send_replace(true);
    one.authority.stands.send_replace(false);
    world.depose();
    assert_eq!(beat(&first, 9).await, None);
    let begun = Instant::now();
    let second = leads(&two).await;
    println!(
        "host {} serves {:?} after the end of the reign",
        two.id,
        begun.elapsed()
    );
    assert_eq!(
        two.host.hosted.volumes()[0].1.as_ref().unwrap().address,
        "host-2:1"
    );
    let (same, newer) = beat(&second, 1).await.unwrap();
    assert_eq!(same, node, "a warm follower knows what was durable");
    assert!(newer > term);
    let (other, _) = beat(&second, 2).await.unwrap();
    assert_eq!(other, node + 1, "what was not durable took no number");
    until("the old leader follows", || {
        has_node(&first.store, other).then_some(())
    })
    .await;

    one.authority.stands.send_replace(true);
    two.authority.stands.send_replace(false);
    world.depose();
    let third = leads(&one).await;
    assert!(third.term > newer);
    assert_eq!(beat(&third, 2).await.unwrap(), (other, third.term));

    for mut one in [one, two] {
        one.host.stop();
        one.host.ended().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_of_a_volume_goes_only_when_it_was_seen_being_deleted() {
    for announced in [false, true] {
        let world = World::new(&first_record(Timestamp::default()));
        let mut one = start(&world, 1, true);
        leads(&one).await;
        let state = one.dir.path().join("state");
        assert!(state.exists());
        // It follows, so that the test alone says what is in the list.
        one.authority.stands.send_replace(false);
        world.depose();
        until("it does not lead", || {
            one.host.hosted.led_here(VolumeId(0)).is_none().then_some(())
        })
        .await;
        if announced {
            world.name(vec![VolumeEntry {
                number: VolumeId(0),
                name: "default".into(),
                state: VolumeState::Deleting,
            }]);
            until("it has seen that", || {
                let named = one.host.hosted.volumes();
                let state = named.first().map(|(entry, ..)| entry.state);
                (state == Some(VolumeState::Deleting)).then_some(())
            })
            .await;
        }
        world.name(Vec::new());
        until("its life ends", || {
            one.host.hosted.volumes().is_empty().then_some(())
        })
        .await;
        one.host.stop();
        one.host.ended().await.unwrap();
        assert_eq!(state.exists(), !announced);
    }
}
