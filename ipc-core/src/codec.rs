//! Values as bytes and back: postcard (<https://postcard.jamesmunns.com>) into buffers that are used again.

use std::borrow::Cow;
use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A value that does not encode, or bytes that are not the value they should be.
///
/// ```
/// let error = ipc_core::codec::decode::<u8>(&[1, 2, 3]).unwrap_err();
/// assert_eq!(error.to_string(), "2 bytes are left over behind the value");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(Cow<'static, str>);

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

fn unencodable(error: postcard::Error) -> CodecError {
    CodecError(format!("the value cannot be encoded: {error}").into())
}

fn undecodable(error: postcard::Error) -> CodecError {
    CodecError(format!("the bytes are not a value of the expected type: {error}").into())
}

/// Appends the encoding of `value` to `buffer`, which keeps its allocation from one message to the next.
///
/// # Errors
/// The value's `Serialize` failed or asks for something postcard cannot do (a sequence of unknown length). `buffer`
/// is then as long as before.
///
/// ```
/// use ipc_core::codec::{decode, encode};
/// let mut buffer = Vec::new();
/// encode(&(7u16, "seven"), &mut buffer)?;
/// assert_eq!(decode::<(u16, &str)>(&buffer)?, (7, "seven"));
/// # Ok::<(), ipc_core::codec::CodecError>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = buffer.len();
    let result = postcard::serialize_with_flavor(value, Append(buffer));
    result.map_err(|error| {
        buffer.truncate(before);
        unencodable(error)
    })
}

/// Reads a value that takes up all of `bytes`.
///
/// # Errors
/// The bytes are no such value, or there are more of them than it takes.
///
/// ```
/// use ipc_core::codec::decode;
/// assert_eq!(decode::<u8>(&[7])?, 7);
/// assert!(decode::<u8>(&[7, 8]).is_err(), "a byte is left over");
/// # Ok::<(), ipc_core::codec::CodecError>(())
/// ```
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    match decode_front(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => {
            let surplus = rest.len();
            Err(CodecError(format!("{surplus} bytes are left over behind the value").into()))
        }
    }
}

/// Reads a value from the front of `bytes` and returns what follows it.
///
/// # Errors
/// The bytes do not begin with such a value.
///
/// ```
/// use ipc_core::codec::decode_front;
/// assert_eq!(decode_front::<u8>(&[7, 8, 9])?, (7, &[8, 9][..]));
/// # Ok::<(), ipc_core::codec::CodecError>(())
/// ```
pub fn decode_front<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), CodecError> {
    postcard::take_from_bytes(bytes).map_err(undecodable)
}

/// Postcard's output at the end of a vector that outlives the call.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes inside a message that are encoded as one block. A `Vec<u8>` field is a sequence to serde and costs a call per
/// byte; this costs one copy.
///
/// ```
/// use ipc_core::codec::Bytes;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Chunk {
///     offset: u64,
///     data: Bytes,
/// }
/// # let mut buffer = Vec::new();
/// ipc_core::codec::encode(&Chunk { offset: 0, data: vec![7; 4096].into() }, &mut buffer)?;
/// assert_eq!(buffer.len(), 1 + 2 + 4096);
/// # Ok::<(), ipc_core::codec::CodecError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(bytes)
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Block;
        impl Visitor<'_> for Block {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a block of bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_bytes(Block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_encode_leaves_the_buffer_as_it_was() {
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // Some output first, then the failure.
                serializer.collect_seq([1u64, 2].iter().filter(|number| **number > 1))
            }
        }
        let mut buffer = vec![9];
        assert!(encode(&(1u64 << 40, Fails), &mut buffer).is_err());
        assert_eq!(buffer, [9]);
    }

    #[test]
    fn bytes_left_over_or_missing_are_errors() {
        let mut buffer = Vec::new();
        encode(&(7u32, true), &mut buffer).unwrap();
        assert_eq!(decode(&buffer), Ok((7u32, true)));
        assert_eq!(decode_front(&buffer), Ok((7u32, &[1][..])));
        assert!(decode::<u32>(&buffer).unwrap_err().to_string().starts_with("1 bytes are left over"));
        assert!(decode::<(u32, bool, u8)>(&buffer).is_err());
    }

    #[test]
    fn a_block_of_bytes_is_its_length_and_its_bytes() {
        let mut buffer = Vec::new();
        encode(&Bytes(vec![1, 2, 3]), &mut buffer).unwrap();
        assert_eq!(buffer, [3, 1, 2, 3]);
        assert_eq!(decode::<Bytes>(&buffer), Ok(Bytes(vec![1, 2, 3])));
        assert!(decode::<Bytes>(&buffer[..3]).is_err());
    }
}
