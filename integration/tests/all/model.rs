//! Random sequences of namespace and data operations on a real mount against a naive reference: the same sequence
//! on a plain directory of the local disk. A sequence that differs is cut down before it is shown.
use crate::Scene;
use integration::Room;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names are few, so that operations meet.
pub const NAMES: u8 = 4;
const SEQUENCES: u64 = 40;
const LENGTH: usize = 120;
const LARGEST: u32 = 200_000;

pub type Place = (u8, u8);

#[derive(Clone, Debug)]
pub enum Op {
    Create(Place),
    Mkdir(Place),
    Symlink(Place, Place),
    Link(Place, Place),
    Unlink(Place),
    Rmdir(Place),
    Rename(Place, Place, u32),
    Write(Place, u32, u32),
    Append(Place, u32),
    Truncate(Place, u32),
    Chmod(Place, u32),
    Read(Place),
    Stat(Place),
    List(u8),
    SetXattr(Place, u8),
    Punch(Place, u32, u32),
    Reopen,
}

impl Op {
    /// The places that it may change or looks at.
    pub fn places(&self) -> Vec<Place> {
        match self {
            Op::Symlink(a, _) => vec![*a],
            Op::Link(a, b) | Op::Rename(a, b, _) => vec![*a, *b],
            Op::Create(a)
            | Op::Mkdir(a)
            | Op::Unlink(a)
            | Op::Rmdir(a)
            | Op::Write(a, ..)
            | Op::Append(a, _)
            | Op::Truncate(a, _)
            | Op::Chmod(a, _)
            | Op::Read(a)
            | Op::Stat(a)
            | Op::SetXattr(a, _)
            | Op::Punch(a, ..) => vec![*a],
            Op::List(dir) => vec![(*dir, NAMES)],
            Op::Reopen => Vec::new(),
        }
    }
}

pub fn place(random: &mut StdRng) -> Place {
    (random.random_range(0..NAMES), random.random_range(0..NAMES))
}

pub fn op(random: &mut StdRng) -> Op {
    let (a, b) = (place(random), place(random));
    let (at, len) = (random.random_range(0..LARGEST), random.random_range(1..70_000));
    match random.random_range(0..24) {
        0..=2 => Op::Create(a),
        3..=4 => Op::Mkdir((a.0, NAMES)),
        5 => Op::Symlink(a, b),
        6 => Op::Link(a, b),
        7..=8 => Op::Unlink(a),
        9 => Op::Rmdir((a.0, NAMES)),
        10 => Op::Rename((a.0, NAMES), (b.0, NAMES), 0),
        11..=12 => Op::Rename(
            a,
            b,
            [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE][random.random_range(0..3)],
        ),
        13..=15 => Op::Write(a, at, len),
        16 => Op::Append(a, len),
        17 => Op::Truncate(a, at),
        18 => Op::Chmod(a, random.random_range(0..0o1000)),
        19 => Op::Read(a),
        20 => Op::Stat(a),
        21 => Op::List(a.0),
        22 => Op::SetXattr(a, len as u8),
        _ => [Op::Punch(a, at, len), Op::Reopen][random.random_range(0..2)].clone(),
    }
}

/// Directory d0..d3, file f0..f3 in it; the name NAMES stands for the directory itself.
pub fn at(root: &Path, (dir, name): Place) -> PathBuf {
    let dir = root.join(format!("d{dir}"));
    if name == NAMES {
        dir
    } else {
        dir.join(format!("f{name}"))
    }
}

