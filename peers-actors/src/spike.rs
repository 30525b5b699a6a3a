//! `ipc-peers-actors spike`: three mailboxes behind one small interface, outside any runtime. The numbers are in
//! `docs/adr`, with the choice they led to.
//!
//! Each mailbox also decides who schedules the actor, because that is what a push of a runtime has to do: it returns true
//! when the caller has found the actor idle.
#![allow(unsafe_code)]

use crossbeam_queue::SegQueue;
use std::cell::UnsafeCell;
use std::process::{Command, ExitCode};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};
use std::time::Instant;

/// A mailbox with one owner at a time.
trait Mailbox: Send + Sync + 'static {
    const NAME: &'static str;

    /// Idle and empty.
    fn new() -> Self;
    /// Queues; true: it was idle, and the caller owns it now.
    fn push(&self, value: u64) -> bool;
    /// The oldest message. Owner only.
    fn pop(&self) -> Option<u64>;
    /// Declares it idle; false: something arrived, and the caller still owns it. Owner only.
    fn rest(&self) -> bool;
}

struct Node {
    next: AtomicPtr<Node>,
    value: u64,
}

impl Node {
    fn boxed(value: u64) -> *mut Node {
        Box::into_raw(Box::new(Node { next: AtomicPtr::new(ptr::null_mut()), value }))
    }
}

const IDLE: *mut Node = ptr::without_provenance_mut(1);
const BUSY: *mut Node = ptr::without_provenance_mut(2);

/// One word that is the head of a last-in-first-out chain or a tag; the owner takes the chain and reverses it.
struct OneWord {
    head: AtomicPtr<Node>,
    list: UnsafeCell<*mut Node>,
}

// SAFETY: the list is the owner's, and ownership is handed over through `head`.
unsafe impl Send for OneWord {}
// SAFETY: as above.
unsafe impl Sync for OneWord {}

impl Mailbox for OneWord {
    const NAME: &'static str = "one-word LIFO";

    fn new() -> Self {
        OneWord { head: AtomicPtr::new(IDLE), list: UnsafeCell::new(ptr::null_mut()) }
    }

