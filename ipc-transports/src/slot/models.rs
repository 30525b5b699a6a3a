//! Loom models of the direct slot: L7 put and take with sleeping sides, L8 either side dying before each of its steps.
#![allow(unsafe_code, reason = "implements Cells")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::*;
use crate::model::{Futex, Life, explore};

const SIZE: usize = 8;

/// A model has no time: every slice ends when something happens.
const SHORTLY: Duration = Duration::ZERO;

/// What the kernel and glibc know of a robust mutex.
#[derive(Debug, Default)]
struct Lock {
    holder: Option<Party>,
    holder_died: bool,
}

#[derive(Debug)]
struct Shared {
    words: [AtomicU32; 5],
    payload: UnsafeCell<[u8; SIZE]>,
    lock: Mutex<Lock>,
    unlocked: Condvar,
    sleeping: [Futex; 2],
    /// A side is known to be dead, as its pidfd would tell.
    buried: AtomicBool,
}

// SAFETY: loom itself watches over every access to the cell.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// A slot in the hands of one side.
#[derive(Clone, Debug)]
struct ModelCells {
    shared: Arc<Shared>,
    me: Party,
    life: Life,
}

impl ModelCells {
    fn both(writers_life: Life, readers_life: Life) -> (Side<ModelCells>, Side<ModelCells>) {
        let shared = Arc::new(Shared {
            words: [(); 5].map(|()| AtomicU32::new(0)),
            payload: UnsafeCell::new([0; SIZE]),
            lock: Mutex::new(Lock::default()),
            unlocked: Condvar::new(),
            sleeping: [Futex::new(), Futex::new()],
            buried: AtomicBool::new(false),
        });
        let side = |me, life| {
            let cells = ModelCells { shared: Arc::clone(&shared), me, life };
            Side::new(cells, me, SIZE, true)
        };
        (side(Party::Writer, writers_life), side(Party::Reader, readers_life))
    }

    fn word(&self, word: Word) -> &AtomicU32 {
        &self.shared.words[match word {
            Word::State => 0,
            Word::Len => 1,
            Word::Flags => 2,
            Word::Taken => 3,
            Word::Published => 4,
        }]
    }

    fn futex(&self, word: Word) -> &Futex {
        &self.shared.sleeping[usize::from(word == Word::Published)]
    }

    /// What the kernel does when this side has died: it marks the lock it held, and its pidfd becomes readable, which
    /// the sleepers find out at the end of their slices.
    fn bury(&self) {
        let mut lock = self.shared.lock.lock().unwrap();
        if lock.holder == Some(self.me) {
            (lock.holder, lock.holder_died) = (None, true);
        }
        drop(lock);
        // Release: pairs with the Acquire in peer_is_dead.
        self.shared.buried.store(true, Ordering::Release);
        self.shared.unlocked.notify_all();
        self.shared.sleeping.iter().for_each(Futex::wake);
    }

    fn peer_is_dead(&self) -> bool {
        // Acquire: pairs with the Release in bury.
        self.shared.buried.load(Ordering::Acquire)
    }

    fn taken(&self, lock: &mut Lock) -> Holder {
        lock.holder = Some(self.me);
        if std::mem::take(&mut lock.holder_died) { Holder::Died } else { Holder::Released }
    }
}

// SAFETY: `read` fills what it promises.
unsafe impl Cells for ModelCells {
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    fn store(&self, word: Word, value: u32, order: Ordering) {
        if self.life.spend() {
            self.word(word).store(value, order);
        }
    }

    fn set(&self, bits: u32) {
        if self.life.spend() {
            self.word(Word::Flags).fetch_or(bits, Ordering::SeqCst);
        }
    }

    fn clear(&self, bits: u32) {
        if self.life.spend() {
            self.word(Word::Flags).fetch_and(!bits, Ordering::SeqCst);
        }
    }

    fn try_lock(&self) -> Result<Option<Holder>, Corrupt> {
        if self.life.is_over() {
            return Ok(None);
        }
        let mut lock = self.shared.lock.lock().unwrap();
        Ok(lock.holder.is_none().then(|| self.taken(&mut lock)))
    }

    fn lock_for(&self, _: Duration) -> Result<Option<Holder>, Corrupt> {
        if self.life.is_over() {
            return Ok(None);
        }
        let mut lock = self.shared.lock.lock().unwrap();
        while lock.holder.is_some() {
            lock = self.shared.unlocked.wait(lock).unwrap();
        }
        Ok(Some(self.taken(&mut lock)))
    }

    fn unlock(&self) {
        if self.life.spend() {
            self.shared.lock.lock().unwrap().holder = None;
            self.shared.unlocked.notify_all();
        }
    }

    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        if self.life.spend() {
            self.shared.payload.with_mut(|payload| {
                // SAFETY: loom has checked that nobody else accesses the cell now.
                let payload = unsafe { &mut *payload };
                payload[at..at + bytes.len()].copy_from_slice(bytes);
            });
        }
    }

    unsafe fn read(&self, len: usize, to: *mut u8) {
        // SAFETY: the caller has room for that many bytes.
        let to = unsafe { std::slice::from_raw_parts_mut(to, len.max(LINE_PAYLOAD)) };
        to.fill(0);
        self.shared.payload.with(|payload| {
            // SAFETY: loom has checked that nobody writes the cell now.
            to[..len].copy_from_slice(&unsafe { &*payload }[..len]);
        });
    }

    fn sleep_on(&self, word: Word, expected: u32, _: Duration) -> bool {
        if !self.life.is_over() {
            self.futex(word).wait(self.word(word), expected, || self.peer_is_dead());
        }
        false
    }

    fn wake(&self, word: Word) {
        if self.life.spend() {
            self.futex(word).wake();
        }
    }

    fn expect_to_lock(&self) {}
}

