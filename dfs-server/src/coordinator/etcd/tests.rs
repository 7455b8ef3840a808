//! The authority on a real etcd: volumes, elections, reigns that end, coordinators that see one another.

use super::cluster::JoinError;
use super::trial::{Proxy, Trial};
use super::{Etcd, EtcdAuthority, EtcdSettings, join};
use crate::coordinator::authority::{Authority, AuthorityError, Leader, Reign, VolumeState};
use crate::coordinator::recovery::first_record;
use dfs_core::ids::{Index, VolumeId};
use dfs_core::types::Timestamp;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Far beyond what anything takes; a test that needs it fails.
const LIMIT: Duration = Duration::from_secs(60);
const VOLUME: VolumeId = VolumeId(0);

async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Longer than what a loaded machine adds to anything.
const TTL: Duration = Duration::from_secs(5);

async fn coordinator(settings: &EtcdSettings, number: u128) -> EtcdAuthority {
    let settings = &EtcdSettings {
        ttl: TTL,
        ..settings.clone()
    };
    let own = Leader {
        coordinator: Uuid::from_u128(number),
        address: format!("host-{number}:7400"),
    };
    within("join", EtcdAuthority::join(settings, Uuid::from_u128(9), own)).await
}

async fn campaign(authority: &EtcdAuthority) -> Reign {
    within("campaign", authority.campaign(VOLUME)).await.unwrap()
}

