//! Random operations on random mounts of one volume against one reference, a directory of the local disk: after every
//! single operation all mounts must show what the reference shows. Names, attributes, content, xattrs, links, open
//! handles, mappings and locks; between operations the mounts warm their caches.
use crate::Scene;
use crate::mappings::Map;
use crate::model::{self, NAMES, Op, Place};
use integration::{Mount, sys};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const HANDLES: usize = 5;
/// A mapping reaches this far; only what the file has of it is touched.
const MAPPED: usize = 64 << 10;
/// How much of the history a failure shows.
const SHOWN: usize = 60;

#[derive(Clone, Debug)]
enum Step {
    /// By name, on one mount.
    Named(usize, Op),
    Open(usize, usize, Place, How),
    Close(usize),
    Read(usize, u32, u32),
    Write(usize, u32, u32),
    SetLen(usize, u32),
    Stat(usize),
    Sync(usize),
    Load(usize, u32, u32),
    Store(usize, u32, u32),
    Flock(usize, i32),
    Range(usize, i16, i64, i64),
    Xattrs(usize, Place, bool),
    /// The mount looks at everything, so that it has it all in its caches.
    Warm(usize),
}

#[derive(Clone, Copy, Debug)]
enum How {
    Read,
    Both,
    Append,
    Direct,
}

/// One open file, on a mount and on the reference.
struct Handle {
    real: File,
    model: File,
    how: How,
    maps: Option<(Map, Map)>,
}

struct World {
    mounts: Vec<PathBuf>,
    reference: PathBuf,
    handles: Vec<Option<Handle>>,
    history: Vec<String>,
}

fn step(random: &mut StdRng, mounts: usize) -> Step {
    let (mount, slot) = (random.random_range(0..mounts), random.random_range(0..HANDLES));
    let (at, len) = (random.random_range(0..150_000), random.random_range(1..40_000));
    let near = random.random_range(0..60_000);
    match random.random_range(0..40) {
        0..=17 => Step::Named(mount, model::op(random)),
        18..=20 => {
            let how = [How::Read, How::Both, How::Append, How::Direct][random.random_range(0..4)];
            Step::Open(slot, mount, model::place(random), how)
        }
        21 => Step::Close(slot),
        22..=23 => Step::Read(slot, at, len),
        24..=26 => Step::Write(
            slot,
            at,
            if random.random_bool(0.5) {
                len
            } else {
                len % 100 + 1
            },
        ),
        27 => Step::SetLen(slot, at),
        28 => Step::Stat(slot),
        29 => Step::Sync(slot),
        30..=31 => Step::Load(slot, near, len % 5000 + 1),
        32..=33 => Step::Store(slot, near, len % 5000 + 1),
        34 => Step::Flock(
            slot,
            [libc::LOCK_SH, libc::LOCK_EX, libc::LOCK_UN][random.random_range(0..3)],
        ),
        35 => {
            let kind = [libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK][random.random_range(0..3)];
            Step::Range(
                slot,
                kind as i16,
                random.random_range(0..6),
                random.random_range(1..4),
            )
        }
        36 => Step::Xattrs(mount, model::place(random), random.random_bool(0.5)),
        _ => Step::Warm(mount),
    }
}

fn errno(e: &std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(-1)
}

/// An outcome in words, the same for a mount and for the reference.
fn said<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(e) => format!("errno {}", errno(&e)),
    }
}

fn open(root: &Path, place: Place, how: How, direct: bool) -> std::io::Result<File> {
    let mut options = File::options();
    match how {
        How::Read => options.read(true),
        How::Both | How::Direct => options.read(true).write(true),
        How::Append => options.read(true).append(true),
    };
    if direct {
        options.custom_flags(libc::O_DIRECT);
    }
    options.open(model::at(root, place))
}

fn read(file: &File, at: u32, len: u32) -> std::io::Result<String> {
    let mut bytes = vec![0; len as usize];
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], u64::from(at) + got as u64)? {
            0 => break,
            n => got += n,
        }
    }
    Ok(model::digest(&bytes[..got]))
}

fn write(file: &File, how: How, at: u32, len: u32) -> std::io::Result<()> {
    let content = model::bytes(at ^ len, len);
    match how {
        How::Append => (&*file).write_all(&content),
        _ => file.write_all_at(&content, u64::from(at)),
    }
}

fn flock(file: &File, how: i32) -> std::io::Result<()> {
    // SAFETY: the descriptor is open as long as the file.
    sys::check(unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) }).map(drop)
}

/// An open file description's lock: the handles of this one process exclude one another.
fn range(file: &File, kind: i16, start: i64, len: i64) -> std::io::Result<()> {
    // SAFETY: flock is plain numbers, and outlives the call.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        (lock.l_type, lock.l_start, lock.l_len) = (kind, start, len);
        sys::check(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock)).map(drop)
    }
}

