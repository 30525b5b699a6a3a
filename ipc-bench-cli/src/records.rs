//! One row per message, for programs that want more than a histogram.
//!
//! A worker keeps them in memory that was written to before the first message; they reach the runner when the trial is
//! over, and the files between two trials.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Failure;

/// Most rows of a trial: 32 MiB in the worker. What comes after is counted.
pub(crate) const CAPACITY: u32 = 1 << 20;

/// Rows in one frame of the control protocol.
pub(crate) const CHUNK: usize = 1 << 15;

/// What is not measured.
const NONE: u64 = u64::MAX;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it was sent, nanoseconds on `CLOCK_MONOTONIC`.
    pub(crate) timestamp_ns: u64,
    /// Its number on its connection.
    pub(crate) message_id: u64,
    one_way_ns: u64,
    round_trip_ns: u64,
}

impl Record {
    pub(crate) fn one_way(timestamp_ns: u64, message_id: u64, one_way_ns: u64) -> Record {
        Record { timestamp_ns, message_id, one_way_ns, round_trip_ns: NONE }
    }

    pub(crate) fn round_trip(
        timestamp_ns: u64,
        message_id: u64,
        one_way_ns: u64,
        round_trip_ns: u64,
    ) -> Record {
        Record { timestamp_ns, message_id, one_way_ns, round_trip_ns }
    }
}

#[cfg(test)]
impl Record {
    pub(crate) fn one_way_ns(&self) -> Option<u64> {
        (self.one_way_ns != NONE).then_some(self.one_way_ns)
    }

    pub(crate) fn round_trip_ns(&self) -> Option<u64> {
        (self.round_trip_ns != NONE).then_some(self.round_trip_ns)
    }
}

/// The rows of one trial.
#[derive(Debug, Default)]
pub(crate) struct Records {
    rows: Vec<Record>,
    kept: usize,
    overflow: u64,
}

impl Records {
    /// Room for `capacity` rows, every page of it written to: the first touch of a page costs more than a message.
    pub(crate) fn new(capacity: u32) -> Records {
        let blank = Record { timestamp_ns: NONE, message_id: NONE, one_way_ns: NONE, round_trip_ns: NONE };
        Records { rows: vec![blank; capacity as usize], kept: 0, overflow: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, record: Record) {
        match self.rows.get_mut(self.kept) {
            Some(row) => {
                *row = record;
                self.kept += 1;
            }
            None => self.overflow += 1,
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.kept, self.overflow) = (0, 0);
    }

    /// The rows, and how many found no room.
    pub(crate) fn into_rows(mut self) -> (Vec<Record>, u64) {
        self.rows.truncate(self.kept);
        (self.rows, self.overflow)
    }
}

/// The files they are written to.
#[derive(Debug, Default)]
pub(crate) struct Files {
    csv: Option<Sink>,
    json: Option<Sink>,
}

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
}

/// What all rows of a trial have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) transport: &'a str,
    pub(crate) size_bytes: usize,
    pub(crate) cell: &'a str,
    pub(crate) trial: u32,
}

impl Files {
    /// Creates what was asked for.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn create(csv: Option<&Path>, json: Option<&Path>) -> Result<Files, Failure> {
        let create = |path: &Path| {
            let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
            Ok(Sink { path: path.to_owned(), file: BufWriter::new(file) })
        };
        let mut files = Files { csv: csv.map(create).transpose()?, json: json.map(create).transpose()? };
        if let Some(sink) = &mut files.csv {
            let header = "timestamp_ns,message_id,transport,size_bytes,one_way_ns,round_trip_ns,cell,trial\n";
            sink.file.write_all(header.as_bytes()).map_err(|error| cannot_write(&sink.path, &error))?;
        }
        Ok(files)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.csv.is_some() || self.json.is_some()
    }

    /// Appends the rows of a trial.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn append(&mut self, rows: &[Record], origin: Origin<'_>) -> Result<(), Failure> {
        if let Some(Sink { path, file }) = &mut self.csv {
            csv(file, rows, origin).map_err(|error| cannot_write(path, &error))?;
        }
        if let Some(Sink { path, file }) = &mut self.json {
            lines(file, rows, origin).map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("{} cannot be written", path.display())).why(error).fix("name another file")
}

fn csv(file: &mut impl Write, rows: &[Record], origin: Origin<'_>) -> io::Result<()> {
    let text = |ns: u64| if ns == NONE { String::new() } else { ns.to_string() };
    for row in rows {
        writeln!(
            file,
            "{},{},{},{},{},{},{},{}",
            row.timestamp_ns,
            row.message_id,
            origin.transport,
            origin.size_bytes,
            text(row.one_way_ns),
            text(row.round_trip_ns),
            origin.cell,
            origin.trial
        )?;
    }
    file.flush()
}

fn lines(file: &mut impl Write, rows: &[Record], origin: Origin<'_>) -> io::Result<()> {
    let known = |ns: u64| (ns != NONE).then_some(ns);
    for row in rows {
        let line = json!({
            "timestamp_ns": row.timestamp_ns,
            "message_id": row.message_id,
            "transport": origin.transport,
            "size_bytes": origin.size_bytes,
            "one_way_ns": known(row.one_way_ns),
            "round_trip_ns": known(row.round_trip_ns),
            "cell": origin.cell,
            "trial": origin.trial,
        });
        writeln!(file, "{line}")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_room_are_counted_and_nothing_is_allocated_for_them() {
        let mut records = Records::new(2);
        let memory = allocation_counter::measure(|| {
            (0..5).for_each(|number| records.push(Record::one_way(number, number, 7)));
        });
        assert_eq!(memory.count_total, 0);
        let (rows, overflow) = records.into_rows();
        assert_eq!((rows.len(), overflow), (2, 3));
    }

    #[test]
    fn what_a_mode_does_not_measure_is_empty_in_csv_and_null_in_json() {
        let origin = Origin { transport: "uds", size_bytes: 64, cell: "uds/oneway/64", trial: 0 };
        let (mut table, mut text) = (Vec::new(), Vec::new());
        csv(&mut table, &[Record::one_way(5, 1, 7)], origin).unwrap();
        assert_eq!(table, b"5,1,uds,64,7,,uds/oneway/64,0\n");
        lines(&mut text, &[Record::round_trip(5, 1, 7, 9), Record::one_way(5, 2, 7)], origin).unwrap();
        let rows: Vec<serde_json::Value> = std::str::from_utf8(&text)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!((&rows[0]["one_way_ns"], &rows[0]["round_trip_ns"]), (&json!(7), &json!(9)));
        assert_eq!((&rows[1]["message_id"], &rows[1]["round_trip_ns"]), (&json!(2), &json!(null)));
    }
}