async fn sees(authority: &EtcdAuthority, leader: Option<u128>) {
    let mut seen = authority.leader(VOLUME);
    let wanted = leader.map(Uuid::from_u128);
    let same = |seen: &Option<Leader>| seen.as_ref().map(|leader| leader.coordinator) == wanted;
    within("the leader is seen", seen.wait_for(same)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_made_once_and_a_wrong_one_refused() {
    let trial = Trial::start(&[]);
    let etcd = Etcd::new(&trial.settings());
    assert!(matches!(join(&etcd, None, false).await, Err(JoinError::Empty)));
    let joins = (0..5).map(|_| {
        let etcd = Etcd::new(&trial.settings());
        tokio::spawn(async move { join(&etcd, None, true).await.unwrap() })
    });
    let mut made = Vec::new();
    for join in joins.collect::<Vec<_>>() {
        made.push(join.await.unwrap());
    }
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(join(&etcd, None, false).await.unwrap(), made[0]);
    assert_eq!(join(&etcd, Some(made[0]), false).await.unwrap(), made[0]);
    let wrong = join(&etcd, Some(Uuid::from_u128(1)), false).await;
    assert!(matches!(wrong, Err(JoinError::Absent { found, .. }) if found == Some(made[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_made_once_and_their_numbers_not_used_again() {
    let trial = Trial::start(&[]);
    let one = coordinator(&trial.settings(), 1).await;
    let two = coordinator(&trial.settings(), 2).await;
    let first = first_record(Timestamp::default());
    let made = one.create_volume("default", &first).await.unwrap();
    assert_eq!(made.number, VOLUME);
    let again = two.create_volume("default", &first).await;
    assert!(matches!(again, Err(AuthorityError::Exists(_))));
    let (b, c) = tokio::join!(one.create_volume("b", &first), two.create_volume("c", &first));
    let mut numbers = [b.unwrap().number.0, c.unwrap().number.0];
    numbers.sort();
    assert_eq!(numbers, [1, 2]);
    let mut seen = two.volumes();
    within("all volumes are seen", seen.wait_for(|seen| seen.len() == 3))
        .await
        .unwrap();
    let reign = campaign(&one).await;
    assert_eq!(reign.log.last(), Index(1));
    one.delete_volume(VolumeId(1)).await.unwrap();
    one.delete_volume(VolumeId(1)).await.unwrap();
    let deleting = |seen: &std::sync::Arc<Vec<crate::coordinator::authority::VolumeEntry>>| {
        seen.iter().any(|entry| entry.state == VolumeState::Deleting)
    };
    within("the deletion is seen", seen.wait_for(deleting))
        .await
        .unwrap();
    one.forget_volume(VolumeId(1)).await.unwrap();
    assert!(matches!(
        one.forget_volume(VolumeId(1)).await,
        Err(AuthorityError::NoVolume(_))
    ));
    assert_eq!(one.create_volume("d", &first).await.unwrap().number, VolumeId(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_the_next_follows_at_once_when_it_gives_up() {
    let trial = Trial::start(&[]);
    let one = coordinator(&trial.settings(), 1).await;
    let two = coordinator(&trial.settings(), 2).await;
    one.create_volume("default", &first_record(Timestamp::default()))
        .await
        .unwrap();
    let reign = campaign(&one).await;
    sees(&two, Some(1)).await;
    let next = tokio::spawn(async move {
        let reign = campaign(&two).await;
        (two, reign, Instant::now())
    });
    tokio::time::sleep(TTL + TTL / 2).await;
    assert!(!next.is_finished(), "the lease of the first is kept alive");
    assert!(reign.standing.holds(Instant::now()));
    let given_up = Instant::now();
    reign.standing.end();
    let (two, second, begun) = within("the next reign", next).await.unwrap();
    let took = begun - given_up;
    println!("a reign that was given up was taken after {took:?}");
    assert!(took < TTL * 3 / 4, "not by the lease's end: {took:?}");
    sees(&one, Some(2)).await;
    // A cancelled campaign leaves nothing behind.
    let cancelled = tokio::time::timeout(Duration::from_millis(300), one.campaign(VOLUME)).await;
    assert!(cancelled.is_err());
    second.standing.end();
    sees(&one, None).await;
    let again = campaign(&one).await;
    one.close().await;
    assert!(again.standing.is_over());
    sees(&two, None).await;
    let mut peers = two.peers();
    within("the first is gone", peers.wait_for(|peers| peers.is_empty()))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_leader_is_replaced_and_knows_it_before() {
    let trial = Trial::start(&[]);
    let proxy = Proxy::start(trial.address).await;
    let one = coordinator(&proxy.settings(), 1).await;
    let two = coordinator(&trial.settings(), 2).await;
    one.create_volume("default", &first_record(Timestamp::default()))
        .await
        .unwrap();
    let reign = campaign(&one).await;
    for round in 0..2 {
        proxy.cut(true);
        let cut = Instant::now();
        let over = async {
            while reign.standing.holds(Instant::now()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if round == 0 {
            // Short of the lease's end nothing happens.
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert!(reign.standing.holds(Instant::now()));
            proxy.cut(false);
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(reign.standing.holds(Instant::now()));
            continue;
        }
        within("the standing ends", over).await;
        let paused = cut.elapsed();
        let second = campaign(&two).await;
        let taken = cut.elapsed();
        println!("cut off; stopped after {paused:?}, replaced after {taken:?}");
        assert!(paused < taken);
        assert!(!reign.standing.is_over(), "it cannot know yet");
        proxy.cut(false);
        within("it learns that it is over", reign.standing.ended()).await;
        sees(&one, Some(2)).await;
        drop(second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_others_are_seen_across_a_restart_of_etcd() {
    let trial = Trial::start(&[]);
    let one = coordinator(&trial.settings(), 1).await;
    let two = coordinator(&trial.settings(), 2).await;
    one.note_checkpoint(VOLUME, Index(7)).await.unwrap();
    let mut peers = two.peers();
    let at = |peers: &std::sync::Arc<Vec<crate::coordinator::authority::Peer>>, index| {
        peers.len() == 1 && peers[0].checkpoints.get(&VOLUME) == Some(&Index(index))
    };
    within("the checkpoint is seen", peers.wait_for(|peers| at(peers, 7)))
        .await
        .unwrap();
    trial.signal(libc::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(3)).await;
    trial.signal(libc::SIGCONT);
    one.note_checkpoint(VOLUME, Index(8)).await.unwrap();
    within("the next one as well", peers.wait_for(|peers| at(peers, 8)))
        .await
        .unwrap();
}