fn stat(file: &File) -> std::io::Result<String> {
    file.metadata().map(|stat| model::describe(&stat))
}

fn xattrs(root: &Path, place: Place, remove: bool) -> String {
    let path = model::at(root, place);
    if remove {
        said(sys::remove_xattr(&path, "user.model"))
    } else {
        said(sys::list_xattrs(&path).map(|mut names| {
            names.retain(|name| name.starts_with("user."));
            names.sort();
            names
        }))
    }
}

/// Everything that is to be seen of one place.
fn look(root: &Path, place: Place) -> String {
    let path = model::at(root, place);
    let Ok(stat) = path.symlink_metadata() else {
        return "absent".into();
    };
    let mut seen = model::describe(&stat);
    if stat.is_file() {
        seen += &format!(
            " {}",
            said(std::fs::read(&path).map(|bytes| model::digest(&bytes)))
        );
        seen += &format!(" {}", said(sys::get_xattr(&path, "user.model")));
    } else if stat.is_symlink() {
        seen += &format!(" -> {}", said(std::fs::read_link(&path)));
    } else {
        seen += &format!(" {}", said(model::list(&path)));
    }
    seen
}

impl World {
    /// The outcome on the mount and on the reference.
    fn perform(&mut self, step: &Step) -> (String, String) {
        match step {
            Step::Named(mount, op) => {
                let root = &self.mounts[*mount];
                (
                    format!("{:?}", model::apply(root, op)),
                    format!("{:?}", model::apply(&self.reference, op)),
                )
            }
            Step::Open(slot, mount, place, how) => self.open(*slot, *mount, *place, *how),
            Step::Close(slot) => {
                self.handles[*slot] = None;
                Default::default()
            }
            Step::Read(slot, at, len) => self.both(*slot, |file, _| read(file, *at, *len)),
            Step::Write(slot, at, len) => self.both(*slot, |file, how| write(file, how, *at, *len)),
            Step::SetLen(slot, len) => self.both(*slot, |file, _| file.set_len(u64::from(*len))),
            Step::Stat(slot) => self.both(*slot, |file, _| stat(file)),
            Step::Sync(slot) => self.both(*slot, |file, _| file.sync_all()),
            Step::Load(slot, at, len) => self.mapped(*slot, *at, *len, false),
            Step::Store(slot, at, len) => self.mapped(*slot, *at, *len, true),
            Step::Flock(slot, how) => self.both(*slot, |file, _| flock(file, *how)),
            Step::Range(slot, kind, start, len) => {
                self.both(*slot, |file, _| range(file, *kind, *start, *len))
            }
            Step::Xattrs(mount, place, remove) => (
                xattrs(&self.mounts[*mount], *place, *remove),
                xattrs(&self.reference, *place, *remove),
            ),
            Step::Warm(mount) => {
                for dir in 0..NAMES {
                    for name in 0..=NAMES {
                        look(&self.mounts[*mount], (dir, name));
                    }
                }
                Default::default()
            }
        }
    }

    fn open(&mut self, slot: usize, mount: usize, place: Place, how: How) -> (String, String) {
        let real = open(&self.mounts[mount], place, how, matches!(how, How::Direct));
        let model = open(&self.reference, place, how, false);
        let outcome = (
            said(real.as_ref().map(drop).map_err(copy)),
            said(model.as_ref().map(drop).map_err(copy)),
        );
        if let (Ok(real), Ok(model)) = (real, model)
            && real.metadata().unwrap().is_file()
        {
            let maps = None;
            self.handles[slot] = Some(Handle {
                real,
                model,
                how,
                maps,
            });
        }
        outcome
    }

    fn both<T: std::fmt::Debug>(
        &mut self,
        slot: usize,
        act: impl Fn(&File, How) -> std::io::Result<T>,
    ) -> (String, String) {
        match &self.handles[slot] {
            None => Default::default(),
            Some(handle) => (
                said(act(&handle.real, handle.how)),
                said(act(&handle.model, handle.how)),
            ),
        }
    }

    /// Through mappings that stay, within the file as the reference knows it.
    fn mapped(&mut self, slot: usize, at: u32, len: u32, store: bool) -> (String, String) {
        let Some(handle) = &mut self.handles[slot] else {
            return Default::default();
        };
        if matches!(handle.how, How::Read | How::Append) {
            return Default::default();
        }
        let sizes = [&handle.model, &handle.real].map(|file| file.metadata().unwrap().len());
        let end = (at as usize + len as usize).min(MAPPED).min(sizes[0] as usize);
        if sizes[0] != sizes[1] || at as usize >= end {
            return (sizes[1].to_string(), sizes[0].to_string());
        }
        let (real, model) = handle.maps.get_or_insert_with(|| {
            let map = |file: &File| Map::new(file, MAPPED, libc::MAP_SHARED);
            (map(&handle.real), map(&handle.model))
        });
        let part = at as usize..end;
        if store {
            let content = model::bytes(at, (end - at as usize) as u32);
            real.bytes()[part.clone()].copy_from_slice(&content);
            model.bytes()[part].copy_from_slice(&content);
            real.sync();
            model.sync();
            return Default::default();
        }
        (
            model::digest(&real.bytes()[part.clone()]),
            model::digest(&model.bytes()[part]),
        )
    }

