//! The order in which names were changed, and what a crash may leave of it: the state after some step, none before the
//! last sync. Called by the crash tests; knows nothing of how the crash was made.
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const FOLDERS: u32 = 3;

/// Steps before and behind the nearest one that a failure shows.
const SHOWN: usize = 10;

#[derive(Clone, Debug)]
enum Step {
    MakeFolder(String),
    Make(String, u64),
    Rename(String, String),
    Link(String, String),
    Remove(String),
}

/// What is there: the file's number, `None` for a directory.
type Tree = BTreeMap<String, Option<u64>>;

/// What one worker did in an empty directory; survives every crash, because it is not in the file system under test.
#[derive(Default)]
pub struct Order {
    steps: Vec<Step>,
    now: Tree,
    /// So many steps were made durable.
    synced: usize,
    /// The last step that changed each directory, by its name, and each file, by its number.
    changed: BTreeMap<String, usize>,
    /// Files that were synced themselves.
    whole: BTreeSet<u64>,
    made: u64,
}

fn content(number: u64) -> String {
    format!("{number} ").repeat(1 + number as usize % 700)
}

fn apply(tree: &mut Tree, step: &Step) {
    match step {
        Step::MakeFolder(path) => tree.insert(path.clone(), None),
        Step::Make(path, number) => tree.insert(path.clone(), Some(*number)),
        Step::Rename(from, to) => {
            let moved = tree.remove(from).expect("it was there");
            tree.insert(to.clone(), moved)
        }
        Step::Link(from, to) => tree.insert(to.clone(), tree[from]),
        Step::Remove(path) => tree.remove(path),
    };
}

fn folder_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

impl Step {
    /// The names that it makes or removes. A link changes its file and nothing in the directory of the name that it is made from.
    fn changes(&self) -> Vec<&str> {
        match self {
            Step::MakeFolder(path) | Step::Make(path, _) | Step::Remove(path) => vec![path],
            Step::Link(_, to) => vec![to],
            Step::Rename(from, to) => vec![from, to],
        }
    }
}

