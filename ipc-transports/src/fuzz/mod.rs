//! Harnesses for hostile input, one function per target: bytes in, nothing out, a panic when a promise is broken. The
//! same functions run under libFuzzer (`fuzz/`), as bounded property tests, and in doses by `cargo xtask chaos fuzz`.
//! Not part of the library: built with `--cfg fuzzing`, the feature `__fault-points` and in tests only.

mod frames;
mod ring;
mod setup;
mod slot;

use std::cell::Cell;

pub use frames::{address, envelope, frames};
pub use ring::ring;
pub use setup::{handshake, header, hello};
pub use slot::slot;

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("header", header),
    ("ring", ring),
    ("frames", frames),
    ("hello", hello),
    ("handshake", handshake),
    ("address", address),
    ("slot", slot),
    ("envelope", envelope),
];

/// Numbers out of the input, and zeros when it is used up.
#[derive(Debug)]
struct Feed<'a> {
    data: &'a [u8],
    at: Cell<usize>,
}

impl<'a> Feed<'a> {
    fn new(data: &'a [u8]) -> Feed<'a> {
        Feed { data, at: Cell::new(0) }
    }

    fn is_over(&self) -> bool {
        self.at.get() >= self.data.len()
    }

    fn byte(&self) -> u8 {
        let at = self.at.get();
        self.at.set(at + 1);
        self.data.get(at).copied().unwrap_or(0)
    }

    fn number(&self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    fn below(&self, end: usize) -> usize {
        let two = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(two) % end
    }

    fn rest(&self) -> &'a [u8] {
        self.data.get(self.at.get()..).unwrap_or_default()
    }
}

/// Random inputs for `target`: `runs` of them from `seed`, each up to `longest` bytes.
pub fn random_inputs(target: Target, seed: u64, runs: u64, longest: usize) {
    let mut state = seed;
    // SplitMix64 (Steele, Lea, Flood, 2014).
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let mut input = Vec::with_capacity(longest + 8);
    for _ in 0..runs {
        input.clear();
        let len = next() as usize % (longest + 1);
        while input.len() < len {
            input.extend(next().to_le_bytes());
        }
        input.truncate(len);
        target(&input);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A second or less of each; `IPC_FUZZ_RUNS` asks for more, `IPC_FUZZ_SEED` repeats.
    fn property(name: &str, runs: u64) {
        let asked = |variable: &str| std::env::var(variable).ok()?.parse().ok();
        // Miri takes a thousand times as long.
        let runs = asked("IPC_FUZZ_RUNS").unwrap_or(if cfg!(miri) { runs / 1000 } else { runs });
        let seed = asked("IPC_FUZZ_SEED").unwrap_or_else(|| u64::from_le_bytes(crate::handshake::random()));
        println!("{name}: {runs} inputs from IPC_FUZZ_SEED={seed}");
        let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
        random_inputs(*target, seed, runs, 256);
    }

    #[test]
    fn f1_memory_that_is_not_as_announced() {
        property("header", 5_000);
    }

    #[test]
    fn f2_a_ring_on_hostile_memory() {
        property("ring", 50_000);
    }

    #[test]
    fn f3_frames_in_pieces() {
        property("frames", 5_000);
    }

    #[test]
    fn f4_hellos() {
        property("hello", 100_000);
    }

    #[test]
    fn f5_hellos_in_pieces_with_descriptors() {
        property("handshake", 5_000);
    }

    #[test]
    fn f6_addresses_and_options() {
        property("address", 50_000);
    }

    #[test]
    fn f7_a_slot_on_hostile_memory() {
        property("slot", 50_000);
    }

    #[test]
    fn f8_envelopes_of_actors() {
        property("envelope", 50_000);
    }
}