    /// The places that a step may have changed; those behind handles come by their turn.
    fn concerned(step: &Step, random: &mut StdRng) -> Vec<Place> {
        let mut places = match step {
            Step::Named(_, op) => op.places(),
            Step::Open(_, _, place, _) | Step::Xattrs(_, place, _) => vec![*place],
            _ => Vec::new(),
        };
        let parents: Vec<Place> = places.iter().map(|(dir, _)| (*dir, NAMES)).collect();
        places.extend(parents);
        places.push(model::place(random));
        places
    }

    /// What the mounts show differently from the reference.
    fn difference(&self, places: &[Place], first: usize) -> Option<String> {
        for place in places {
            let wanted = look(&self.reference, *place);
            for turn in 0..self.mounts.len() {
                let mount = (first + turn) % self.mounts.len();
                let seen = look(&self.mounts[mount], *place);
                if seen != wanted {
                    return Some(format!(
                        "mount {mount} shows {place:?} as\n  {seen}\nthe reference as\n  {wanted}"
                    ));
                }
            }
        }
        for (slot, handle) in self.handles.iter().enumerate() {
            let Some(handle) = handle else { continue };
            let look = |file: &File| format!("{} {}", said(stat(file)), said(read(file, 0, 250_000)));
            let (seen, wanted) = (look(&handle.real), look(&handle.model));
            if seen != wanted {
                return Some(format!(
                    "handle {slot} shows\n  {seen}\nthe reference\n  {wanted}"
                ));
            }
        }
        None
    }
}

fn copy(e: &std::io::Error) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno(e))
}

fn seed() -> u64 {
    let given = std::env::var("DFS_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| rand::rng().random())
}

/// How many operations; DFS_TEST_OPS makes a soak of it.
fn length(usual: usize) -> usize {
    let given = std::env::var("DFS_TEST_OPS")
        .ok()
        .and_then(|ops| ops.parse().ok());
    given.unwrap_or(usual)
}

/// Mounts with these options, and so many operations.
fn agree(options: &[&str], ops: usize) {
    let mounts = options.len();
    let scene = Scene::with(options[0]);
    let another = |n: usize| {
        let name = format!("mnt-{}", n + 1);
        Mount::with(&scene.cluster, scene.room.path(), &name, "", options[n])
    };
    let more: Vec<Mount> = (1..mounts).map(another).collect();
    std::fs::create_dir(scene.join("top")).unwrap();
    let mut roots = vec![scene.join("top")];
    roots.extend(more.iter().map(|mount| mount.join("top")));
    let mut world = World {
        mounts: roots,
        reference: model::reference(&scene.room),
        handles: (0..HANDLES).map(|_| None).collect(),
        history: Vec::new(),
    };
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    for dir in 0..NAMES {
        let make = Op::Mkdir((dir, NAMES));
        assert!(
            model::apply(&world.mounts[0], &make).is_ok() && model::apply(&world.reference, &make).is_ok()
        );
    }
    for number in 0..ops {
        let step = step(&mut random, mounts);
        let (is, wanted) = world.perform(&step);
        world.history.push(format!("{number}: {step:?} gave {is}"));
        let places = World::concerned(&step, &mut random);
        let differs = if is == wanted {
            world.difference(&places, random.random_range(0..mounts))
        } else {
            Some(format!("gave {is}, the reference {wanted}"))
        };
        if let Some(differs) = differs {
            let from = world.history.len().saturating_sub(SHOWN);
            let history = world.history[from..].join("\n  ");
            panic!("DFS_TEST_SEED={seed}, {mounts} mounts: {differs}\nhistory:\n  {history}");
        }
    }
    drop(world);
    scene.cluster.assert_clean();
}

// S2, S9, S10, S20, S21
#[test]
fn two_mounts_show_the_same_after_every_operation() {
    agree(&["allow_other,nowsync"; 2], length(500));
}

// S2, S9, S10, S20, S21
#[test]
fn two_mounts_that_ask_for_each_change_show_the_same_after_every_operation() {
    agree(&["allow_other,wsync"; 2], length(300));
}

// S2, S9, S10, S20, S21
#[test]
fn three_mounts_show_the_same_after_every_operation() {
    agree(
        &["allow_other,nowsync", "allow_other,wsync", "allow_other,nowsync"],
        length(500),
    );
}
