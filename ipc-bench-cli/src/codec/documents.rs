//! The values that are encoded, made from a seed, the same on both sides.

use serde::{Deserialize, Serialize};

/// 64 bytes without padding: what a price feed or a sensor sends.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) time_ns: u64,
    pub(crate) price: f64,
    pub(crate) quantity: f64,
    pub(crate) source: u64,
    pub(crate) sequence: u64,
    pub(crate) symbol: [u8; 8],
    pub(crate) level: u32,
    pub(crate) flags: u32,
}

/// An order as a web service would take it.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Nested {
    pub(crate) id: u64,
    pub(crate) customer: Customer,
    pub(crate) lines: Vec<Line>,
    pub(crate) tags: Vec<String>,
    pub(crate) note: Option<String>,
}

#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Customer {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) address: Address,
}

#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Address {
    pub(crate) street: String,
    pub(crate) city: String,
    pub(crate) zip: u32,
}

#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Line {
    pub(crate) article: u64,
    pub(crate) title: String,
    pub(crate) count: u32,
    pub(crate) cents: u64,
    pub(crate) in_stock: bool,
}

#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Bytes {
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

#[derive(
    Clone,
    Debug,
    PartialEq,
    Serialize,
    Deserialize,
    bitcode::Encode,
    bitcode::Decode,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub(crate) struct Array {
    pub(crate) numbers: Vec<u64>,
}

/// A value of a kind, and its bytes in their order in memory where it has any.
pub(crate) trait Document: Sized + PartialEq {
    fn make(random: &mut fastrand::Rng) -> Self;

    /// Appends them; `false` where there are none.
    fn write_raw(&self, out: &mut Vec<u8>) -> bool;

    fn read_raw(bytes: &[u8]) -> Option<Self>;
}

impl Document for Record {
    fn make(random: &mut fastrand::Rng) -> Record {
        Record {
            id: random.u64(..),
            time_ns: random.u64(1 << 60..1 << 61),
            // In hundredths, like a price: serde_json reads numbers of more digits back with an error in the last bit.
            price: f64::from(random.u32(1..100_000)) / 100.0,
            quantity: f64::from(random.u32(1..10_000)),
            source: random.u64(0..64),
            sequence: random.u64(0..1 << 40),
            symbol: *b"EURUSD  ",
            level: random.u32(0..10),
            flags: random.u32(0..256),
        }
    }

    fn write_raw(&self, out: &mut Vec<u8>) -> bool {
        for word in [self.id, self.time_ns, self.price.to_bits(), self.quantity.to_bits()] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.source, self.sequence, u64::from_le_bytes(self.symbol)] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.level.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        true
    }

    fn read_raw(bytes: &[u8]) -> Option<Record> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: &[[u8; 8]; 8] = words.first_chunk().filter(|_| rest.is_empty() && words.len() == 8)?;
        let word = |index: usize| u64::from_le_bytes(words[index]);
        Some(Record {
            id: word(0),
            time_ns: word(1),
            price: f64::from_bits(word(2)),
            quantity: f64::from_bits(word(3)),
            source: word(4),
            sequence: word(5),
            symbol: words[6],
            level: word(7) as u32,
            flags: (word(7) >> 32) as u32,
        })
    }
}

impl Document for Nested {
    fn make(random: &mut fastrand::Rng) -> Nested {
        let mut text = |len: usize| -> String { (0..len).map(|_| random.lowercase()).collect() };
        let customer = Customer {
            name: text(18),
            email: format!("{}@{}.example", text(9), text(7)),
            address: Address { street: text(20), city: text(11), zip: 10_115 },
        };
        let tags = (0..4).map(|_| text(8)).collect();
        let note = Some(text(64));
        let titles: Vec<String> = (0..6).map(|_| text(24)).collect();
        let line = |title: String| Line {
            article: random.u64(0..1 << 40),
            title,
            count: random.u32(1..20),
            cents: random.u64(100..1_000_000),
            in_stock: random.bool(),
        };
        let lines = titles.into_iter().map(line).collect();
        Nested { id: random.u64(..), customer, lines, tags, note }
    }

    fn write_raw(&self, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn read_raw(_bytes: &[u8]) -> Option<Nested> {
        None
    }
}

impl Document for Bytes {
    fn make(random: &mut fastrand::Rng) -> Bytes {
        // Half text, half noise: neither all nor nothing of it can be compressed.
        let mut bytes = vec![0; 64 << 10];
        random.fill(&mut bytes);
        bytes[..32 << 10].iter_mut().for_each(|byte| *byte = b'a' + *byte % 16);
        Bytes { bytes }
    }

    fn write_raw(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.bytes);
        true
    }

    fn read_raw(bytes: &[u8]) -> Option<Bytes> {
        Some(Bytes { bytes: bytes.to_vec() })
    }
}

impl Document for Array {
    fn make(random: &mut fastrand::Rng) -> Array {
        Array { numbers: (0..1 << 17).map(|_| random.u64(0..1_000_000)).collect() }
    }

    fn write_raw(&self, out: &mut Vec<u8>) -> bool {
        out.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        true
    }

    fn read_raw(bytes: &[u8]) -> Option<Array> {
        let (words, rest) = bytes.as_chunks::<8>();
        rest.is_empty()
            .then(|| Array { numbers: words.iter().map(|word| u64::from_le_bytes(*word)).collect() })
    }
}
