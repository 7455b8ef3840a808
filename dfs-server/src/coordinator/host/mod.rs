//! One process that hosts all volumes of a cluster, each as its leader or as a follower that keeps warm. Services
//! ask here who leads a volume; `live` is one volume's life. It knows the authority, no client and no datanode.

mod checkpoints;
mod delete;
mod follow;
mod lead;
mod live;
mod supervise;
#[cfg(test)]
mod tests;
mod transfer;

#[cfg(test)]
pub use checkpoints::trim_to;
pub use lead::Handle;
#[cfg(test)]
pub use lead::Led;
pub use supervise::Host;

use super::Settings;
use super::authority::{Authority, Leader, VolumeEntry, VolumeState, volume_dir};
use dfs_core::ids::VolumeId;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

/// Names the volume that a request is about.
const VOLUME_KEY: &str = "dfs-volume";
/// Names the leader in a refusal.
const LEADER_KEY: &str = "dfs-leader";

/// The volume of a request that names none: the only one there was before there could be several.
const UNNAMED: VolumeId = VolumeId(0);

/// What services and the volumes' lives share.
#[derive(Clone)]
pub struct Hosted(Arc<Shared>);

struct Shared {
    authority: Arc<dyn Authority>,
    /// This coordinator as others know it.
    own: Leader,
    /// Of every volume, apart from its name, number and directory.
    settings: Settings,
    volumes: RwLock<BTreeMap<VolumeId, Volume>>,
    /// Told when a volume begins or ends to be led here.
    turns: watch::Sender<u64>,
    disk_low: Arc<AtomicBool>,
}

struct Volume {
    entry: VolumeEntry,
    leader: watch::Receiver<Option<Leader>>,
    led: Option<Handle>,
}

/// Who can do what a client asks of a volume.
pub enum Route {
    Here(Box<Handle>),
    /// Its leader's address, if there is one now.
    Elsewhere(Option<String>),
    Unknown,
}

impl Hosted {
    pub fn new(
        authority: Arc<dyn Authority>,
        own: Leader,
        settings: Settings,
        disk_low: Arc<AtomicBool>,
    ) -> Hosted {
        Hosted(Arc::new(Shared {
            authority,
            own,
            settings,
            volumes: RwLock::default(),
            turns: watch::Sender::new(0),
            disk_low,
        }))
    }

    pub fn authority(&self) -> &Arc<dyn Authority> {
        &self.0.authority
    }

    pub fn own(&self) -> &Leader {
        &self.0.own
    }

