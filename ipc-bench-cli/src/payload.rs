//! What a message carries and how the other side knows that it is the right one.
//!
//! ```text
//!  0         8           16
//!  +---------+-----------+----------------------------------------------+
//!  | marks   | sent_ns   | body: words key + i * STEP, little-endian    |
//!  +---------+-----------+----------------------------------------------+
//!    marks:  bit 63 last message of its phase · bits 62–60 phase · bits 59–0 sequence number
//! ```
//! The sequence number runs through the whole connection and is checked on every message. The body changes every
//! [`EPOCH`] messages, which is also how often a receiver looks at all of it: old bytes under a new header are found.

use std::fmt;

/// Messages between two looks at a whole body.
pub(crate) const EPOCH: u64 = 64;

/// Shortest message of a transport: sequence number and timestamp.
pub(crate) const MIN_SIZE: usize = 16;

const LAST: u64 = 1 << 63;
const PHASE_SHIFT: u32 = 60;
const PHASE_MASK: u64 = 0b111 << PHASE_SHIFT;

/// An odd number with its bits well spread (2^64 divided by the golden ratio): all words of a body differ.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which part of a trial a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    First,
    WarmUp,
    Measured,
}

impl Phase {
    const ALL: [Phase; 3] = [Phase::First, Phase::WarmUp, Phase::Measured];
}

/// The first word of a message, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) sequence: u64,
    pub(crate) phase: Phase,
    /// The last message of its phase.
    pub(crate) last: bool,
}

impl Marks {
    #[inline]
    fn to_word(self) -> u64 {
        let last = if self.last { LAST } else { 0 };
        last | (self.phase as u64) << PHASE_SHIFT | self.sequence
    }

    #[inline]
    fn of(word: u64) -> Option<Marks> {
        let phase = *Phase::ALL.get(((word & PHASE_MASK) >> PHASE_SHIFT) as usize)?;
        Some(Marks { sequence: word & !(LAST | PHASE_MASK), phase, last: word & LAST != 0 })
    }

    /// Whether the whole body is looked at, and a new one begun after it.
    #[inline]
    pub(crate) fn is_inspected(self) -> bool {
        self.last || self.sequence % EPOCH == EPOCH - 1
    }
}

/// The message a sender sends next.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    seed: u64,
    sequence: u64,
}

impl Outgoing {
    /// Messages of `size` bytes, at least 8; below 16 there is no timestamp.
    pub(crate) fn new(size: usize, seed: u64) -> Outgoing {
        let mut outgoing = Outgoing { bytes: vec![0; size], seed, sequence: 0 };
        outgoing.refill();
        outgoing
    }

    /// Marks and stamps the next message.
    #[inline]
    pub(crate) fn stamp(&mut self, phase: Phase, last: bool, now_ns: u64) -> Marks {
        let marks = Marks { sequence: self.sequence, phase, last };
        self.bytes[..8].copy_from_slice(&marks.to_word().to_le_bytes());
        if let Some(stamp) = self.bytes.get_mut(8..16) {
            stamp.copy_from_slice(&now_ns.to_le_bytes());
        }
        self.sequence += 1;
        marks
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the body of the epoch that the next message belongs to. Due whenever a message was inspected.
    pub(crate) fn refill(&mut self) {
        let key = key(self.seed, self.sequence);
        let Some(body) = self.bytes.get_mut(MIN_SIZE..) else { return };
        let mut word = key;
        let mut words = body.chunks_exact_mut(8);
        for chunk in &mut words {
            chunk.copy_from_slice(&word.to_le_bytes());
            word = word.wrapping_add(STEP);
        }
        let rest = words.into_remainder();
        let len = rest.len();
        rest.copy_from_slice(&word.to_le_bytes()[..len]);
    }
}

/// When the message was stamped; 0 for one too short to have been.
#[inline]
pub(crate) fn sent_ns(message: &[u8]) -> u64 {
    message.get(8..16).and_then(<[u8]>::first_chunk).map_or(0, |stamp| u64::from_le_bytes(*stamp))
}

/// Writes over when the message was stamped: what is sent back tells when it arrived.
#[inline]
pub(crate) fn restamp(message: &mut [u8], now_ns: u64) {
    if let Some(stamp) = message.get_mut(8..16) {
        stamp.copy_from_slice(&now_ns.to_le_bytes());
    }
}

/// What a receiver expects next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    size: usize,
    seed: u64,
    expected: u64,
    /// Sequence number the present body began with.
    epoch: u64,
}

impl Incoming {
    pub(crate) fn new(size: usize, seed: u64) -> Incoming {
        Incoming { size, seed, expected: 0, epoch: 0 }
    }

    /// Checks length and sequence number of the next message.
    ///
    /// # Errors
    /// It is not the next message, or not one of ours.
    #[inline]
    pub(crate) fn check(&mut self, message: &[u8]) -> Result<Marks, Flaw> {
        let marks = message.first_chunk().and_then(|word| Marks::of(u64::from_le_bytes(*word)));
        match marks {
            Some(marks) if marks.sequence == self.expected && message.len() == self.size => {
                self.expected += 1;
                Ok(marks)
            }
            _ => Err(self.flaw(message.len(), marks)),
        }
    }