/// How an exchange ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Left,
    PeerDied,
}

impl Side<ModelCells> {
    /// Waits as the halves of `shm-direct` do. True: the peer is dead and there is nothing left to find.
    fn wait(&mut self) -> bool {
        if self.cells.peer_is_dead() && !self.is_ready() {
            return true;
        }
        if !self.is_dead() && self.announce(false, SHORTLY).unwrap() && !self.cells.peer_is_dead() {
            self.sleep(SHORTLY);
        }
        false
    }

    fn is_dead(&self) -> bool {
        self.cells.life.is_over()
    }

    fn put_waiting(&mut self, number: u8) -> End {
        loop {
            match self.put(&[IoSlice::new(&[number; SIZE])], SIZE, Wait::Forever).unwrap() {
                Attempt::Done(..) => return End::Done,
                Attempt::Left => return End::Left,
                Attempt::Died => return End::PeerDied,
                _ if self.is_dead() => return End::Left,
                _ if self.wait() => return End::PeerDied,
                _ => {}
            }
        }
    }

    fn take_waiting(&mut self, buf: &mut Vec<u8>) -> End {
        loop {
            match self.take(buf, Wait::Forever).unwrap() {
                Attempt::Done(..) => return End::Done,
                Attempt::Left => return End::Left,
                Attempt::Died => return End::PeerDied,
                _ if self.is_dead() => return End::Left,
                _ if self.wait() => return End::PeerDied,
                _ => {}
            }
        }
    }
}

#[test]
fn l7_messages_cross_a_slot_and_its_end_is_seen_last() {
    explore(2, || {
        let (mut writer, mut reader) = ModelCells::both(Life::default(), Life::default());
        let sender = thread::spawn(move || {
            for number in 1..=2 {
                assert_eq!(writer.put_waiting(number), End::Done);
            }
            writer.leave();
        });
        let mut buf = Vec::new();
        for number in 1..=2 {
            assert_eq!(reader.take_waiting(&mut buf), End::Done);
            assert_eq!(buf, [number; SIZE]);
        }
        assert_eq!(reader.take_waiting(&mut buf), End::Left);
        sender.join().unwrap();
    });
}

#[test]
fn l7_a_reader_that_leaves_ends_the_wait_for_space() {
    explore(2, || {
        let (mut writer, reader) = ModelCells::both(Life::default(), Life::default());
        let receiver = thread::spawn(move || reader.leave());
        let first = writer.put_waiting(1);
        assert!(matches!(first, End::Done | End::Left));
        assert_eq!(writer.put_waiting(2), End::Left);
        receiver.join().unwrap();
    });
}

#[test]
fn l8_a_writer_that_dies_at_any_step_leaves_a_prefix_and_a_working_slot() {
    for steps in 0..20 {
        explore(2, move || {
            let (mut writer, mut reader) = ModelCells::both(Life::of(steps), Life::default());
            let sender = thread::spawn(move || {
                let mut done = 0;
                for number in 1..=2 {
                    if writer.put_waiting(number) != End::Done || writer.is_dead() {
                        break;
                    }
                    done = number;
                }
                writer.cells.bury();
                done
            });
            let (mut buf, mut received) = (Vec::new(), 0);
            loop {
                match reader.take_waiting(&mut buf) {
                    End::Done => {
                        received += 1;
                        assert_eq!(buf, [received; SIZE]);
                    }
                    End::Left => panic!("it never left"),
                    End::PeerDied => break,
                }
            }
            let partial = reader.autopsy();
            assert!(partial == 0 || partial == SIZE, "{partial}");
            let done = sender.join().unwrap();
            assert!(received >= done, "{received} received, {done} put");
        });
    }
}

#[test]
fn l8_a_reader_that_dies_at_any_step_is_told_to_the_writer() {
    for steps in 0..14 {
        explore(2, move || {
            let (mut writer, mut reader) = ModelCells::both(Life::default(), Life::of(steps));
            let receiver = thread::spawn(move || {
                let mut buf = Vec::new();
                for number in 1..=2 {
                    if reader.take_waiting(&mut buf) != End::Done || reader.is_dead() {
                        break;
                    }
                    assert_eq!(buf, [number; SIZE]);
                }
                reader.cells.bury();
            });
            let mut end = End::Done;
            for number in 1..=4 {
                end = writer.put_waiting(number);
                if end != End::Done {
                    break;
                }
            }
            assert_eq!(end, End::PeerDied, "four messages do not fit into one slot");
            receiver.join().unwrap();
        });
    }
}
