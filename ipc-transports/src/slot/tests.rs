#![allow(unsafe_code, reason = "plays a dying writer, and the hostile peer")]

use std::cell::Cell;
use std::thread;

use super::*;
use crate::memory::Memory;

const SIZE: usize = 200;
const LATER: Duration = Duration::from_secs(5);

fn slot() -> (Side<SharedCells>, Side<SharedCells>, SharedCells) {
    let memory = Memory::heap(slot_len(SIZE));
    let cells = SharedCells::create(&memory, 0, SIZE, Lock::Mutex).unwrap();
    let writer = Side::new(cells.clone(), Party::Writer, SIZE, false);
    let reader = Side::new(SharedCells::attach(&memory, 0, SIZE, Lock::Mutex), Party::Reader, SIZE, false);
    (writer, reader, cells)
}

fn put<C: Cells>(writer: &mut Side<C>, message: &[u8]) -> Result<Attempt<()>, Corrupt> {
    writer.put(&[IoSlice::new(message)], message.len(), Wait::Never)
}

const DONE: Result<Attempt<()>, Corrupt> = Ok(Attempt::Done((), Ring::Nobody));

#[test]
fn a_slot_holds_one_message_of_any_size_up_to_its_own() {
    let (mut writer, mut reader, _) = slot();
    let mut buf = Vec::new();
    for len in 0..=SIZE {
        let message: Vec<u8> = (0..len).map(|byte| (byte * 7 + len) as u8).collect();
        assert_eq!(reader.take(&mut buf, Wait::Never), Ok(Attempt::NotYet));
        assert!(!reader.is_ready());
        let (front, back) = message.split_at(len / 3);
        let parts = [IoSlice::new(front), IoSlice::new(&[]), IoSlice::new(back)];
        assert_eq!(writer.put(&parts, len, Wait::Never), DONE);
        assert!(reader.is_ready() && !writer.is_ready());
        assert_eq!(put(&mut writer, b"too early"), Ok(Attempt::NotYet));
        assert_eq!(reader.take(&mut buf, Wait::Never), DONE);
        assert_eq!(buf, message);
        assert!(writer.is_ready());
    }
}

#[test]
fn counts_go_on_after_their_largest() {
    let (mut writer, mut reader, cells) = slot();
    (writer.count, reader.count) = (COUNT - 1, COUNT - 1);
    cells.store(Word::Published, COUNT - 1, Ordering::Relaxed);
    cells.store(Word::Taken, COUNT - 1, Ordering::Relaxed);
    let mut buf = Vec::new();
    for number in 0..4u8 {
        assert!(writer.is_ready() && !reader.is_ready());
        assert_eq!(put(&mut writer, &[number]), DONE);
        assert!(!writer.is_ready() && reader.is_ready());
        assert_eq!(reader.take(&mut buf, Wait::Never), DONE);
        assert_eq!(buf, [number]);
    }
}

#[test]
fn who_leaves_is_seen_after_the_last_message() {
    let (mut writer, mut reader, _) = slot();
    let mut buf = Vec::new();
    assert_eq!(put(&mut writer, b"last"), DONE);
    writer.leave();
    assert_eq!(reader.take(&mut buf, Wait::Never), DONE);
    assert_eq!(reader.take(&mut buf, Wait::Never), Ok(Attempt::Left));
    assert!(reader.is_ready());
    let (mut writer, reader, _) = slot();
    reader.leave();
    assert_eq!(put(&mut writer, b"x"), Ok(Attempt::Left));
}

#[test]
fn whoever_is_asleep_is_woken_once() {
    let (mut writer, mut reader, _) = slot();
    let mut buf = Vec::new();
    assert_eq!(reader.announce(false, LATER), Ok(true));
    assert_eq!(put(&mut writer, b"x"), Ok(Attempt::Done((), Ring::Woken)));
    assert_eq!(reader.announce(true, LATER), Ok(false), "there is something to do");
    assert_eq!(writer.announce(true, LATER), Ok(true));
    assert_eq!(reader.take(&mut buf, Wait::Never), Ok(Attempt::Done((), Ring::Eventfd)));
    assert_eq!(put(&mut writer, b"x"), DONE);
    assert_eq!(reader.take(&mut buf, Wait::Never), DONE);
    assert_eq!(reader.announce(true, LATER), Ok(true));
    reader.awake();
    assert_eq!(put(&mut writer, b"x"), DONE);
}

