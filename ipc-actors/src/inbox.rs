//! The mailbox: one word that senders push nodes on, and the lists the owner keeps them in.
//!
//! The word is the head of an intrusive last-in-first-out chain or one of three tags. One compare-and-swap by the
//! sender enqueues, learns whether the actor must be scheduled, and learns whether it is gone; the owner takes the
//! whole chain with one swap and reverses it. (The inbox of the C++ Actor Framework, `libcaf_core`
//! `caf/intrusive/lifo_inbox.hpp`; numbers in `docs/adr`.)
//!
//! When something is queued already, messages go side by side into batches (`inbox/batch.rs`): the low bits of the word, which
//! the alignment of nodes leaves free, say how many places of the batch it points to are given out.
//!
//! Invariant of the unsafe code: a [`Header`] is the first field of a [`Packet`] whose body is told by `kind` and, for
//! messages, by the `M` of the mailbox it is in. A node is owned by exactly one party: its creator, the chain it was
//! pushed on, or the lists of the mailbox's owner.
#![allow(unsafe_code)]

mod batch;
mod lists;

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::command::Command;
use crate::envelope::Extras;
use crate::id::ActorId;
use crate::pool;
use crate::sync::{AtomicPtr, Ordering};
use batch::Batch;
use ipc_core::Priority;
pub(crate) use lists::{Lists, Popped};

/// Nobody runs the actor and nothing is queued: the next sender schedules it.
const IDLE: *mut Header = ptr::without_provenance_mut(1);
/// The actor is scheduled or runs; nothing is queued since the owner last looked.
const BUSY: *mut Header = ptr::without_provenance_mut(2);
/// The actor is gone.
const CLOSED: *mut Header = ptr::without_provenance_mut(3);

/// The bits of the word that count the places given out of a batch; 0: it points to a node.
const COUNT: usize = 63;

fn is_tag(word: *mut Header) -> bool {
    word.addr() <= CLOSED.addr()
}

/// What the word points to, and how many places of it are given out.
#[inline]
fn parts(word: *mut Header) -> (*mut Header, usize) {
    (word.map_addr(|address| address & !COUNT), word.addr() & COUNT)
}

/// How many places of a batch with this tag were given out, and how many of them are empty again.
#[inline]
fn places(tag: u64) -> (usize, usize) {
    (tag as u32 as usize, (tag >> 32) as usize)
}

/// What the body of a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    /// `M`; `tag` is the sender.
    Message,
    /// `M`, put aside by the actor before and handled now.
    Unstashed,
    /// `Parcel<M>`; `tag` is the sender.
    Parcel,
    /// `M`, made of a reply; `tag` is the correlation.
    Reply,
    /// `Command`.
    Command,
    /// A batch of messages; `tag` is how many it has, and above that how many are taken out.
    Batch,
}

/// The first 24 bytes of every node.
#[repr(C)]
pub(crate) struct Header {
    /// The word that was the inbox's before, null for a tag; in a list the next node.
    next: *mut Header,
    tag: u64,
    kind: Kind,
    priority: Priority,
}

#[repr(C)]
struct Packet<T> {
    header: Header,
    body: T,
}

/// A message with an envelope.
pub(crate) struct Parcel<M> {
    pub(crate) extras: Extras,
    pub(crate) message: M,
}

// A message of 40 bytes shares one cache line with its header.
const _: () = assert!(size_of::<Header>() == 24 && size_of::<Packet<[u64; 5]>>() == 64);

/// A node for a mailbox of `M`, owned.
pub(crate) struct Node<M> {
    header: NonNull<Header>,
    marker: PhantomData<M>,
}

/// What an opened node holds.
pub(crate) enum Content<M> {
    Message { sender: Option<ActorId>, message: M },
    Unstashed { message: M },
    Parcel { sender: Option<ActorId>, parcel: Parcel<M> },
    Reply { correlation: u64, message: M },
    Command(Command),
}

