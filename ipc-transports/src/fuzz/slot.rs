//! F7: both sides of a slot on memory that answers every load with something else.
#![allow(unsafe_code, reason = "implements Cells")]

use std::io::IoSlice;
use std::time::Duration;

use ipc_core::Wait;

use super::Feed;
use crate::atomics::Ordering;
use crate::robust_mutex::Holder;
use crate::slot::{Attempt, Cells, Corrupt, LINE_PAYLOAD, Party, Side, Word};

const SIZE: usize = 200;

struct Hostile<'a>(&'a Feed<'a>);

// SAFETY: `read` fills what it promises.
unsafe impl Cells for Hostile<'_> {
    fn load(&self, _: Word, _: Ordering) -> u32 {
        // Mostly small numbers: states, lengths and counts that could be true.
        match self.0.byte() % 4 {
            0 => self.0.number() as u32,
            _ => u32::from(self.0.byte() % 8),
        }
    }

    fn store(&self, _: Word, _: u32, _: Ordering) {}

    fn set(&self, _: u32) {}

    fn clear(&self, _: u32) {}

    fn try_lock(&self) -> Result<Option<Holder>, Corrupt> {
        Ok(match self.0.byte() % 8 {
            0 => Some(Holder::Died),
            1 => None,
            2 => return Err(Corrupt("a mutex that is none")),
            _ => Some(Holder::Released),
        })
    }

    fn lock_for(&self, _: Duration) -> Result<Option<Holder>, Corrupt> {
        self.try_lock()
    }

    fn unlock(&self) {}

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= SIZE, "{} bytes written at {at}", bytes.len());
    }

    unsafe fn read(&self, len: usize, to: *mut u8) {
        assert!(len <= SIZE, "a length of {len} was believed");
        // SAFETY: the caller has room for that many.
        unsafe { core::ptr::write_bytes(to, 0xEE, len.max(LINE_PAYLOAD)) };
    }

    fn sleep_on(&self, _: Word, _: u32, _: Duration) -> bool {
        false
    }

    fn wake(&self, _: Word) {}

    fn expect_to_lock(&self) {}
}

/// F7.
pub fn slot(data: &[u8]) {
    let feed = Feed::new(data);
    let mut writer = Side::new(Hostile(&feed), Party::Writer, SIZE, true);
    let mut reader = Side::new(Hostile(&feed), Party::Reader, SIZE, true);
    let mut buf = Vec::new();
    while !feed.is_over() {
        match feed.byte() % 4 {
            0 => {
                if let Ok(Attempt::Done(..)) = reader.take(&mut buf, Wait::Never) {
                    assert!(buf.len() <= SIZE);
                }
            }
            1 => {
                let len = feed.below(SIZE + 1);
                let _ = writer.put(&[IoSlice::new(&[7; SIZE][..len])], len, Wait::Never);
            }
            2 => {
                let _ = reader.announce(feed.byte().is_multiple_of(2), Duration::ZERO);
                let _ = writer.announce(feed.byte().is_multiple_of(2), Duration::ZERO);
            }
            _ => assert!(reader.autopsy() <= SIZE && writer.autopsy() <= SIZE),
        }
    }
}
