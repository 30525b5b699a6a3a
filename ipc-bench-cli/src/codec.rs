//! Ways to turn a value into bytes and back, compared by `--mode codec`. They are behind the cargo feature `codecs`, so
//! that the program itself needs neither their libraries nor the C compiler that zstd is built with.

#[cfg(feature = "codecs")]
pub(crate) mod coding;
#[cfg(feature = "codecs")]
pub(crate) mod documents;

use serde::{Deserialize, Serialize};

/// Whether this program has the codecs.
pub(crate) const BUILT: bool = cfg!(feature = "codecs");

/// A codec by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Codec {
    /// The bytes of the value in their order in memory: what no codec can be faster than.
    Raw,
    Json,
    JsonLz4,
    JsonZstd,
    Postcard,
    MessagePack,
    /// Unmaintained since 2025; here because people have it.
    Bincode,
    Bitcode,
    Rkyv,
}

impl Codec {
    pub(crate) const ALL: [Codec; 9] = [
        Codec::Raw,
        Codec::Json,
        Codec::JsonLz4,
        Codec::JsonZstd,
        Codec::Postcard,
        Codec::MessagePack,
        Codec::Bincode,
        Codec::Bitcode,
        Codec::Rkyv,
    ];

    /// Its name on the command line and in ids.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::Raw => "raw",
            Codec::Json => "json",
            Codec::JsonLz4 => "json+lz4",
            Codec::JsonZstd => "json+zstd",
            Codec::Postcard => "postcard",
            Codec::MessagePack => "messagepack",
            Codec::Bincode => "bincode",
            Codec::Bitcode => "bitcode",
            Codec::Rkyv => "rkyv",
        }
    }

    /// What stands in the id of a cell: a name that is not to be chosen says so.
    pub(crate) fn label(self) -> &'static str {
        if self == Codec::Bincode { "bincode-unmaintained" } else { self.name() }
    }

    /// `json,postcard`, or `all`.
    pub(crate) fn list(text: &str) -> Result<Vec<Codec>, String> {
        if text == "all" {
            return Ok(Codec::ALL.to_vec());
        }
        let mut chosen = Vec::new();
        for name in text.split(',').map(str::trim) {
            let codec = Codec::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| {
                let known: Vec<_> = Codec::ALL.iter().map(|codec| codec.name()).collect();
                format!("{name:?} is not a codec; there are {}, and all", known.join(", "))
            })?;
            if !chosen.contains(&codec) {
                chosen.push(codec);
            }
        }
        Ok(chosen)
    }

    /// Whether it has a form of such a value.
    pub(crate) fn can(self, value: Value) -> bool {
        self != Codec::Raw || value != Value::Nested
    }
}

/// What is encoded, told by the size of its plain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    /// Numbers, a flag and a short text: 64 bytes.
    Record,
    /// A document of texts, lists and records in records: about 1 KiB as JSON.
    Nested,
    /// 64 KiB of bytes.
    Bytes,
    /// 131,072 numbers below a million, 8 bytes each.
    Array,
}

impl Value {
    pub(crate) const ALL: [Value; 4] = [Value::Record, Value::Nested, Value::Bytes, Value::Array];

    pub(crate) fn size(self) -> usize {
        match self {
            Value::Record => 64,
            Value::Nested => 1 << 10,
            Value::Bytes => 64 << 10,
            Value::Array => 1 << 20,
        }
    }

    pub(crate) fn of_size(size: usize) -> Option<Value> {
        Value::ALL.into_iter().find(|value| value.size() == size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_found_by_its_name_and_an_unknown_one_answered_with_the_list() {
        assert_eq!(Codec::list("json+lz4,raw,raw"), Ok(vec![Codec::JsonLz4, Codec::Raw]));
        assert_eq!(Codec::list("all").map(|all| all.len()), Ok(9));
        assert!(Codec::list("xml").unwrap_err().contains("messagepack"));
    }
}