    /// Checks every byte of the body of the message that [`check`](Self::check) accepted last. Due for every message
    /// that [is inspected](Marks::is_inspected), and only for those: the sender begins a new body after them.
    ///
    /// # Errors
    /// A byte differs.
    pub(crate) fn inspect(&mut self, message: &[u8]) -> Result<(), Flaw> {
        let body = message.get(MIN_SIZE..).unwrap_or_default();
        let mut word = key(self.seed, self.epoch);
        let mut differing = 0;
        let mut words = body.chunks_exact(8);
        for chunk in &mut words {
            // Collected instead of returned at once, so that the compiler can compare many words per instruction.
            differing |= word ^ chunk.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            word = word.wrapping_add(STEP);
        }
        let rest = words.remainder();
        let rest_differs = rest != &word.to_le_bytes()[..rest.len()];
        let epoch = std::mem::replace(&mut self.epoch, self.expected);
        if differing != 0 || rest_differs {
            return Err(self.corrupt(message, epoch));
        }
        Ok(())
    }

    #[cold]
    fn flaw(&self, len: usize, marks: Option<Marks>) -> Flaw {
        let expected = self.expected;
        if len != self.size {
            return Flaw::Length { expected, len, want: self.size };
        }
        marks.map_or(Flaw::Foreign { expected }, |marks| Flaw::Sequence { expected, found: marks.sequence })
    }

    #[cold]
    fn corrupt(&self, message: &[u8], epoch: u64) -> Flaw {
        let sequence = self.expected - 1;
        let mut right = Outgoing { bytes: message.to_vec(), seed: self.seed, sequence: epoch };
        right.refill();
        let at = message.iter().zip(&right.bytes).position(|(have, want)| have != want);
        Flaw::Body { sequence, at: at.unwrap_or(message.len()) }
    }
}

/// First word of the body that begins with message `sequence`.
fn key(seed: u64, sequence: u64) -> u64 {
    // The finaliser of splitmix64 (Steele, Lea, Flood 2014): neighbouring sequence numbers give unrelated bodies.
    let mut word = seed ^ sequence.wrapping_mul(STEP);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// What is wrong with a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Sequence { expected: u64, found: u64 },
    Length { expected: u64, len: usize, want: usize },
    Foreign { expected: u64 },
    Body { sequence: u64, at: usize },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Flaw::Sequence { expected, found } if found > expected => {
                write!(f, "message {found} arrived where {expected} was due: lost or reordered")
            }
            Flaw::Sequence { expected, found } => {
                write!(f, "message {found} arrived where {expected} was due: duplicated or reordered")
            }
            Flaw::Length { expected, len, want } => {
                write!(f, "message {expected} arrived with {len} bytes instead of {want}")
            }
            Flaw::Foreign { expected } => write!(f, "what arrived as message {expected} is not one of ours"),
            Flaw::Body { sequence, at } => write!(f, "message {sequence} is corrupt from byte {at} on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next message of a sender, as the receiver gets it.
    fn next(outgoing: &mut Outgoing, last: bool) -> (Vec<u8>, Marks) {
        let marks = outgoing.stamp(Phase::Measured, last, 7);
        let bytes = outgoing.bytes().to_vec();
        if marks.is_inspected() {
            outgoing.refill();
        }
        (bytes, marks)
    }

    #[test]
    fn what_was_sent_is_accepted_whatever_the_size() {
        for size in [8, 16, 17, 23, 24, 64, 1000] {
            let (mut outgoing, mut incoming) = (Outgoing::new(size, 3), Incoming::new(size, 3));
            for n in 0..300 {
                let (message, marks) = next(&mut outgoing, n == 100 || n == 101);
                assert_eq!(incoming.check(&message), Ok(marks));
                assert_eq!((marks.sequence, marks.phase), (n, Phase::Measured));
                if marks.is_inspected() {
                    assert_eq!(incoming.inspect(&message), Ok(()), "size {size}, message {n}");
                }
            }
        }
    }

    #[test]
    fn loss_duplication_and_reordering_are_told() {
        let mut outgoing = Outgoing::new(16, 0);
        let messages: Vec<_> = (0..3).map(|_| next(&mut outgoing, false).0).collect();
        let mut incoming = Incoming::new(16, 0);
        assert_eq!(incoming.check(&messages[1]), Err(Flaw::Sequence { expected: 0, found: 1 }));
        assert!(incoming.check(&messages[0]).is_ok());
        assert_eq!(incoming.check(&messages[0]), Err(Flaw::Sequence { expected: 1, found: 0 }));
        assert_eq!(incoming.check(&messages[1][..9]), Err(Flaw::Length { expected: 1, len: 9, want: 16 }));
        assert_eq!(incoming.check(&[0xFF; 16]), Err(Flaw::Foreign { expected: 1 }));
    }

    #[test]
    fn one_wrong_byte_of_an_inspected_body_is_found_and_named() {
        let (mut outgoing, mut incoming) = (Outgoing::new(100, 5), Incoming::new(100, 5));
        let (mut message, _) = next(&mut outgoing, true);
        message[99] ^= 1;
        assert!(incoming.check(&message).is_ok());
        assert_eq!(incoming.inspect(&message), Err(Flaw::Body { sequence: 0, at: 99 }));
    }

    #[test]
    fn old_bytes_under_a_new_header_are_found() {
        let (mut outgoing, mut incoming) = (Outgoing::new(64, 5), Incoming::new(64, 5));
        let (first, _) = next(&mut outgoing, true);
        assert!(incoming.check(&first).is_ok() && incoming.inspect(&first).is_ok());
        let (mut second, _) = next(&mut outgoing, true);
        second[MIN_SIZE..].copy_from_slice(&first[MIN_SIZE..]);
        assert!(incoming.check(&second).is_ok());
        assert_eq!(incoming.inspect(&second), Err(Flaw::Body { sequence: 1, at: MIN_SIZE }));
    }
}
