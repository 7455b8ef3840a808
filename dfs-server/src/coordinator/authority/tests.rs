//! The embedded authority on a directory, and how a reign ends.

use super::embedded::volume_dir;
use super::*;
use crate::coordinator::recovery::first_record;
use dfs_core::types::Timestamp;
use std::path::Path;
use std::time::{Duration, Instant};

fn open(root: &Path) -> Embedded {
    let own = Leader {
        coordinator: Uuid::from_u128(1),
        address: "here:1".into(),
    };
    Embedded::open(root, "default", own).unwrap()
}

fn names(authority: &Embedded) -> Vec<(u16, String, VolumeState)> {
    let volumes = authority.volumes().borrow().clone();
    let name = |entry: &VolumeEntry| (entry.number.0, entry.name.clone(), entry.state);
    volumes.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_kept_and_their_numbers_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = first_record(Timestamp::default());
    let authority = open(dir.path());
    assert!(names(&authority).is_empty());
    for (number, name) in ["default", "b", "c"].into_iter().enumerate() {
        let entry = authority.create_volume(name, &first).await.unwrap();
        assert_eq!(entry.number.0, number as u16);
        let reign = authority.campaign(entry.number).await.unwrap();
        assert_eq!(reign.log.last(), Index(1));
        assert!(reign.standing.holds(Instant::now()));
    }
    let again = authority.create_volume("b", &first).await;
    assert!(matches!(again, Err(AuthorityError::Exists(name)) if name == "b"));
    authority.delete_volume(VolumeId(2)).await.unwrap();
    drop(authority);
    let authority = open(dir.path());
    let expected = [
        (0, "default".to_owned(), VolumeState::Active),
        (1, "b".to_owned(), VolumeState::Active),
        (2, "c".to_owned(), VolumeState::Deleting),
    ];
    assert_eq!(names(&authority), expected);
    authority.forget_volume(VolumeId(2)).await.unwrap();
    assert!(!volume_dir(dir.path(), VolumeId(2)).join("log").exists());
    drop(authority);
    let authority = open(dir.path());
    let entry = authority.create_volume("c", &first).await.unwrap();
    assert_eq!(entry.number, VolumeId(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_before_has_its_one_volume() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("log")).unwrap();
    let authority = open(dir.path());
    assert_eq!(
        names(&authority),
        [(0, "default".to_owned(), VolumeState::Active)]
    );
    let first = first_record(Timestamp::default());
    let entry = authority.create_volume("b", &first).await.unwrap();
    assert_eq!(entry.number, VolumeId(1));
    assert_eq!(names(&open(dir.path())).len(), 2);
}

#[test]
fn names_are_plain() {
    for good in ["a", "default", "a-b_c.d", "2026"] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", &"a".repeat(NAME_MAX + 1)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_reign_lasts_until_it_is_not_extended_or_ended() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let standing = Standing::until(now + second);
    assert!(standing.holds(now));
    assert!(!standing.holds(now + second));
    standing.extend(now + 3 * second);
    standing.extend(now + 2 * second);
    assert!(standing.holds(now + 2 * second));
    assert!(!standing.is_over());
    let other = standing.clone();
    other.end();
    standing.ended().await;
    assert!(standing.is_over() && !standing.holds(now));
}