#[test]
fn a_stopped_holder_is_waited_for_no_longer_than_told() {
    let (mut writer, mut reader, cells) = slot();
    assert_eq!(put(&mut writer, b"x"), DONE);
    assert_eq!(cells.try_lock(), Ok(Some(Holder::Released)));
    let elsewhere = thread::spawn(move || {
        let mut buf = Vec::new();
        let never = reader.take(&mut buf, Wait::Never);
        let soon = reader.take(&mut buf, Wait::within(Duration::from_millis(1)));
        let slice = reader.take(&mut buf, Wait::Forever);
        (never, soon, slice, writer)
    });
    let (never, soon, slice, _) = elsewhere.join().unwrap();
    assert_eq!([never, soon, slice], [Ok(Attempt::Busy); 3]);
    cells.unlock();
}

/// Ends a thread that holds the lock, which the kernel treats as it treats a killed process, with the slot as `leaving`
/// leaves it.
fn die_holding(cells: &SharedCells, leaving: impl FnOnce(&SharedCells) + Send) {
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            assert_eq!(cells.try_lock(), Ok(Some(Holder::Released)));
            leaving(cells);
        });
        // The scope alone would wait for the closure, not for the thread's end in the kernel.
        holder.join().unwrap();
    });
}

fn half_written(cells: &SharedCells) {
    cells.store(Word::State, State::Writing as u32, Ordering::Relaxed);
    cells.store(Word::Len, 77, Ordering::Relaxed);
    // SAFETY: within the slot.
    unsafe { cells.write(0, &[0xAA; 40]) };
}

#[test]
fn an_unfinished_message_dies_with_its_writer() {
    let (_, mut reader, cells) = slot();
    die_holding(&cells, half_written);
    assert_eq!(reader.take(&mut Vec::new(), Wait::Never), Ok(Attempt::NotYet));
    assert_eq!(reader.autopsy(), 77);
    assert_eq!(reader.autopsy(), 77, "the answer is remembered");
    assert_eq!(State::read(cells.load(Word::State, Ordering::Relaxed)), Ok(State::Empty));
}

#[test]
fn an_unfinished_message_is_found_also_by_who_goes_to_sleep() {
    let (_, mut reader, cells) = slot();
    die_holding(&cells, half_written);
    assert_eq!(reader.announce(false, LATER), Ok(true));
    assert_eq!(reader.autopsy(), 77);
}

#[test]
fn nonsense_left_by_a_dead_holder_does_not_leave_the_slot_locked() {
    for reader_looks in [false, true] {
        let (mut writer, mut reader, cells) = slot();
        die_holding(&cells, |cells| cells.store(Word::State, 9, Ordering::Relaxed));
        let side = if reader_looks { &mut reader } else { &mut writer };
        assert!(side.announce(false, LATER).is_err());
        // By another thread: one that holds the lock itself cannot tell.
        die_holding(&cells, |_| ());
    }
}

#[test]
fn a_published_message_outlives_its_writer() {
    for full in [State::Writing, State::Full] {
        let (mut writer, mut reader, cells) = slot();
        assert_eq!(put(&mut writer, b"whole"), DONE);
        die_holding(&cells, |cells| cells.store(Word::State, full as u32, Ordering::Relaxed));
        let mut buf = Vec::new();
        assert_eq!(reader.take(&mut buf, Wait::Never), DONE);
        assert_eq!(buf, b"whole");
        assert_eq!(reader.autopsy(), 0);
    }
}

#[test]
fn a_reader_that_died_holding_the_lock_is_dead_to_the_writer() {
    let (mut writer, _, cells) = slot();
    assert_eq!(put(&mut writer, b"x"), DONE);
    die_holding(&cells, |_| ());
    assert_eq!(put(&mut writer, b"x"), Ok(Attempt::Died));
}

