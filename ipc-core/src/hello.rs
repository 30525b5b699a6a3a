//! The first 64 bytes of every connection, in both directions.
//!
//! ```text
//! offset  0         8          12      16            24            32         40            48      56         60
//!        ┌─────────┬──────────┬───────┬─────────────┬─────────────┬──────────┬─────────────┬───────┬──────────┬─────────┐
//!        │ magic   │ protocol │ flags │ layout hash │ max_message │ capacity │ fingerprint │ nonce │ cpus     │ first   │
//!        │ 8 bytes │ u32      │ u32   │ u64         │ u64         │ u64      │ u64         │ u64   │ u32      │ cpu u32 │
//!        └─────────┴──────────┴───────┴─────────────┴─────────────┴──────────┴─────────────┴───────┴──────────┴─────────┘
//! all numbers little-endian; 64 bytes
//! ```

use crate::SetupErrorKind;

/// Bytes of a hello.
pub const HELLO_LEN: usize = 64;

/// The first eight bytes on the wire.
pub const MAGIC: [u8; 8] = *b"ipc-hel\x01";

/// Version of hello, frame and memory layouts together.
pub const PROTOCOL: u32 = 1;

/// Flag: frames of both directions carry CRC-32C if either side asks for it.
pub const FLAG_CRC: u32 = 1;

/// Flag: this side's sleepers order their announcement themselves with `membarrier`, so the peer's wakers need no fence.
pub const FLAG_SLEEPER_PAYS: u32 = 1 << 1;

/// Flag: this side proves that it has a secret, right after the hellos, and wants the same of the peer (tcp).
pub const FLAG_TOKEN: u32 = 1 << 2;

/// What one side says about itself before the first message.
///
/// ```
/// use ipc_core::hello::{Hello, PROTOCOL};
/// let hello = Hello {
///     flags: 0,
///     layout: Hello::layout_of("mine/1"),
///     max_message: 1000,
///     capacity: 0,
///     fingerprint: 0,
///     nonce: 7,
///     cpus: 2,
///     first_cpu: 0,
/// };
/// assert_eq!(Hello::decode(&hello.encode()), Ok((hello, PROTOCOL)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// `FLAG_*` bits.
    pub flags: u32,
    /// Identity of the mechanism and of its memory layout; must be equal on both sides.
    pub layout: u64,
    /// Longest message in bytes this side is willing to carry.
    pub max_message: u64,
    /// Bytes of the memory this side writes; zero where the kernel holds the messages.
    pub capacity: u64,
    /// Identity of the message types; zero: not stated. Two stated fingerprints must be equal.
    pub fingerprint: u64,
    /// Random; tells this connection from every other.
    pub nonce: u64,
    /// How many CPUs this side may run on.
    pub cpus: u32,
    /// The lowest of them.
    pub first_cpu: u32,
}

/// A hello that cannot be one.
///
/// ```
/// use ipc_core::hello::{HELLO_LEN, Hello, NotAHello};
/// assert_eq!(Hello::decode(&[0; HELLO_LEN]), Err(NotAHello));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHello;

impl Hello {
    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&PROTOCOL.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.flags.to_le_bytes());
        let words = [self.layout, self.max_message, self.capacity, self.fingerprint, self.nonce];
        for (slot, word) in bytes[16..56].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes[56..60].copy_from_slice(&self.cpus.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.first_cpu.to_le_bytes());
        bytes
    }

    /// Reads a hello; the protocol version is returned beside it, for [`agree`](Hello::agree) to judge.
    ///
    /// # Errors
    /// [`NotAHello`]: the magic is wrong, so the peer is some other program.
    pub fn decode(bytes: &[u8; HELLO_LEN]) -> Result<(Hello, u32), NotAHello> {
        if bytes[..8] != MAGIC {
            return Err(NotAHello);
        }
        let half = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let word = |at: usize| u64::from(half(at)) | u64::from(half(at + 4)) << 32;
        let hello = Hello {
            flags: half(12),
            layout: word(16),
            max_message: word(24),
            capacity: word(32),
            fingerprint: word(40),
            nonce: word(48),
            cpus: half(56),
            first_cpu: half(60),
        };
        Ok((hello, half(8)))
    }

    /// Checks that the two sides fit together and returns what both keep to: the smaller maximum, a checksum if
    /// either asks for one.
    ///
    /// # Errors
    /// [`SetupErrorKind::Mismatch`] in protocol, layout or fingerprint.
    pub fn agree(&self, theirs: &Hello, their_protocol: u32) -> Result<Agreed, SetupErrorKind> {
        let mismatch = |what, ours, theirs| Err(SetupErrorKind::Mismatch { what, ours, theirs });
        if their_protocol != PROTOCOL {
            return mismatch("protocol version", PROTOCOL.into(), their_protocol.into());
        }
        if self.layout != theirs.layout {
            return mismatch("memory layout", self.layout, theirs.layout);
        }
        if self.fingerprint != 0 && theirs.fingerprint != 0 && self.fingerprint != theirs.fingerprint {
            return mismatch("message types (fingerprint)", self.fingerprint, theirs.fingerprint);
        }
        Ok(self.sum(theirs))
    }

    /// What a peer with the same settings and this one keep to: the other end of a pair, or one that says no hello.
    pub fn with_itself(&self) -> Agreed {
        self.sum(self)
    }

    fn sum(&self, theirs: &Hello) -> Agreed {
        Agreed {
            max_message: self.max_message.min(theirs.max_message),
            crc: (self.flags | theirs.flags) & FLAG_CRC != 0,
            share_one_cpu: self.cpus == 1 && theirs.cpus == 1 && self.first_cpu == theirs.first_cpu,
        }
    }

    /// The layout identity of a mechanism: FNV-1a (Fowler, Noll, Vo) of a text that names everything the two sides
    /// must share.
    pub const fn layout_of(text: &str) -> u64 {
        let bytes = text.as_bytes();
        let mut hash = 0xCBF2_9CE4_8422_2325u64;
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01B3);
            at += 1;
        }
        hash
    }
}

