//! A file of records that is only ever appended to, and what a reader finds in it after its writer was killed.
//!
//! ```text
//!  0        4        8           12
//!  +--------+--------+-----------+------------------+
//!  | length | crc32c | producer  | message          |   length: bytes from the producer on; crc32c: over the same
//!  +--------+--------+-----------+------------------+
//! ```
//! All little-endian. The first record that is cut short or whose checksum is wrong ends the file for a reader: what
//! lies behind it was never acknowledged, since a batch is acknowledged after `fdatasync` returned.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ipc_transports::Crc32c;

use crate::payload::Incoming;

const HEADER: usize = 8;

/// Makes the file, for its owner alone.
///
/// # Errors
/// It exists, or its directory cannot be written to.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// Appends a record to a batch.
pub(crate) fn add(batch: &mut Vec<u8>, producer: u32, message: &[u8]) {
    batch.extend_from_slice(&(4 + message.len() as u32).to_le_bytes());
    let producer = producer.to_le_bytes();
    batch.extend_from_slice(&checksum(&producer, message).to_le_bytes());
    batch.extend_from_slice(&producer);
    batch.extend_from_slice(message);
}

/// Writes a batch and returns when it is durable.
///
/// # Errors
/// The disk is full or broken; nothing of the batch may be acknowledged.
pub(crate) fn commit(file: &mut File, batch: &[u8]) -> io::Result<()> {
    file.write_all(batch)?;
    // `fdatasync`: the contents and the length, without the times of the inode.
    file.sync_data()
}

fn checksum(producer: &[u8], message: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(producer);
    crc.update(message);
    crc.value()
}

/// What a reader found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whole records of each producer, numbered without a gap from 0.
    pub(crate) records: BTreeMap<usize, u64>,
    pub(crate) whole_bytes: u64,
    /// Bytes behind the last whole record.
    pub(crate) torn_bytes: u64,
}

/// Reads the file back, checking number and contents of every record.
///
/// # Errors
/// It cannot be read, or a whole record is not the next one of its producer.
pub(crate) fn read(path: &Path, size: usize, seed: u64) -> io::Result<Found> {
    recover(&fs::read(path)?, size, seed)
}

fn recover(bytes: &[u8], size: usize, seed: u64) -> io::Result<Found> {
    let mut found = Found::default();
    let mut expected: BTreeMap<usize, Incoming> = BTreeMap::new();
    let mut rest = bytes;
    while let Some((producer, message, len)) = next(rest) {
        let incoming = expected.entry(producer).or_insert_with(|| Incoming::new(size, seed));
        let wrong = |flaw| io::Error::other(format!("the journal's record of peer {producer}: {flaw}"));
        if incoming.check(message).map_err(wrong)?.is_inspected() {
            incoming.inspect(message).map_err(wrong)?;
        }
        *found.records.entry(producer).or_default() += 1;
        rest = &rest[len..];
    }
    found.torn_bytes = rest.len() as u64;
    found.whole_bytes = bytes.len() as u64 - found.torn_bytes;
    Ok(found)
}

/// The record at the beginning of `bytes` and its length in the file; `None` where none is whole.
fn next(bytes: &[u8]) -> Option<(usize, &[u8], usize)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let crc = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..)?.get(..length)?;
    let (producer, message) = body.split_first_chunk::<4>()?;
    (checksum(producer, message) == crc)
        .then(|| (u32::from_le_bytes(*producer) as usize, message, HEADER + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Outgoing, Phase};

    /// Records of two producers in turn, and the ends of their records in the file.
    fn journal(records: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        let mut producers = [Outgoing::new(40, 7), Outgoing::new(40, 7)];
        for number in 0..records {
            let producer = (number % 2) as usize;
            let outgoing = &mut producers[producer];
            let marks = outgoing.stamp(Phase::Measured, false, number);
            add(&mut bytes, producer as u32 + 1, outgoing.bytes());
            if marks.is_inspected() {
                outgoing.refill();
            }
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_journal_cut_anywhere_has_the_whole_records_before_the_cut() {
        let (bytes, ends) = journal(6);
        for cut in 0..=bytes.len() {
            let found = recover(&bytes[..cut], 40, 7).unwrap();
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            assert_eq!(found.records.values().sum::<u64>(), whole as u64, "cut at {cut}");
            assert_eq!(found.torn_bytes, (cut - ends[whole]) as u64, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_journal_before_its_record() {
        let (bytes, ends) = journal(4);
        for at in ends[2]..ends[3] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let found = recover(&bytes, 40, 7).unwrap();
            assert_eq!(found.whole_bytes, ends[2] as u64, "flipped at {at}");
        }
    }

    #[test]
    fn a_record_that_is_missing_or_twice_there_is_found() {
        let (bytes, ends) = journal(200);
        let lost = [&bytes[..ends[2]], &bytes[ends[3]..]].concat();
        assert!(recover(&lost, 40, 7).unwrap_err().to_string().contains("record of peer 1"));
        let twice = [&bytes[..ends[3]], &bytes[ends[2]..]].concat();
        assert!(recover(&twice, 40, 7).is_err());
        assert_eq!(recover(&bytes, 40, 7).unwrap().records, [(1, 100), (2, 100)].into());
    }
}