    fn push(&self, value: u64) -> bool {
        let node = Node::boxed(value);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = if head == IDLE || head == BUSY { ptr::null_mut() } else { head };
            // SAFETY: the node is ours until the exchange succeeds.
            unsafe { (*node).next.store(next, Ordering::Relaxed) };
            // AcqRel: publishes the node; takes over from the owner that rested.
            match self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return head == IDLE,
                Err(now) => head = now,
            }
        }
    }

    fn pop(&self) -> Option<u64> {
        // SAFETY: owner only.
        let list = unsafe { &mut *self.list.get() };
        if list.is_null() {
            if self.head.load(Ordering::Relaxed) == BUSY {
                return None;
            }
            // Acquire: pairs with the pushes.
            let mut at = self.head.swap(BUSY, Ordering::AcqRel);
            while !at.is_null() && at != IDLE {
                // SAFETY: taken from the shared word, so ours.
                let next = unsafe { (*at).next.swap(*list, Ordering::Relaxed) };
                *list = at;
                at = next;
            }
        }
        if list.is_null() {
            return None;
        }
        // SAFETY: in our list, made by `boxed`, freed once.
        let node = unsafe { Box::from_raw(*list) };
        *list = node.next.load(Ordering::Relaxed);
        Some(node.value)
    }

    fn rest(&self) -> bool {
        // Release: pairs with the push that finds IDLE.
        self.head.compare_exchange(BUSY, IDLE, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// Dmitry Vyukov's intrusive queue, with a flag for the schedule decision.
struct Vyukov {
    head: AtomicPtr<Node>,
    tail: UnsafeCell<*mut Node>,
    scheduled: AtomicBool,
}

// SAFETY: the tail is the owner's, and ownership is handed over through `scheduled`.
unsafe impl Send for Vyukov {}
// SAFETY: as above.
unsafe impl Sync for Vyukov {}

impl Mailbox for Vyukov {
    const NAME: &'static str = "Vyukov";

    fn new() -> Self {
        let stub = Node::boxed(0);
        Vyukov { head: AtomicPtr::new(stub), tail: UnsafeCell::new(stub), scheduled: AtomicBool::new(false) }
    }

    fn push(&self, value: u64) -> bool {
        let node = Node::boxed(value);
        let before = self.head.swap(node, Ordering::AcqRel);
        // SAFETY: the consumer does not free a node whose successor it has not seen.
        unsafe { (*before).next.store(node, Ordering::Release) };
        // Between the link and the look at the flag: pairs with the fence in `rest`.
        fence(Ordering::SeqCst);
        !self.scheduled.load(Ordering::Relaxed) && !self.scheduled.swap(true, Ordering::AcqRel)
    }

    fn pop(&self) -> Option<u64> {
        // SAFETY: owner only.
        let tail = unsafe { &mut *self.tail.get() };
        // SAFETY: the tail is always a node of ours.
        let next = unsafe { (**tail).next.load(Ordering::Acquire) };
        if next.is_null() {
            return None;
        }
        // SAFETY: linked, so its producer is done with it; the old tail is freed once.
        let (value, old) = unsafe { ((*next).value, Box::from_raw(*tail)) };
        drop(old);
        *tail = next;
        Some(value)
    }

    fn rest(&self) -> bool {
        self.scheduled.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
        // SAFETY: owner only until the store above is seen; reading the tail's link races with nobody's write to it
        // but the atomic one.
        let empty = unsafe { (*(*self.tail.get())).next.load(Ordering::Acquire).is_null() };
        empty || self.scheduled.swap(true, Ordering::AcqRel)
    }
}

/// crossbeam's segmented queue, with the same flag.
struct Segmented {
    queue: SegQueue<u64>,
    scheduled: AtomicBool,
}

impl Mailbox for Segmented {
    const NAME: &'static str = "segmented";

    fn new() -> Self {
        Segmented { queue: SegQueue::new(), scheduled: AtomicBool::new(false) }
    }

    fn push(&self, value: u64) -> bool {
        self.queue.push(value);
        fence(Ordering::SeqCst);
        !self.scheduled.load(Ordering::Relaxed) && !self.scheduled.swap(true, Ordering::AcqRel)
    }

    fn pop(&self) -> Option<u64> {
        self.queue.pop()
    }

    fn rest(&self) -> bool {
        self.scheduled.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
        self.queue.is_empty() || self.scheduled.swap(true, Ordering::AcqRel)
    }
}

/// Nanoseconds per hop of two mailboxes that one thread runs in turn, as a worker does.
fn ping_pong<M: Mailbox>() -> f64 {
    const HOPS: u64 = 1_000_000;
    let pair = [M::new(), M::new()];
    let started = Instant::now();
    for hop in 0..HOPS {
        let mailbox = &pair[hop as usize % 2];
        assert!(mailbox.push(hop), "it rested");
        assert_eq!(mailbox.pop(), Some(hop));
        assert!(mailbox.pop().is_none() && mailbox.rest(), "nobody else sends");
    }
    started.elapsed().as_nanos() as f64 / HOPS as f64
}

/// Nanoseconds per message from `senders` threads to one owner.
fn flood<M: Mailbox>(senders: u64) -> f64 {
    const COUNT: u64 = 1_000_000;
    let mailbox = M::new();
    let started = Instant::now();
    std::thread::scope(|scope| {
        // The owner has it from the start and rests only at the end: what is measured is the queue.
        assert!(mailbox.push(0));
        for _ in 0..senders {
            scope.spawn(|| (0..COUNT / senders).for_each(|value| assert!(!mailbox.push(value))));
        }
        let mut left = COUNT + 1;
        while left > 0 {
            match mailbox.pop() {
                Some(_) => left -= 1,
                None => std::hint::spin_loop(),
            }
        }
    });
    started.elapsed().as_nanos() as f64 / COUNT as f64
}

/// Resident bytes of an idle mailbox that has handled one message.
fn idle<M: Mailbox>() -> f64 {
    const COUNT: usize = 200_000;
    let mut all = Vec::with_capacity(COUNT);
    let before = crate::rows::resident();
    for _ in 0..COUNT {
        let mailbox = M::new();
        mailbox.push(1);
        mailbox.pop();
        mailbox.rest();
        all.push(mailbox);
    }
    crate::rows::resident().saturating_sub(before) as f64 / COUNT as f64
}

const ROWS: [(&str, &str); 4] =
    [("idle", "B resident"), ("ping-pong", "ns/hop"), ("flood", "ns/message"), ("fan-in", "ns/message")];

type Run = fn(&str) -> f64;

const MAILBOXES: [(&str, Run); 3] =
    [(OneWord::NAME, row::<OneWord>), (Vyukov::NAME, row::<Vyukov>), (Segmented::NAME, row::<Segmented>)];

fn row<M: Mailbox>(trial: &str) -> f64 {
    match trial {
        "ping-pong" => ping_pong::<M>(),
        "flood" => flood::<M>(1),
        "fan-in" => flood::<M>(2),
        _ => idle::<M>(),
    }
}

/// One trial in this process, whose value is printed.
pub fn trial(mailbox: &str, row: &str) -> ExitCode {
    let Some((_, run)) = MAILBOXES.iter().find(|(name, _)| *name == mailbox) else {
        return ExitCode::from(2);
    };
    println!("{}", run(row));
    ExitCode::SUCCESS
}

/// The same in a process of its own: memory that one trial frees would be there for the next.
fn trial_of(mailbox: &str, row: &str) -> Option<f64> {
    let output = Command::new(std::env::current_exe().ok()?).args(["spike", mailbox, row]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Prints a table of medians over `trials` interleaved trials.
pub fn run(trials: usize) -> ExitCode {
    for (row, unit) in ROWS {
        let mut found = [const { Vec::new() }; MAILBOXES.len()];
        for _ in 0..trials {
            for ((mailbox, _), found) in MAILBOXES.iter().zip(&mut found) {
                found.extend(trial_of(mailbox, row));
            }
        }
        for ((mailbox, _), mut found) in MAILBOXES.iter().zip(found) {
            if found.len() < trials {
                eprintln!("{mailbox} {row}: {} of {trials} trials failed", trials - found.len());
                return ExitCode::FAILURE;
            }
            found.sort_by(f64::total_cmp);
            let (low, high) = (found[0], found[found.len() - 1]);
            println!("{row:10} {mailbox:14} {:8.1} {unit}  [{low:.1} … {high:.1}]", found[found.len() / 2]);
        }
    }
    ExitCode::SUCCESS
}
