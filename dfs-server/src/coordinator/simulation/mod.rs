//! The simulation: the real executor with its namespace, leases, locks, recovery of state and fencing, in a world
//! of one thread in which time, network, disks and the other processes are drawn from a seed. Clients, datanodes,
//! the log and the workers are models that follow the real ones' rules; what is checked is in `truth`, `model` and
//! `client/caches`. `cargo xtask sim` runs it for long. Compiled for tests only.

mod arrivals;
mod client;
mod coordinator;
mod datanode;
mod faults;
mod log;
mod messages;
mod model;
mod moves;
mod random;
mod rows;
mod streams;
mod tally;
mod tests;
mod trash;
mod truth;
mod workers;
mod world;

pub use truth::Executed;

use std::time::Instant;
use tally::Tally;
use world::{Broken, Options, SEC, Time, World};

const CHAOS: Time = 30 * SEC;
/// After the faults: everything is settled, then read once more, then let go, then nothing is left.
const SETTLED: Time = 40 * SEC;
const READ: Time = 10 * SEC;
const LET_GO: Time = 30 * SEC;

/// A violation, with what led to it.
pub struct Violation {
    pub reason: String,
    pub history: String,
}

/// One world from its beginning to its end.
fn live(options: Options, base: Instant) -> (Tally, Option<(String, Vec<String>)>) {
    let mut world = World::new(options, base);
    let mut until = options.chaos;
    world.run(until);
    world.calm_down();
    until += SETTLED;
    world.run(until);
    for client in 0..world.clients.len() {
        world.read_everything(client);
    }
    until += READ;
    world.run(until);
    for client in 0..world.clients.len() {
        world.say_goodbye(client);
    }
    if !world.set_retention(0) {
        world.fail("Converges: nobody leads".to_owned());
    }
    until += LET_GO;
    world.run(until);
    if world.failure.is_none()
        && let Err(reason) = world.check_end()
    {
        world.fail(reason);
    }
    let failure = world.failure.take();
    let history = world.history().cloned().collect();
    (world.tally, failure.map(|reason| (reason, history)))
}

/// Runs a seed; one that fails is lived through again, the same, to tell what led to it.
pub fn run(seed: u64, broken: Option<Broken>) -> Result<Tally, Violation> {
    let mut options = Options {
        seed,
        chaos: CHAOS,
        broken,
        told: false,
    };
    let base = Instant::now();
    let (tally, failure) = live(options, base);
    let Some((reason, _)) = failure else {
        return Ok(tally);
    };
    options.told = true;
    let (_, again) = live(options, base);
    let Some((same, history)) = again else {
        return Err(Violation {
            reason: format!(
                "{reason}, and not when seed {seed} is run again: the world is not deterministic"
            ),
            history: String::new(),
        });
    };
    assert_eq!(reason, same, "seed {seed} is not deterministic");
    Err(Violation {
        reason,
        history: history.join("\n"),
    })
}