/// What two hellos add up to.
///
/// ```
/// use ipc_core::hello::{Agreed, Hello, PROTOCOL};
/// fn longest(ours: &Hello, theirs: &Hello) -> Option<u64> {
///     let Agreed { max_message, .. } = ours.agree(theirs, PROTOCOL).ok()?;
///     Some(max_message)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Longest message in bytes, both directions.
    pub max_message: u64,
    /// Frames carry CRC-32C.
    pub crc: bool,
    /// Both sides can run on one and the same CPU only, so spinning can never help.
    pub share_one_cpu: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            flags: FLAG_SLEEPER_PAYS,
            layout: Hello::layout_of("test/1"),
            max_message: 1 << 20,
            capacity: 1 << 21,
            fingerprint: 0x0123_4567_89AB_CDEF,
            nonce: u64::MAX - 1,
            cpus: 2,
            first_cpu: 1,
        }
    }

    #[test]
    fn a_hello_round_trips() {
        assert_eq!(Hello::decode(&hello().encode()), Ok((hello(), PROTOCOL)));
    }

    #[test]
    fn the_picture_has_the_offsets_of_the_code() {
        let bytes = hello().encode();
        assert_eq!(bytes[..8], MAGIC);
        assert_eq!(bytes[8..12], PROTOCOL.to_le_bytes());
        assert_eq!(bytes[24..32], (1u64 << 20).to_le_bytes());
        assert_eq!(bytes[32..40], (1u64 << 21).to_le_bytes());
        assert_eq!(bytes[40..48], 0x0123_4567_89AB_CDEFu64.to_le_bytes());
        assert_eq!(bytes[60..64], 1u32.to_le_bytes());
    }

    #[test]
    fn another_program_is_told_apart_from_another_version() {
        let mut bytes = hello().encode();
        bytes[0] = b'G';
        assert_eq!(Hello::decode(&bytes), Err(NotAHello));
        let kind = hello().agree(&hello(), PROTOCOL + 1).unwrap_err();
        assert_eq!(kind, SetupErrorKind::Mismatch { what: "protocol version", ours: 1, theirs: 2 });
    }

    #[test]
    fn sides_agree_on_the_smaller_maximum_and_the_stricter_check() {
        let theirs = Hello { max_message: 99, flags: FLAG_CRC, fingerprint: 0, ..hello() };
        let agreed = hello().agree(&theirs, PROTOCOL).unwrap();
        assert_eq!(agreed, Agreed { max_message: 99, crc: true, share_one_cpu: false });
        assert_eq!(theirs.agree(&hello(), PROTOCOL), Ok(agreed));
    }

    #[test]
    fn different_layouts_and_fingerprints_do_not_agree() {
        assert!(hello().agree(&Hello { layout: 1, ..hello() }, PROTOCOL).is_err());
        assert!(hello().agree(&Hello { fingerprint: 1, ..hello() }, PROTOCOL).is_err());
    }

    #[test]
    fn two_sides_on_one_cpu_know_it() {
        let one = Hello { cpus: 1, first_cpu: 3, ..hello() };
        assert!(one.agree(&one, PROTOCOL).unwrap().share_one_cpu);
        assert!(!one.agree(&Hello { first_cpu: 2, ..one }, PROTOCOL).unwrap().share_one_cpu);
    }
}