impl<M> Node<M> {
    #[inline]
    fn new<T>(kind: Kind, priority: Priority, tag: u64, body: T) -> Self {
        let packet = pool::alloc::<Packet<T>>();
        let header = Header { next: ptr::null_mut(), tag, kind, priority };
        // SAFETY: `alloc` returned memory for exactly this type.
        unsafe { packet.write(Packet { header, body }) };
        Node { header: packet.cast(), marker: PhantomData }
    }

    /// A message from `sender`.
    #[inline]
    pub(crate) fn message(message: M, priority: Priority, sender: Option<ActorId>) -> Self {
        Node::new(Kind::Message, priority, ActorId::number_of(sender), message)
    }

    /// A message of normal priority, in a batch that begins with it.
    fn batch(message: M, sender: Option<ActorId>) -> Self {
        let header = Header { next: ptr::null_mut(), tag: 1, kind: Kind::Batch, priority: Priority::Normal };
        let batch = Batch::new(header, ActorId::number_of(sender), message);
        Node { header: batch.header(), marker: PhantomData }
    }

    /// What the inbox's word is when this is the newest node.
    #[inline]
    fn word(&self) -> *mut Header {
        // SAFETY: the node is owned and initialised.
        let Header { tag, kind, .. } = unsafe { self.header.read() };
        let count = if kind == Kind::Batch { tag as usize } else { 0 };
        self.header.as_ptr().map_addr(|address| address | count)
    }

    /// A message in an envelope.
    pub(crate) fn parcel(parcel: Parcel<M>, priority: Priority, sender: Option<ActorId>) -> Self {
        Node::new(Kind::Parcel, priority, ActorId::number_of(sender), parcel)
    }

    /// What `correlation` was waiting for.
    #[inline]
    pub(crate) fn reply(message: M, priority: Priority, correlation: u64) -> Self {
        Node::new(Kind::Reply, priority, correlation, message)
    }

    /// A command of the runtime.
    pub(crate) fn command(command: Command, priority: Priority) -> Self {
        Node::new(Kind::Command, priority, 0, command)
    }

    /// Moves the body out and frees the node.
    // Always inline: the owner's loop takes what it needs out of the node instead of having a `Content` made in memory.
    #[inline(always)]
    pub(crate) fn open(self) -> Content<M> {
        // SAFETY: the node is owned and initialised.
        let Header { tag, kind, .. } = unsafe { self.header.read() };
        match kind {
            Kind::Message => Content::Message { sender: ActorId::from_number(tag), message: self.body() },
            Kind::Unstashed => Content::Unstashed { message: self.body() },
            Kind::Parcel => Content::Parcel { sender: ActorId::from_number(tag), parcel: self.body() },
            Kind::Reply => Content::Reply { correlation: tag, message: self.body() },
            Kind::Command => Content::Command(self.body()),
            Kind::Batch => {
                let (sender, message) = self.next_of_batch(tag);
                Content::Message { sender: ActorId::from_number(sender), message }
            }
        }
    }

    /// The next message of a batch with this tag. The last one frees it.
    #[inline(always)]
    fn next_of_batch(self, tag: u64) -> (u64, M) {
        let (given, taken) = places(tag);
        // SAFETY: the kind says that it is a batch, and it is one of `M`.
        let batch = unsafe { Batch::<M>::at(self.header) };
        // SAFETY: whoever has the node owns the batch, and this is the first of its places that is not empty. It is
        // written: by `new`, or `pop` has looked.
        let content = unsafe { batch.take(taken) };
        if taken + 1 == given {
            // SAFETY: the last place was taken.
            unsafe { batch.free() };
        } else {
            // SAFETY: the node is owned and initialised.
            unsafe { (*self.header.as_ptr()).tag = tag + (1 << 32) };
        }
        content
    }

    /// The message that was to be sent.
    pub(crate) fn into_message(self) -> M {
        match self.open() {
            Content::Message { message, .. } | Content::Parcel { parcel: Parcel { message, .. }, .. } => {
                message
            }
            _ => unreachable!("it was a message when it was pushed"),
        }
    }