#[test]
fn a_reader_that_died_before_it_counted_does_not_confuse_the_writer() {
    let (mut writer, _, cells) = slot();
    assert_eq!(put(&mut writer, b"x"), DONE);
    die_holding(&cells, |cells| cells.store(Word::State, State::Empty as u32, Ordering::Relaxed));
    // The death is found by who goes to sleep: the slot is empty, so there is something to do.
    assert_eq!(writer.announce(false, LATER), Ok(false));
    assert_eq!(put(&mut writer, b"y"), DONE);
    assert!(!writer.is_ready(), "nobody has taken the message");
}

#[test]
fn a_thousand_messages_cross_between_two_threads() {
    let (mut writer, mut reader, _) = slot();
    let sender = thread::spawn(move || {
        for number in 0..1000u32 {
            loop {
                match writer.put(&[IoSlice::new(&number.to_le_bytes())], 4, Wait::Forever).unwrap() {
                    Attempt::Done(..) => break,
                    _ if writer.announce(false, LATER).unwrap() => writer.sleep(LATER),
                    _ => {}
                }
            }
        }
        writer.leave();
    });
    let (mut buf, mut next) = (Vec::new(), 0u32);
    loop {
        match reader.take(&mut buf, Wait::Forever).unwrap() {
            Attempt::Done(..) => {
                assert_eq!(buf, next.to_le_bytes());
                next += 1;
            }
            Attempt::Left => break,
            _ if reader.announce(false, LATER).unwrap() => reader.sleep(LATER),
            _ => {}
        }
    }
    sender.join().unwrap();
    assert_eq!(next, 1000);
}

/// Memory that answers every load with the next of a series of random or almost right words.
struct Hostile {
    random: Cell<u64>,
}

impl Hostile {
    fn next(&self) -> u32 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        let seed = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(seed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = ((mixed ^ (mixed >> 27)) >> 16) as u32;
        // Mostly small numbers: states, lengths and counts that could be true.
        if word & 7 == 0 { word } else { word >> 29 }
    }
}

// SAFETY: `read` fills what it promises.
unsafe impl Cells for Hostile {
    fn load(&self, _: Word, _: Ordering) -> u32 {
        self.next()
    }

    fn store(&self, _: Word, _: u32, _: Ordering) {}

    fn set(&self, _: u32) {}

    fn clear(&self, _: u32) {}

    fn try_lock(&self) -> Result<Option<Holder>, Corrupt> {
        match self.next() & 3 {
            0 => Ok(Some(Holder::Died)),
            1 => Ok(None),
            _ => Ok(Some(Holder::Released)),
        }
    }

    fn lock_for(&self, _: Duration) -> Result<Option<Holder>, Corrupt> {
        self.try_lock()
    }

    fn unlock(&self) {}

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= SIZE);
    }

    unsafe fn read(&self, len: usize, to: *mut u8) {
        assert!(len <= SIZE, "a length of {len} was believed");
        // SAFETY: the caller has room.
        unsafe { core::ptr::write_bytes(to, 0xEE, len.max(LINE_PAYLOAD)) };
    }

    fn sleep_on(&self, _: Word, _: u32, _: Duration) -> bool {
        false
    }

    fn wake(&self, _: Word) {}

    fn expect_to_lock(&self) {}
}

#[test]
fn nothing_a_hostile_peer_writes_is_believed() {
    let mut seen = [0u32; 3];
    for seed in 0..20_000 {
        let cells = || Hostile { random: Cell::new(seed) };
        let mut writer = Side::new(cells(), Party::Writer, SIZE, true);
        let mut reader = Side::new(cells(), Party::Reader, SIZE, true);
        let mut buf = Vec::new();
        for _ in 0..20 {
            match reader.take(&mut buf, Wait::Never) {
                Ok(Attempt::Done(..)) => {
                    assert!(buf.len() <= SIZE);
                    seen[0] += 1;
                }
                Ok(_) => seen[1] += 1,
                Err(Corrupt(what)) => {
                    assert!(!what.is_empty());
                    seen[2] += 1;
                }
            }
            let _ = put(&mut writer, &[7; SIZE]);
            let _ = writer.announce(false, Duration::ZERO);
            assert!(reader.autopsy() <= SIZE);
        }
    }
    assert!(seen.iter().all(|&times| times > 1000), "the double plays every part: {seen:?}");
}
