//! What is measured, in this order, and what each figure means to people. Called by `mod` and `report`. The marks
//! between fair, good and excellent are those of things that people know: a hard disk or a slow network is below
//! fair, a network file system of today is about good, a local SSD is excellent.

use super::measure::{Limits, Measured, Stop};
use super::{large, small};
use std::io;
use std::path::Path;

/// How a figure is made of what a row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Megabytes,
    Operations,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Megabytes => "MB/s",
            Unit::Operations => "/s",
        }
    }

    pub fn figure(self, measured: &Measured) -> f64 {
        match self {
            Unit::Megabytes => measured.megabytes_per_second(),
            Unit::Operations => measured.per_second(),
        }
    }
}

type Run = fn(&Path, Limits, &Stop) -> io::Result<Measured>;

/// One line of the result.
pub(super) struct Row {
    pub group: &'static str,
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    /// From here on it is fair, good, excellent.
    pub marks: [f64; 3],
    /// Who waits for this.
    pub meaning: &'static str,
    /// What it is compared with.
    pub good: &'static str,
    pub run: Run,
}

const LARGE: &str = "One large file";
const DURABLE: &str = "Small and safe: each write is on stable storage before the next";
const SMALL: &str = "Many small files of 4 KiB";
const PARALLEL: &str = "Eight programs at once";

pub(super) static ROWS: &[Row] = &[
    Row {
        group: LARGE,
        id: "write",
        title: "write, then fsync",
        unit: Unit::Megabytes,
        marks: [50.0, 150.0, 800.0],
        meaning: "copying images, videos, archives into it, until the last byte is safe",
        good: "hard disk 150, network of 1 Gbit/s 110, SSD 500 to 3000",
        run: large::write,
    },
    Row {
        group: LARGE,
        id: "read",
        title: "read, kernel's cache emptied",
        unit: Unit::Megabytes,
        marks: [50.0, 200.0, 1000.0],
        meaning: "opening a large file that nobody used lately",
        good: "hard disk 150, network of 1 Gbit/s 110, SSD 500 to 3000",
        run: large::read_from_storage,
    },
    Row {
        group: LARGE,
        id: "read_again",
        title: "read again",
        unit: Unit::Megabytes,
        marks: [400.0, 2000.0, 5000.0],
        meaning: "using the same file twice; served from memory where the file system lets the kernel keep it",
        good: "any local file system 5000; below 1000 nothing was kept",
        run: large::read_again,
    },
    Row {
        group: LARGE,
        id: "random_read",
        title: "read 4 KiB at random places",
        unit: Unit::Operations,
        marks: [500.0, 3000.0, 10_000.0],
        meaning: "databases and virtual machines that look something up",
        good: "hard disk 100, network file systems 1000 to 5000, SSD 10000",
        run: large::read_random,
    },
    Row {
        group: DURABLE,
        id: "random_write_sync",
        title: "write 4 KiB, fdatasync",
        unit: Unit::Operations,
        marks: [80.0, 300.0, 2000.0],
        meaning: "what bounds the transactions of a database",
        good: "hard disk 80, three copies over a network 300 to 1000, data-centre SSD 5000",
        run: large::write_durably,
    },
    Row {
        group: DURABLE,
        id: "append_sync",
        title: "append 128 bytes, fsync",
        unit: Unit::Operations,
        marks: [80.0, 300.0, 2000.0],
        meaning: "logs and journals that must not lose a line",
        good: "hard disk 80, three copies over a network 300 to 1000, data-centre SSD 5000",
        run: large::append_durably,
    },
    Row {
        group: DURABLE,
        id: "save",
        title: "save: new file, fsync, rename",
        unit: Unit::Operations,
        marks: [40.0, 150.0, 1000.0],
        meaning: "an editor's or a package tool's way to replace a file without ever losing it",
        good: "hard disk 40, three copies over a network 100 to 500, data-centre SSD 2000",
        run: large::save,
    },
    Row {
        group: SMALL,
        id: "create",
        title: "create",
        unit: Unit::Operations,
        marks: [200.0, 1000.0, 5000.0],
        meaning: "unpacking archives, git clone, npm install; where people first notice that a file system is remote",
        good: "network file systems 150 to 500, a local one 10000 to 50000",
        run: small::create,
    },
    Row {
        group: SMALL,
        id: "list",
        title: "list with sizes (entries)",
        unit: Unit::Operations,
        marks: [2000.0, 20_000.0, 100_000.0],
        meaning: "ls -l, find, file managers, the start of every backup",
        good: "network file systems 5000 to 20000, a local one 500000",
        run: small::list,
    },
    Row {
        group: SMALL,
        id: "stat",
        title: "look at (stat)",
        unit: Unit::Operations,
        marks: [2000.0, 20_000.0, 100_000.0],
        meaning: "make and git status, which look at every file to see that nothing changed",
        good: "3000 where each call crosses the network, 300000 where the kernel may answer",
        run: small::stat,
    },
    Row {
        group: SMALL,
        id: "small_read",
        title: "read, kernel's cache emptied",
        unit: Unit::Operations,
        marks: [300.0, 1500.0, 5000.0],
        meaning: "compiling, searching with grep, starting programs of many modules",
        good: "network file systems 500 to 1000, a local SSD 5000 to 20000",
        run: small::read,
    },
    Row {
        group: SMALL,
        id: "rename",
        title: "rename",
        unit: Unit::Operations,
        marks: [200.0, 1000.0, 5000.0],
        meaning: "builds, mail boxes, and all that replaces files by new versions",
        good: "network file systems 200 to 2000, a local one 30000",
        run: small::rename,
    },
    Row {
        group: SMALL,
        id: "remove",
        title: "remove",
        unit: Unit::Operations,
        marks: [200.0, 1000.0, 5000.0],
        meaning: "rm -r, make clean, the end of every temporary file",
        good: "network file systems 300 to 2000, a local one 10000",
        run: small::remove,
    },
    Row {
        group: PARALLEL,
        id: "create_8",
        title: "create, all together",
        unit: Unit::Operations,
        marks: [400.0, 2000.0, 10_000.0],
        meaning: "parallel builds and many users: far above one program's rate if the file system scales",
        good: "network file systems 300 to 600, a local one 50000",
        run: small::create_parallel,
    },
    Row {
        group: PARALLEL,
        id: "remove_8",
        title: "remove, all together",
        unit: Unit::Operations,
        marks: [400.0, 2000.0, 10_000.0],
        meaning: "their cleaning up",
        good: "network file systems 600 to 3500, a local one 20000",
        run: small::remove_parallel,
    },
];
