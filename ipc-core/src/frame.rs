//! Frames on a byte stream: how messages are told apart where the kernel keeps no boundaries.
//!
//! ```text
//! offset 0        4                    4 + len          4 + len + 4
//!        ┌────────┬────────────────────┬────────────────┐
//!        │ len    │ payload            │ CRC-32C        │   len: payload bytes, u32 little-endian, 0 ..= max_message
//!        └────────┴────────────────────┴────────────────┘   CRC-32C over len and payload, only with `?check=crc`
//!        │ FFFF FFFF │                                      goodbye: no message follows
//! ```

use std::ops::Range;

use crate::{Crc32c, SendError};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 4;

/// The length that says goodbye.
pub const GOODBYE: [u8; HEADER_LEN] = u32::MAX.to_le_bytes();

/// Longest payload a frame can carry.
pub const MAX_PAYLOAD: usize = u32::MAX as usize - 1;

/// Whether frames carry a checksum.
///
/// ```
/// use ipc_core::frame::Check;
/// assert_eq!("crc".parse(), Ok(Check::Crc));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Check {
    /// No checksum: the kernel does not corrupt local sockets and pipes.
    #[default]
    None,
    /// CRC-32C behind the payload.
    Crc,
}

impl std::str::FromStr for Check {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Check::None),
            "crc" => Ok(Check::Crc),
            _ => Err("check is none or crc"),
        }
    }
}

/// The framing of one direction of a connection.
///
/// ```
/// use ipc_core::frame::{Check, Framing, Parsed};
/// let framing = Framing { max_message: 1000, check: Check::None };
/// let mut frame = framing.header(5)?.to_vec();
/// frame.extend(b"hello");
/// assert_eq!(framing.parse(&frame), Ok(Parsed::Message { payload: 4..9, frame_len: 9 }));
/// # Ok::<(), ipc_core::SendError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Longest payload in bytes, at most [`MAX_PAYLOAD`].
    pub max_message: usize,
    /// Whether frames carry a checksum.
    pub check: Check,
}

/// What the first bytes of a stream are.
///
/// ```
/// use ipc_core::frame::{Check, Framing, GOODBYE, Parsed};
/// let framing = Framing { max_message: 1000, check: Check::None };
/// assert_eq!(framing.parse(&[5, 0]), Ok(Parsed::Incomplete { need: 4 }));
/// assert_eq!(framing.parse(&GOODBYE), Ok(Parsed::Goodbye));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not a whole frame yet: at least this many bytes in all are needed to learn more.
    Incomplete {
        /// Bytes from the start of the frame.
        need: usize,
    },
    /// A whole message.
    Message {
        /// Where its payload lies.
        payload: Range<usize>,
        /// Bytes of the whole frame.
        frame_len: usize,
    },
    /// The peer will send no more.
    Goodbye,
}

impl Framing {
    /// Bytes a frame has beyond its payload.
    #[inline]
    pub fn overhead(&self) -> usize {
        match self.check {
            Check::None => HEADER_LEN,
            Check::Crc => HEADER_LEN + 4,
        }
    }

    /// The header of a message of `len` bytes.
    ///
    /// # Errors
    /// [`SendError::TooLong`].
    #[inline]
    pub fn header(&self, len: usize) -> Result<[u8; HEADER_LEN], SendError> {
        if len > self.max_message {
            return Err(SendError::TooLong { len, max: self.max_message });
        }
        Ok((len as u32).to_le_bytes())
    }

    /// The checksum that follows a message of these `parts`, with [`Check::Crc`].
    pub fn trailer<'a>(&self, header: [u8; 4], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 4] {
        let mut crc = Crc32c::new();
        crc.update(&header);
        parts.into_iter().for_each(|part| crc.update(part));
        crc.value().to_le_bytes()
    }

    /// Looks at the first bytes of a stream. Reads each byte of the peer's once.
    ///
    /// # Errors
    /// A sentence: the length exceeds the agreed maximum, or the checksum is wrong.
    #[inline]
    pub fn parse(&self, bytes: &[u8]) -> Result<Parsed, &'static str> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Ok(Parsed::Incomplete { need: HEADER_LEN });
        };
        if *header == GOODBYE {
            return Ok(Parsed::Goodbye);
        }
        let len = u32::from_le_bytes(*header) as usize;
        if len > self.max_message {
            return Err("frame longer than the agreed maximum");
        }
        let frame_len = len + self.overhead();
        if bytes.len() < frame_len {
            return Ok(Parsed::Incomplete { need: frame_len });
        }
        let payload = HEADER_LEN..HEADER_LEN + len;
        if self.check == Check::Crc
            && bytes[payload.end..frame_len] != self.trailer(*header, [&bytes[payload.clone()]])
        {
            return Err("checksum of a frame is wrong");
        }
        Ok(Parsed::Message { payload, frame_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(framing: Framing, payload: &[u8]) -> Vec<u8> {
        let header = framing.header(payload.len()).unwrap();
        let mut bytes = [&header, payload].concat();
        if framing.check == Check::Crc {
            bytes.extend(framing.trailer(header, [payload]));
        }
        bytes
    }

    #[test]
    fn every_prefix_of_a_frame_is_incomplete_and_asks_for_no_more_than_the_frame() {
        for check in [Check::None, Check::Crc] {
            let framing = Framing { max_message: 100, check };
            let bytes = frame(framing, b"hello");
            for cut in 0..bytes.len() {
                let Ok(Parsed::Incomplete { need }) = framing.parse(&bytes[..cut]) else { panic!("{cut}") };
                assert!(need > cut && need <= bytes.len());
            }
            let whole = Parsed::Message { payload: 4..9, frame_len: bytes.len() };
            assert_eq!(framing.parse(&bytes), Ok(whole.clone()));
            assert_eq!(framing.parse(&[&bytes[..], b"next"].concat()), Ok(whole));
        }
    }

    #[test]
    fn the_empty_message_is_a_message() {
        let framing = Framing { max_message: 0, check: Check::None };
        assert_eq!(framing.parse(&frame(framing, b"")), Ok(Parsed::Message { payload: 4..4, frame_len: 4 }));
    }

    #[test]
    fn one_byte_too_many_is_refused_on_both_sides() {
        let framing = Framing { max_message: 4, check: Check::None };
        assert!(matches!(framing.header(5), Err(SendError::TooLong { len: 5, max: 4 })));
        assert!(framing.parse(&5u32.to_le_bytes()).is_err());
        assert!(framing.parse(&0xFFFF_FFFEu32.to_le_bytes()).is_err());
    }

    #[test]
    fn goodbye_is_not_a_length() {
        let framing = Framing { max_message: MAX_PAYLOAD, check: Check::None };
        assert_eq!(framing.parse(&GOODBYE), Ok(Parsed::Goodbye));
    }

    #[test]
    fn any_flipped_bit_of_a_checked_frame_is_noticed() {
        let framing = Framing { max_message: 64, check: Check::Crc };
        let bytes = frame(framing, b"some payload");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(framing.parse(&flipped), Ok(Parsed::Message { .. })), "bit {bit}");
        }
    }
}
