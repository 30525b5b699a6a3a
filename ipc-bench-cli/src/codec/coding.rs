//! Encoding and decoding with each codec, into owned values everywhere.

use super::Codec;
use super::documents::{Array, Bytes, Document, Nested, Record};

/// Level of zstd; its own default.
const ZSTD_LEVEL: i32 = 3;

/// Most bytes that JSON is unpacked to.
const MOST_UNPACKED: usize = 64 << 20;

/// Something went wrong inside a library, in its words.
pub(crate) type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// A document that every codec can carry.
pub(crate) trait Coded: Document {
    /// Replaces `out` by the encoded form.
    ///
    /// # Errors
    /// The codec has no form of it, or failed.
    fn encode(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), Wrong>;

    /// The value that was encoded.
    ///
    /// # Errors
    /// These bytes are not one.
    fn decode(codec: Codec, bytes: &[u8]) -> Result<Self, Wrong>;
}

/// The calls are the same for all documents, but rkyv's bounds on a generic one would be longer than they are.
macro_rules! coded {
    ($($document:ty),*) => { $(
        impl Coded for $document {
            fn encode(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), Wrong> {
                out.clear();
                match codec {
                    Codec::Raw if self.write_raw(out) => {}
                    Codec::Raw => return Err("there is no raw form of it".into()),
                    Codec::Json => serde_json::to_writer(out, self)?,
                    Codec::JsonLz4 => *out = lz4_flex::compress_prepend_size(&serde_json::to_vec(self)?),
                    Codec::JsonZstd => *out = zstd::bulk::compress(&serde_json::to_vec(self)?, ZSTD_LEVEL)?,
                    Codec::Postcard => *out = postcard::to_extend(self, std::mem::take(out))?,
                    Codec::MessagePack => rmp_serde::encode::write(out, self)?,
                    Codec::Bincode => bincode::serialize_into(out, self)?,
                    Codec::Bitcode => *out = bitcode::encode(self),
                    // Copied out of rkyv's aligned buffer, since a message has to be one slice of ours.
                    Codec::Rkyv => out.extend_from_slice(&rkyv::to_bytes::<rkyv::rancor::Error>(self)?),
                }
                Ok(())
            }

            fn decode(codec: Codec, bytes: &[u8]) -> Result<Self, Wrong> {
                Ok(match codec {
                    Codec::Raw => <$document>::read_raw(bytes).ok_or("it is not of this length")?,
                    Codec::Json => serde_json::from_slice(bytes)?,
                    Codec::JsonLz4 => serde_json::from_slice(&lz4_flex::decompress_size_prepended(bytes)?)?,
                    Codec::JsonZstd => serde_json::from_slice(&zstd::bulk::decompress(bytes, MOST_UNPACKED)?)?,
                    Codec::Postcard => postcard::from_bytes(bytes)?,
                    Codec::MessagePack => rmp_serde::from_slice(bytes)?,
                    Codec::Bincode => bincode::deserialize(bytes)?,
                    Codec::Bitcode => bitcode::decode(bytes)?,
                    Codec::Rkyv => {
                        // A received message lies anywhere; rkyv reads from aligned bytes only.
                        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
                        aligned.extend_from_slice(bytes);
                        rkyv::from_bytes::<$document, rkyv::rancor::Error>(&aligned)?
                    }
                })
            }
        }
    )* };
}

coded!(Record, Nested, Bytes, Array);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Value;

    fn round_trip<D: Coded + std::fmt::Debug>(value: Value) -> Vec<(Codec, usize)> {
        let document = D::make(&mut fastrand::Rng::with_seed(7));
        let mut sizes = Vec::new();
        for codec in Codec::ALL.into_iter().filter(|codec| codec.can(value)) {
            let mut bytes = vec![1, 2, 3];
            document.encode(codec, &mut bytes).unwrap();
            assert_eq!(D::decode(codec, &bytes).unwrap(), document, "{}", codec.name());
            sizes.push((codec, bytes.len()));
            bytes.pop();
            let cut = D::decode(codec, &bytes);
            // Raw bytes have no end of their own.
            assert!(codec == Codec::Raw || cut.is_err() || cut.unwrap() != document, "{}", codec.name());
        }
        sizes
    }

    #[test]
    fn a_record_survives_json_whatever_the_seed() {
        for seed in 0..2000 {
            let (record, mut json) = (Record::make(&mut fastrand::Rng::with_seed(seed)), Vec::new());
            record.encode(Codec::Json, &mut json).unwrap();
            assert_eq!(Record::decode(Codec::Json, &json).unwrap(), record, "seed {seed}");
        }
    }

    #[test]
    fn every_document_survives_every_codec() {
        let of = |sizes: &[(Codec, usize)], codec| sizes.iter().find(|(known, _)| *known == codec).unwrap().1;
        assert_eq!(of(&round_trip::<Record>(Value::Record), Codec::Raw), 64);
        let nested = round_trip::<Nested>(Value::Nested);
        assert!((800..1300).contains(&of(&nested, Codec::Json)), "{nested:?}");
        let bytes = round_trip::<Bytes>(Value::Bytes);
        assert_eq!(of(&bytes, Codec::Raw), 64 << 10);
        assert!(of(&bytes, Codec::JsonZstd) < of(&bytes, Codec::Json), "{bytes:?}");
        assert_eq!(of(&round_trip::<Array>(Value::Array), Codec::Raw), 1 << 20);
    }
}
