//! What all coordinators of a cluster must agree on, kept in etcd: the first one writes its own settings, later ones
//! take them over, so that a failover changes no promise. A coordinator asks at start; `--share-settings` writes anew.

use super::cluster::{get, put, put_if_absent};
use super::connection::Etcd;
use super::error::EtcdError;
use super::names::Names;
use super::registry::{encode, parse};
use crate::coordinator::Settings;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time that is taken from etcd: longer ones are damage.
const TIME_MAX_MS: u64 = 10 * 365 * 24 * 3_600_000;
const COPIES_MAX: u64 = 8;

/// By the name of its flag: a number of copies, or milliseconds.
pub type Policy = BTreeMap<String, u64>;

enum Slot<'a> {
    Copies(&'a mut usize),
    Time(&'a mut Duration),
}

impl Slot<'_> {
    fn figure(&self) -> u64 {
        match self {
            Slot::Copies(copies) => **copies as u64,
            Slot::Time(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn fits(&self, figure: u64) -> bool {
        match self {
            Slot::Copies(_) => (1..=COPIES_MAX).contains(&figure),
            Slot::Time(_) => figure <= TIME_MAX_MS,
        }
    }

    fn set(self, figure: u64) {
        match self {
            Slot::Copies(copies) => *copies = figure as usize,
            Slot::Time(time) => *time = Duration::from_millis(figure),
        }
    }
}

/// The shared part of the settings. What concerns one machine alone (addresses, checkpoints) is not in it.
fn slots(settings: &mut Settings) -> [(&'static str, Slot<'_>); 9] {
    [
        ("replication", Slot::Copies(&mut settings.replication)),
        ("min-replicas", Slot::Copies(&mut settings.min_replicas)),
        ("lease-term", Slot::Time(&mut settings.lease_term)),
        ("session-timeout", Slot::Time(&mut settings.session_timeout)),
        ("gc-delay", Slot::Time(&mut settings.gc_delay)),
        ("inventory-interval", Slot::Time(&mut settings.inventory_interval)),
        ("clean-interval", Slot::Time(&mut settings.clean_interval)),
        ("suspect-after", Slot::Time(&mut settings.healing.suspect_after)),
        ("dead-after", Slot::Time(&mut settings.healing.dead_after)),
    ]
}

fn own(settings: &mut Settings) -> Policy {
    let figures = slots(settings).map(|(name, slot)| (name.to_owned(), slot.figure()));
    figures.into_iter().collect()
}

/// Takes the cluster's figures over; the names of those that were different here. A name that this program does not
/// know is passed over, one that the cluster does not have keeps its value.
fn take(settings: &mut Settings, policy: &Policy, key: &str) -> Result<Vec<&'static str>, EtcdError> {
    let mut different = Vec::new();
    for (name, slot) in slots(settings) {
        let Some(figure) = policy.get(name).copied() else {
            continue;
        };
        if !slot.fits(figure) {
            return Err(EtcdError::Damaged {
                key: key.to_owned(),
                reason: format!("{figure} is no {name}"),
            });
        }
        if slot.figure() != figure {
            different.push(name);
            slot.set(figure);
        }
    }
    if settings.min_replicas > settings.replication {
        return Err(EtcdError::Damaged {
            key: key.to_owned(),
            reason: "min-replicas is greater than replication".to_owned(),
        });
    }
    Ok(different)
}

/// Brings `settings` to what the cluster agreed on; with `share` the cluster to `settings`.
pub async fn agree(etcd: &Etcd, settings: &mut Settings, share: bool) -> Result<(), EtcdError> {
    let key = Names::new(settings.cluster).policy();
    let mine = encode(&own(settings));
    if share {
        put(etcd, &key, mine).await?;
        tracing::info!(
            "these settings hold for all coordinators of the cluster, for others from their next start on"
        );
        return Ok(());
    }
    put_if_absent(etcd, &key, mine).await?;
    let Some(value) = get(etcd, &key).await? else {
        return Ok(());
    };
    let different = take(settings, &parse(key.as_bytes(), &value)?, &key)?;
    if !different.is_empty() {
        tracing::warn!(
            ?different,
            "the cluster's settings hold, not those given here; to change them for all, start one coordinator with \
             --share-settings and the others after it"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use super::*;
    use crate::coordinator::settings::Policy as Flags;
    use clap::{Args as _, FromArgMatches as _};
    use std::path::Path;
    use uuid::Uuid;

    fn settings(flags: &[&str]) -> Settings {
        let command = Flags::augment_args(clap::Command::new("test").no_binary_name(true));
        let flags = Flags::from_arg_matches(&command.get_matches_from(flags)).unwrap();
        let observer = dfs_client::observe::Observer::default();
        flags
            .settings(Path::new("/nowhere"), Uuid::from_u128(7), &observer)
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_first_coordinator_decides_until_one_shares_its_settings() {
        let trial = Trial::start(&[]);
        let etcd = Etcd::new(&trial.settings());
        let mut first = settings(&["--replication", "2", "--lease-term", "4s"]);
        agree(&etcd, &mut first, false).await.unwrap();
        assert_eq!((first.replication, first.lease_term), (2, Duration::from_secs(4)));
        let mut second = settings(&["--dead-after", "1h"]);
        agree(&etcd, &mut second, false).await.unwrap();
        assert_eq!(own(&mut second), own(&mut first));
        let mut third = settings(&["--dead-after", "1h"]);
        agree(&etcd, &mut third, true).await.unwrap();
        assert_eq!(third.healing.dead_after, Duration::from_secs(3600));
        agree(&etcd, &mut second, false).await.unwrap();
        assert_eq!(own(&mut second), own(&mut third));
    }

    #[test]
    fn figures_that_cannot_be_are_damage() {
        let mut any = settings(&[]);
        for (name, figure) in [
            ("replication", 0),
            ("replication", 9),
            ("gc-delay", u64::MAX),
            ("min-replicas", 8),
        ] {
            let policy = Policy::from([(name.to_owned(), figure)]);
            let taken = take(&mut any.clone(), &policy, "key");
            assert!(matches!(taken, Err(EtcdError::Damaged { .. })), "{name} {figure}");
        }
        let unknown = Policy::from([("of-a-later-version".to_owned(), 5)]);
        assert_eq!(take(&mut any, &unknown, "key").unwrap(), Vec::<&str>::new());
    }
}