    /// Where the volume's state and checkpoints are.
    pub fn dir(&self, volume: VolumeId) -> PathBuf {
        volume_dir(&self.0.settings.data_dir, volume)
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What a volume's executor and workers are told.
    fn settings_of(&self, entry: &VolumeEntry) -> Settings {
        Settings {
            data_dir: self.dir(entry.number),
            volume: entry.name.clone(),
            number: entry.number,
            observer: self.0.settings.observer.part("volume", &entry.name),
            ..self.0.settings.clone()
        }
    }

    /// From here on the process is ready when every volume has a leader that is known here, and shows how many are led.
    pub fn watch(&self) {
        let observer = &self.0.settings.observer;
        // Weak: what is shown must not keep alive what it shows.
        let ready = Arc::downgrade(&self.0);
        observer.health.ready("volumes", move || match ready.upgrade() {
            Some(shared) => Hosted(shared).all_led(),
            None => Ok(()),
        });
        let led = Arc::downgrade(&self.0);
        observer.metrics.read_gauge(
            "dfs_coordinator_volumes_led",
            "Volumes that this coordinator leads",
            move || {
                let volumes = led.upgrade().map(|shared| Hosted(shared).volumes());
                volumes.map_or(0.0, |all| all.iter().filter(|(_, _, here)| *here).count() as f64)
            },
        );
    }

    fn all_led(&self) -> Result<(), String> {
        let own = &self.0.own.coordinator;
        let headless = |(entry, leader, here): &(VolumeEntry, Option<Leader>, bool)| {
            let elsewhere = leader.as_ref().is_some_and(|leader| leader.coordinator != *own);
            entry.state == VolumeState::Active && !here && !elsewhere
        };
        match self.volumes().iter().find(|volume| headless(volume)) {
            Some((entry, _, _)) => Err(format!("nobody leads volume {}", entry.name)),
            None => Ok(()),
        }
    }

    /// All volumes with who leads them, and whether that is here.
    pub fn volumes(&self) -> Vec<(VolumeEntry, Option<Leader>, bool)> {
        let volumes = self.0.volumes.read();
        let one = |volume: &Volume| {
            let leader = volume.leader.borrow().clone();
            let here = volume
                .led
                .as_ref()
                .is_some_and(|led| led.standing.holds(Instant::now()));
            (volume.entry.clone(), leader, here)
        };
        volumes.values().map(one).collect()
    }

    /// The volume's handle when it is led here.
    pub fn led_here(&self, volume: VolumeId) -> Option<Handle> {
        self.0.volumes.read().get(&volume)?.led.clone()
    }

    /// Who serves the volume of this name; an empty one is the first volume.
    pub fn route(&self, name: &str) -> Route {
        let volumes = self.0.volumes.read();
        let mut living = volumes
            .values()
            .filter(|volume| volume.entry.state == VolumeState::Active);
        let found = if name.is_empty() {
            living.find(|volume| volume.entry.number == UNNAMED)
        } else {
            living.find(|volume| volume.entry.name == name)
        };
        match found {
            None => Route::Unknown,
            Some(volume) => self.route_of(volume),
        }
    }

    /// Who serves the volume with this number.
    pub fn route_number(&self, number: VolumeId) -> Route {
        let volumes = self.0.volumes.read();
        volumes
            .get(&number)
            .map_or(Route::Unknown, |volume| self.route_of(volume))
    }

    fn route_of(&self, volume: &Volume) -> Route {
        if let Some(handle) = &volume.led {
            return Route::Here(Box::new(handle.clone()));
        }
        let leader = volume.leader.borrow();
        let other = leader
            .as_ref()
            .filter(|leader| leader.coordinator != self.0.own.coordinator);
        Route::Elsewhere(other.map(|leader| leader.address.clone()))
    }

    /// The volume that the request's metadata names, if it is led here.
    pub fn led<T>(&self, request: &Request<T>) -> Result<Handle, Status> {
        let name = request.metadata().get(VOLUME_KEY);
        let name = name.map(|name| name.to_str()).transpose();
        let name = name
            .map_err(|error| Status::invalid_argument(error.to_string()))?
            .unwrap_or_default();
        self.here(self.route(name), name)
    }

    /// The handle, or the refusal that leads on.
    pub fn here(&self, route: Route, name: &str) -> Result<Handle, Status> {
        match route {
            Route::Here(handle) => Ok(*handle),
            Route::Elsewhere(leader) => Err(not_leader(leader)),
            Route::Unknown => Err(Status::not_found(format!("there is no volume {name:?} here"))),
        }
    }

    fn knows(&self, entry: &VolumeEntry) -> bool {
        let mut volumes = self.0.volumes.write();
        match volumes.get_mut(&entry.number) {
            Some(volume) => {
                volume.entry = entry.clone();
                true
            }
            None => {
                let leader = self.0.authority.leader(entry.number);
                let volume = Volume {
                    entry: entry.clone(),
                    leader,
                    led: None,
                };
                volumes.insert(entry.number, volume);
                false
            }
        }
    }

    fn forget(&self, volume: VolumeId) {
        self.0.volumes.write().remove(&volume);
    }

    fn leads(&self, volume: VolumeId, led: Option<Handle>) {
        if let Some(volume) = self.0.volumes.write().get_mut(&volume) {
            volume.led = led;
        }
        self.0.turns.send_modify(|turn| *turn += 1);
    }
}

/// The refusal of who does not lead.
fn not_leader(leader: Option<String>) -> Status {
    let Some(leader) = leader else {
        return Status::unavailable("nobody leads the volume at this moment; try again");
    };
    let mut metadata = MetadataMap::new();
    if let Ok(value) = leader.parse() {
        metadata.insert(LEADER_KEY, value);
    }
    let message = format!("another coordinator leads the volume: ask {leader}");
    Status::with_metadata(tonic::Code::Unavailable, message, metadata)
}