    #[inline(always)]
    fn body<T>(self) -> T {
        let packet = self.header.cast::<Packet<T>>();
        // SAFETY: `open` chose `T` by the kind that `new` stored with a body of that type, and owns the node.
        let body = unsafe { &raw const (*packet.as_ptr()).body };
        // SAFETY: as above; the body is moved out here, and the node is freed without it.
        let body = unsafe { body.read() };
        // SAFETY: from `alloc::<Packet<T>>` in `new`; moved out above.
        unsafe { pool::free(packet) };
        body
    }
}

/// What became of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Push {
    /// It is queued; the actor is scheduled already.
    Queued,
    /// It is queued, and the caller schedules the actor.
    Woke,
}

/// The word.
pub(crate) struct Inbox {
    head: AtomicPtr<Header>,
}

// SAFETY: nodes travel between threads as the messages in them do, and messages are `Send`.
unsafe impl Send for Inbox {}
// SAFETY: senders share nothing but the atomic word; the chain behind it belongs to whoever took it.
unsafe impl Sync for Inbox {}

impl Inbox {
    /// The inbox of an actor whose creator schedules it.
    pub(crate) fn busy() -> Self {
        Inbox { head: AtomicPtr::new(BUSY) }
    }

    /// Queues `node`, or gives it back: the actor is gone.
    ///
    /// # Safety
    /// The owner of this inbox keeps its nodes in `Lists<M>` with this same `M`, or `node` is a command.
    #[inline]
    pub(crate) unsafe fn push<M>(&self, node: Node<M>) -> Result<Push, Node<M>> {
        let new = node.header.as_ptr();
        let word = node.word();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return Err(node);
            }
            let next = if is_tag(head) { ptr::null_mut() } else { head };
            // SAFETY: the node is ours until the exchange below succeeds.
            unsafe { (*new).next = next };
            // AcqRel: the Release publishes the node to the swap in `grab`; the Acquire makes a sender that found
            // IDLE carry what the last owner wrote (Release in `rest`) to the worker that runs the actor next.
            match self.head.compare_exchange_weak(head, word, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(if head == IDLE { Push::Woke } else { Push::Queued }),
                Err(now) => head = self.after_a_lost_race(now),
            }
        }
    }

    /// Queues a message of normal priority, beside others when there are some, or gives it back: the actor is gone.
    ///
    /// # Safety
    /// The owner of this inbox keeps its nodes in `Lists<M>` with this same `M`.
    #[inline]
    pub(crate) unsafe fn tell<M>(&self, message: M, sender: Option<ActorId>) -> Result<Push, M> {
        let mut head = self.head.load(Ordering::Relaxed);
        let node = loop {
            if is_tag(head) || Batch::<M>::PLACES == 0 {
                break Node::message(message, Priority::Normal, sender);
            }
            let (newest, given) = parts(head);
            if given == 0 || given == Batch::<M>::PLACES {
                break Node::batch(message, sender);
            }
            let next = head.map_addr(|word| word + 1);
            // AcqRel: the Acquire makes the flags of the batch, put down before it was pushed, come before this
            // sender's; the Release keeps what other senders released in this word visible to `grab`.
            match self.head.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    let Some(newest) = NonNull::new(newest) else { unreachable!("it is no tag") };
                    // SAFETY: something with places given out is a batch, and batches here are of `M`.
                    let batch = unsafe { Batch::<M>::at(newest) };
                    // SAFETY: the exchange gave this place out.
                    unsafe { batch.fill(given, ActorId::number_of(sender), message) };
                    return Ok(Push::Queued);
                }
                Err(now) => head = self.after_a_lost_race(now),
            }
        };
        // SAFETY: the caller's promise.
        unsafe { self.push(node) }.map_err(Node::into_message)
    }

    /// The word, for a sender that wanted to change it and found it to be `now`. When another sender was faster it steps back
    /// first: senders as fast as each other would fetch the word, and the batch behind it, from each other's CPU with every
    /// message. So the other one sends a few dozen in the meantime, with the lines in its cache. (Eight actors on two workers
    /// that tell one: 10 M/s without, 15 with it; 20 of these instructions 13, 200 of them 15.)
    #[cold]
    fn after_a_lost_race(&self, now: *mut Header) -> *mut Header {
        // About 1 µs on a Xeon of 2023; a model has no use for it.
        const PAUSES: u32 = if cfg!(loom) { 0 } else { 64 };
        if is_tag(now) {
            // The owner was it, who comes less often.
            return now;
        }
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        self.head.load(Ordering::Relaxed)
    }

    /// Makes the caller the owner of an actor that rests; false: it does not rest. The new owner puts what it has for
    /// the actor into the lists and schedules it.
    ///
    /// A sender that runs beside the actor anyway does this instead of a push: it spares the owner's swap in `grab`.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        // Acquire: pairs with the Release in `rest`, as that of a push that finds IDLE.
        self.head.load(Ordering::Relaxed) == IDLE
            && self.head.compare_exchange(IDLE, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Whether something arrived since the owner last grabbed. Owner only.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        // Relaxed: `grab` acquires.
        self.head.load(Ordering::Relaxed) != BUSY
    }

    /// Takes everything that arrived; false: nothing had. Owner only, before `close`.
    #[inline]
    pub(crate) fn grab<M>(&self, lists: &mut Lists<M>) -> bool {
        if !self.has_news() {
            return false;
        }
        // Acquire: pairs with the Release of each push in the chain. While the owner runs, the word is BUSY or a
        // chain, so the swap cannot overwrite another tag.
        let chain = self.head.swap(BUSY, Ordering::AcqRel);
        lists.append(chain);
        true
    }

    /// Declares the owner done; true: it is no longer the owner and must not touch the actor again. False: something
    /// arrived in between. Owner only.
    #[inline]
    pub(crate) fn rest(&self) -> bool {
        // Release: pairs with the Acquire of the push that finds IDLE.
        self.head.compare_exchange(BUSY, IDLE, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Refuses all pushes from now on and takes what was queued. Owner only.
    pub(crate) fn close<M>(&self, lists: &mut Lists<M>) {
        // AcqRel: as in `grab`; a push that finds CLOSED touches nothing of the owner's.
        let chain = self.head.swap(CLOSED, Ordering::AcqRel);
        if chain != BUSY && chain != IDLE && chain != CLOSED {
            lists.append(chain);
        }
    }

    /// Whether the actor is gone.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: what the owner did before `close` is visible to who sees it closed.
        self.head.load(Ordering::Acquire) == CLOSED
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn push(inbox: &Inbox, message: u32, priority: Priority) -> Push {
        // SAFETY: every test of this module keeps `u32`s.
        let pushed = unsafe { inbox.push(Node::message(message, priority, None)) };
        pushed.unwrap_or_else(|_| panic!("closed"))
    }

    fn drain(lists: &mut Lists<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lists.take())
            .map(|node| match node.open() {
                Content::Message { message, .. } => message,
                _ => panic!("a message was pushed"),
            })
            .collect()
    }

    fn tell(inbox: &Inbox, message: String) -> Push {
        // SAFETY: the tests that use it keep `String`s.
        unsafe { inbox.tell(message, None) }.unwrap_or_else(|_| panic!("closed"))
    }

    fn texts(lists: &mut Lists<String>) -> Vec<String> {
        std::iter::from_fn(|| lists.take())
            .filter_map(|node| match node.open() {
                Content::Message { message, .. } => Some(message),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_backlog_of_batches_keeps_its_order_around_nodes_and_urgent_ones() {
        let (inbox, mut lists) = (Inbox::busy(), Lists::new());
        for number in 0..100 {
            assert_eq!(tell(&inbox, number.to_string()), Push::Queued);
            let node = match number % 9 {
                0 => Node::message(format!("{number} in a node"), Priority::Normal, None),
                5 => Node::<String>::command(Command::Kick, Priority::Normal),
                7 => Node::message(format!("{number} first"), Priority::High, None),
                _ => continue,
            };
            // SAFETY: of `String`s, or a command.
            assert!(unsafe { inbox.push(node) }.is_ok());
        }
        let urgent = (0..100).filter(|number| number % 9 == 7).map(|number| format!("{number} first"));
        let others = (0..100).flat_map(|number| {
            let node = (number % 9 == 0).then(|| format!("{number} in a node"));
            std::iter::once(number.to_string()).chain(node)
        });
        assert!(inbox.grab(&mut lists));
        assert_eq!(texts(&mut lists), urgent.chain(others).collect::<Vec<_>>());
        assert!(inbox.rest());
        assert_eq!(tell(&inbox, "again".into()), Push::Woke);
        inbox.close(&mut lists);
        // SAFETY: of `String`s.
        assert_eq!(unsafe { inbox.tell("late".to_owned(), None) }, Err("late".to_owned()));
        assert_eq!(texts(&mut lists), ["again"]);
    }

    #[test]
    fn batches_that_nobody_empties_are_dropped_with_what_is_in_them() {
        use std::sync::Arc;
        let (inbox, mut lists, known) = (Inbox::busy(), Lists::<Arc<()>>::new(), Arc::new(()));
        for _ in 0..50 {
            // SAFETY: `lists` is of the same type.
            assert!(unsafe { inbox.tell(known.clone(), None) }.is_ok());
        }
        inbox.close(&mut lists);
        assert_eq!(Arc::strong_count(&known), 51);
        (0..20).for_each(|_| drop(lists.take().map(Node::open)));
        drop(lists);
        assert_eq!(Arc::strong_count(&known), 1);
    }

    #[test]
    fn messages_too_large_for_a_batch_are_nodes() {
        assert_eq!((Batch::<[u8; 400]>::PLACES, Batch::<[u64; 4]>::PLACES), (0, 24));
        let (inbox, mut lists) = (Inbox::busy(), Lists::<[u8; 400]>::new());
        for number in 0..5u8 {
            // SAFETY: `lists` is of the same type.
            assert!(unsafe { inbox.tell([number; 400], None) }.is_ok());
        }
        assert!(inbox.grab(&mut lists));
        let firsts: Vec<_> = std::iter::from_fn(|| lists.take()).map(|node| node.into_message()[0]).collect();
        assert_eq!(firsts, [0u8, 1, 2, 3, 4]);
    }

    #[test]
    fn messages_come_out_in_the_order_of_their_priority_and_then_of_their_sending() {
        use Priority::{Critical, High, Low, Normal};
        let (inbox, mut lists) = (Inbox::busy(), Lists::new());
        let sent = [(1, Normal), (2, Low), (3, Critical), (4, Normal), (5, High), (6, Low), (7, Normal)];
        for (message, priority) in sent {
            assert_eq!(push(&inbox, message, priority), Push::Queued);
        }
        assert!(inbox.grab(&mut lists));
        assert_eq!(push(&inbox, 8, Normal), Push::Queued);
        assert!(inbox.grab(&mut lists));
        assert!(!inbox.grab(&mut lists));
        assert_eq!(drain(&mut lists), [3, 5, 1, 4, 7, 8, 2, 6]);
    }

    #[test]
    fn the_first_push_after_rest_wakes_and_no_other() {
        let (inbox, mut lists) = (Inbox::busy(), Lists::new());
        assert!(inbox.rest());
        assert_eq!(push(&inbox, 1, Priority::Normal), Push::Woke);
        assert_eq!(push(&inbox, 2, Priority::Normal), Push::Queued);
        assert!(!inbox.rest());
        assert!(inbox.grab(&mut lists));
        assert_eq!(drain(&mut lists), [1, 2]);
        assert!(inbox.rest());
    }

    #[test]
    fn a_closed_inbox_gives_the_node_back() {
        let (inbox, mut lists) = (Inbox::busy(), Lists::<u32>::new());
        push(&inbox, 1, Priority::Normal);
        inbox.close(&mut lists);
        assert!(inbox.is_closed());
        // SAFETY: as in `push`.
        let refused = unsafe { inbox.push(Node::message(2, Priority::Normal, None)) };
        let Err(node) = refused else { panic!("it is closed") };
        assert!(matches!(node.open(), Content::Message { message: 2, .. }));
        assert_eq!(drain(&mut lists), [1]);
    }
}