impl Order {
    /// Works until told to stop or until a call fails; the failure is part of a crash.
    pub fn work(&mut self, dir: &Path, seed: u64, stop: &AtomicBool) -> io::Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        while !stop.load(Ordering::Relaxed) {
            let files: Vec<String> = self
                .now
                .iter()
                .filter(|(_, file)| file.is_some())
                .map(|(path, _)| path.clone())
                .collect();
            let chosen = (!files.is_empty()).then(|| files[random.random_range(0..files.len())].clone());
            match (random.random_range(0..20), chosen) {
                (0..=4, Some(path)) => {
                    let to = self.place(dir, &mut random)?;
                    self.step(dir, Step::Rename(path, to))?;
                }
                (5..=7, Some(path)) => self.step(dir, Step::Remove(path))?,
                (8..=9, Some(path)) => {
                    let to = self.place(dir, &mut random)?;
                    self.step(dir, Step::Link(path, to))?;
                }
                (10, Some(path)) => {
                    let number = self.now[&path].expect("a file was chosen");
                    self.sync(&dir.join(&path), &number.to_string())?;
                    self.whole.insert(number);
                }
                (11, Some(path)) => {
                    let folder = folder_of(&path);
                    self.sync(&dir.join(folder), folder)?;
                }
                _ => {
                    let path = self.place(dir, &mut random)?;
                    self.step(dir, Step::Make(path, self.made))?;
                }
            }
        }
        Ok(())
    }

    /// A new name in a directory that may be new too.
    fn place(&mut self, dir: &Path, random: &mut StdRng) -> io::Result<String> {
        self.made += 1;
        let folder = format!("folder-{}", random.random_range(0..FOLDERS));
        if !self.now.contains_key(&folder) {
            self.step(dir, Step::MakeFolder(folder.clone()))?;
        }
        Ok(format!("{folder}/{}", self.made))
    }

    fn sync(&mut self, path: &Path, what: &str) -> io::Result<()> {
        File::open(path)?.sync_all()?;
        self.synced = self.synced.max(self.changed[what]);
        Ok(())
    }

    fn step(&mut self, dir: &Path, step: Step) -> io::Result<()> {
        let before = self.now.clone();
        apply(&mut self.now, &step);
        self.steps.push(step.clone());
        for path in step.changes() {
            let file = before.get(path).or(self.now.get(path)).copied().flatten();
            let changed = file.map(|number| number.to_string());
            for what in changed.into_iter().chain([folder_of(path).to_owned()]) {
                self.changed.insert(what, self.steps.len());
            }
        }
        match step {
            Step::MakeFolder(path) => std::fs::create_dir(dir.join(path)),
            Step::Make(path, number) => std::fs::write(dir.join(path), content(number)),
            Step::Rename(from, to) => std::fs::rename(dir.join(from), dir.join(to)),
            Step::Link(from, to) => std::fs::hard_link(dir.join(from), dir.join(to)),
            Step::Remove(path) => std::fs::remove_file(dir.join(path)),
        }
    }

    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    pub fn synced(&self) -> usize {
        self.synced
    }

    /// What is there is what was there after one of the steps, not before the last one that was synced: how many.
    pub fn verify(&self, dir: &Path) -> usize {
        let found = walk(dir);
        let paths: Vec<&String> = found.keys().collect();
        let (mut tree, mut named) = (Tree::new(), self.whole.clone());
        let (mut last, mut torn) = (None, String::new());
        for done in 0..=self.steps.len() {
            if done > 0 {
                let step = &self.steps[done - 1];
                if let Step::Rename(from, _) | Step::Link(from, _) = step {
                    named.extend(tree[from]);
                }
                apply(&mut tree, step);
            }
            if done >= self.synced && tree.keys().eq(paths.iter().copied()) {
                match check_content(&tree, &found, &named) {
                    Ok(()) => last = Some(done),
                    Err(what) => torn = what,
                }
            }
        }
        last.unwrap_or_else(|| {
            panic!(
                "{} names are not what was there after any of the steps {} to {}: {} {torn}",
                paths.len(),
                self.synced,
                self.steps.len(),
                self.nearest(&paths)
            )
        })
    }

    /// Which step left most nearly these names, and the steps from shortly before it.
    fn nearest(&self, paths: &[&String]) -> String {
        let mut tree = Tree::new();
        let mut best = (usize::MAX, String::new());
        for (done, step) in self.steps.iter().enumerate() {
            apply(&mut tree, step);
            let missing: Vec<&String> = tree.keys().filter(|path| !paths.contains(path)).collect();
            let extra: Vec<&&String> = paths.iter().filter(|path| !tree.contains_key(**path)).collect();
            if missing.len() + extra.len() <= best.0 {
                let from = done.saturating_sub(SHOWN);
                let near = &self.steps[from..self.steps.len().min(done + SHOWN)];
                let said = format!(
                    "nearest is step {}: {missing:?} is missing, {extra:?} too many\nfrom {}: {near:#?}",
                    done + 1,
                    from + 1
                );
                best = (missing.len() + extra.len(), said);
            }
        }
        best.1
    }
}

/// Without a sync content may be missing, but not where the file got a second name.
fn check_content(
    tree: &Tree,
    found: &BTreeMap<String, Option<String>>,
    whole: &BTreeSet<u64>,
) -> Result<(), String> {
    for (path, number) in tree {
        let wanted = number.map(content);
        let torn =
            number.is_some_and(|number| !whole.contains(&number)) && found[path].as_deref() == Some("");
        if found[path] != wanted && !torn {
            return Err(format!("{path}: {:?} instead of {wanted:?}", found[path]));
        }
    }
    Ok(())
}

/// Every path below with its content, `None` for directories.
fn walk(dir: &Path) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for folder in std::fs::read_dir(dir).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let path = format!("{name}/{}", file.file_name().into_string().unwrap());
            let text = std::fs::read_to_string(file.path()).unwrap();
            found.insert(path, Some(text));
        }
        found.insert(name, None);
    }
    found
}