pub fn bytes(seed: u32, len: u32) -> Vec<u8> {
    (0..len)
        .map(|n| ((seed ^ n).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// What an operation shows of itself: an errno or a description of the result.
pub fn apply(root: &Path, op: &Op) -> Result<String, i32> {
    let done = |()| String::new();
    let outcome = match op {
        Op::Create(a) => File::options()
            .write(true)
            .create_new(true)
            .open(at(root, *a))
            .map(|_| String::new()),
        Op::Mkdir(a) => std::fs::create_dir(at(root, *a)).map(done),
        Op::Symlink(a, b) => {
            std::os::unix::fs::symlink(format!("../d{}/f{}", b.0, b.1), at(root, *a)).map(done)
        }
        Op::Link(a, b) => std::fs::hard_link(at(root, *a), at(root, *b)).map(done),
        Op::Unlink(a) => std::fs::remove_file(at(root, *a)).map(done),
        Op::Rmdir(a) => std::fs::remove_dir(at(root, *a)).map(done),
        Op::Rename(a, b, flags) => integration::sys::rename(&at(root, *a), &at(root, *b), *flags).map(done),
        Op::Write(a, from, len) => writable(root, *a)
            .and_then(|file| file.write_all_at(&bytes(*from, *len), u64::from(*from)))
            .map(done),
        Op::Append(a, len) => File::options()
            .append(true)
            .open(at(root, *a))
            .and_then(|mut file| file.write_all(&bytes(*len, *len)))
            .map(done),
        Op::Truncate(a, len) => writable(root, *a)
            .and_then(|file| file.set_len(u64::from(*len)))
            .map(done),
        Op::Chmod(a, mode) => {
            std::fs::set_permissions(at(root, *a), PermissionsExt::from_mode(*mode)).map(done)
        }
        Op::Read(a) => std::fs::read(at(root, *a)).map(|content| digest(&content)),
        Op::Stat(a) => at(root, *a).symlink_metadata().map(|stat| describe(&stat)),
        Op::List(dir) => list(&at(root, (*dir, NAMES))),
        Op::SetXattr(a, value) => {
            integration::sys::set_xattr(&at(root, *a), "user.model", &[*value], 0).map(done)
        }
        Op::Punch(a, from, len) => writable(root, *a).and_then(|file| {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            integration::sys::fallocate(&file, mode, i64::from(*from), i64::from(*len)).map(done)
        }),
        Op::Reopen => Ok(String::new()),
    };
    outcome.map_err(|e| e.raw_os_error().unwrap_or(-1))
}

fn writable(root: &Path, a: Place) -> std::io::Result<File> {
    File::options().write(true).open(at(root, a))
}

pub fn digest(content: &[u8]) -> String {
    let sum = content.iter().fold(14_695_981_039_346_656_037u64, |sum, b| {
        (sum ^ u64::from(*b)).wrapping_mul(1_099_511_628_211)
    });
    format!("{} bytes, {sum:016x}", content.len())
}

pub fn describe(stat: &std::fs::Metadata) -> String {
    // The size of a directory is the file system's own affair.
    let size = if stat.is_dir() { 0 } else { stat.len() };
    format!("mode {:o} nlink {} size {size}", stat.mode(), stat.nlink())
}

pub fn list(dir: &Path) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        names.push(format!(
            "{} {:?}",
            entry.file_name().display(),
            entry.file_type()?
        ));
    }
    names.sort();
    Ok(names.join(", "))
}

/// Everything that can be seen below `root`.
fn picture(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for dir in 0..NAMES {
        for name in (0..=NAMES).rev() {
            let path = at(root, (dir, name));
            let Ok(stat) = path.symlink_metadata() else {
                continue;
            };
            let mut line = format!("d{dir}/f{name}: {}", describe(&stat));
            if stat.is_file() {
                line += &format!(" {}", digest(&std::fs::read(&path).unwrap()));
                line += &format!(" {:?}", integration::sys::get_xattr(&path, "user.model").ok());
            } else if stat.is_symlink() {
                line += &format!(" -> {}", std::fs::read_link(&path).unwrap().display());
            }
            lines.push(line);
        }
    }
    lines
}

/// Runs the sequence on both; the first difference.
fn difference(scene: &Scene, reference: &Path, number: u64, ops: &[Op]) -> Option<String> {
    let (real, model) = (
        scene.join(&format!("run-{number}")),
        reference.join(format!("run-{number}")),
    );
    std::fs::create_dir(&real).unwrap();
    std::fs::create_dir(&model).unwrap();
    for op in ops {
        let (is, wanted) = (apply(&real, op), apply(&model, op));
        if is != wanted {
            return Some(format!("{op:?} gave {is:?}, the reference {wanted:?}"));
        }
        if matches!(op, Op::Reopen) && picture(&real) != picture(&model) {
            return Some(show(&picture(&real), &picture(&model)));
        }
    }
    let (is, wanted) = (picture(&real), picture(&model));
    std::fs::remove_dir_all(&model).unwrap();
    let outcome = (is != wanted).then(|| show(&is, &wanted));
    std::fs::remove_dir_all(&real).unwrap();
    outcome
}

fn show(is: &[String], wanted: &[String]) -> String {
    let only = |a: &[String], b: &[String]| {
        a.iter()
            .filter(|line| !b.contains(line))
            .cloned()
            .collect::<Vec<_>>()
            .join("\n    ")
    };
    format!(
        "the trees differ:\n  is\n    {}\n  reference\n    {}",
        only(is, wanted),
        only(wanted, is)
    )
}

/// Leaves out parts as long as the rest still differs.
fn shrink(mut ops: Vec<Op>, mut differs: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut part = ops.len() / 2;
    while part > 0 {
        let mut from = 0;
        while from < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(from..(from + part).min(ops.len()));
            if differs(&fewer) {
                ops = fewer
            } else {
                from += part
            }
        }
        part /= 2;
    }
    ops
}

// S1, S9
#[test]
fn random_sequences_agree_with_a_local_file_system() {
    let seed: u64 = std::env::var("DFS_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    let scene = Scene::new();
    let reference: PathBuf = reference(&scene.room);
    let mut number = 0;
    let mut run = |ops: &[Op]| {
        number += 1;
        difference(&scene, &reference, number, ops)
    };
    for sequence in 0..SEQUENCES {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(sequence));
        let ops: Vec<Op> = (0..LENGTH).map(|_| op(&mut random)).collect();
        if let Some(first) = run(&ops) {
            let short = shrink(ops, |ops| run(ops).is_some());
            let last = run(&short);
            let history: String = short.iter().map(|op| format!("  {op:?}\n")).collect();
            panic!(
                "DFS_TEST_SEED={seed}, sequence {sequence}: {first}\nshortest history:\n{history}which ends: {last:?}"
            );
        }
    }
    scene.cluster.assert_clean();
}

pub fn reference(room: &Room) -> PathBuf {
    room.folder("reference")
}
