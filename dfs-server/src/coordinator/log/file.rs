//! The embedded log: segment files in one directory. The log writer's thread owns it. A record is durable when
//! `append` returns: each is synced before the next is written, so that at most the last one can be torn.

use super::segment::{SEGMENT_LEN, Segment, Tail, io, sync_dir};
use super::{LogError, MetadataLog, check_order};
use dfs_core::ids::{Index, Term};
use dfs_core::record::Record;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Segments in order; the last one is written to.
pub struct FileLog {
    dir: PathBuf,
    segments: Vec<Segment>,
    /// The last segment's file.
    file: Option<File>,
    last: Index,
    term: Term,
    /// A write or sync failed: what is on the disk is unknown, so nothing more is taken.
    failed: bool,
    scratch: Vec<u8>,
}

impl FileLog {
    /// Opens the log in `dir`, which is made when absent. Cuts a torn tail; stops at damage.
    pub fn open(dir: &Path) -> Result<FileLog, LogError> {
        std::fs::create_dir_all(dir).map_err(|error| io("create", dir, error))?;
        let mut log = FileLog {
            dir: dir.to_owned(),
            segments: Vec::new(),
            file: None,
            last: Index(0),
            term: Term(0),
            failed: false,
            scratch: Vec::new(),
        };
        let firsts = segment_names(dir)?;
        for (position, first) in firsts.iter().enumerate() {
            log.open_segment(*first, position + 1 == firsts.len())?;
        }
        Ok(log)
    }

    fn open_segment(&mut self, first: Index, is_last: bool) -> Result<(), LogError> {
        let path = Segment::path(&self.dir, first);
        let corrupt = |index: Index, offset: u64, reason: &str| LogError::Corrupt {
            file: path.clone(),
            offset,
            index: index.0,
            reason: reason.to_owned(),
        };
        if !self.segments.is_empty() && first != self.last.next() {
            return Err(corrupt(
                self.last.next(),
                0,
                "the segment before it ends earlier or a segment is absent",
            ));
        }
        let (mut segment, file, tail, records) = Segment::open(path.clone(), first)?;
        self.last = records.last().map_or(Index(first.0 - 1), |(index, _)| *index);
        for (index, term) in records {
            if term < self.term {
                return Err(corrupt(index, 0, "its term is older than the one before"));
            }
            self.term = term;
        }
        match tail {
            Tail::Torn if is_last => segment.cut(&file)?,
            Tail::Torn => {
                return Err(corrupt(
                    self.last.next(),
                    segment.used,
                    "it is cut off and later segments exist",
                ));
            }
            Tail::Clean => {}
        }
        self.segments.push(segment);
        self.file = Some(file);
        Ok(())
    }

    fn append_one(&mut self, record: &Record) -> Result<(), LogError> {
        self.scratch.clear();
        record.encode(&mut self.scratch);
        let len = self.scratch.len() as u64;
        let fits = self
            .segments
            .last()
            .is_some_and(|segment| segment.used + len <= segment.len);
        if !fits {
            let (segment, file) = Segment::create(&self.dir, record.index, len.max(SEGMENT_LEN))?;
            self.segments.push(segment);
            self.file = Some(file);
        }
        let (Some(segment), Some(file)) = (self.segments.last_mut(), self.file.as_ref()) else {
            return Err(LogError::Gap {
                last: self.last,
                got: record.index,
            });
        };
        let written = segment.write(file, &self.scratch).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.failed = true;
            return Err(io("append to", &segment.path, error));
        }
        segment.used += len;
        self.last = record.index;
        self.term = record.term;
        Ok(())
    }
}

/// The first indexes of the segments in `dir`, in order.
fn segment_names(dir: &Path) -> Result<Vec<Index>, LogError> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| io("list", dir, error))? {
        let entry = entry.map_err(|error| io("list", dir, error))?;
        firsts.extend(entry.file_name().to_str().and_then(Segment::parse_name));
    }
    firsts.sort();
    Ok(firsts)
}

impl MetadataLog for FileLog {
    fn first(&self) -> Index {
        self.segments.first().map_or(Index(1), |segment| segment.first)
    }

    fn last(&self) -> Index {
        self.last
    }

    fn term(&self) -> Term {
        self.term
    }

    fn append(&mut self, records: &[&Record]) -> Result<(), LogError> {
        if self.failed {
            let error =
                std::io::Error::other("an earlier write failed; restart to find out what is on the disk");
            return Err(LogError::Io {
                doing: "append to",
                path: self.dir.clone(),
                error,
            });
        }
        check_order(self.last, self.term, records)?;
        records.iter().try_for_each(|record| self.append_one(record))
    }

    fn read_from(
        &self,
        index: Index,
        visit: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        if index < self.first() {
            return Err(LogError::Trimmed {
                wanted: index,
                first: self.first(),
            });
        }
        let mut stopped = false;
        for (position, segment) in self.segments.iter().enumerate() {
            let ends_before = self
                .segments
                .get(position + 1)
                .is_some_and(|next| next.first <= index);
            if ends_before || stopped {
                continue;
            }
            segment.read(&mut |record| {
                if record.index < index {
                    return ControlFlow::Continue(());
                }
                let flow = visit(record);
                stopped = flow.is_break();
                flow
            })?;
        }
        Ok(())
    }

    fn trim(&mut self, up_to: Index) -> Result<(), LogError> {
        let whole = self
            .segments
            .windows(2)
            .take_while(|pair| pair[1].first <= up_to.next())
            .count();
        for segment in self.segments.drain(..whole) {
            std::fs::remove_file(&segment.path).map_err(|error| io("remove", &segment.path, error))?;
        }
        if whole > 0 { sync_dir(&self.dir) } else { Ok(()) }
    }
}
