//! The mailbox: one word that senders push nodes on, and the lists the owner keeps them in.
//!
//! The word is the head of an intrusive last-in-first-out chain or one of three tags. One compare-and-swap by the
//! sender enqueues, learns whether the actor must be scheduled, and learns whether it is gone; the owner takes the
//! whole chain with one swap and reverses it. (The inbox of the C++ Actor Framework, `libcaf_core`
//! `caf/intrusive/lifo_inbox.hpp`; numbers in `docs/adr`.)
//!
//! Invariant of the unsafe code: a [`Header`] is the first field of a [`Packet`] whose body is told by `kind` and, for
//! messages, by the `M` of the mailbox it is in. A node is owned by exactly one party: its creator, the chain it was
//! pushed on, or the lists of the mailbox's owner.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::command::Command;
use crate::envelope::Extras;
use crate::id::ActorId;
use crate::pool;
use crate::sync::{AtomicPtr, Ordering};
use ipc_core::Priority;

/// Nobody runs the actor and nothing is queued: the next sender schedules it.
const IDLE: *mut Header = ptr::without_provenance_mut(1);
/// The actor is scheduled or runs; nothing is queued since the owner last looked.
const BUSY: *mut Header = ptr::without_provenance_mut(2);
/// The actor is gone.
const CLOSED: *mut Header = ptr::without_provenance_mut(3);

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
}

/// The first 24 bytes of every node.
#[repr(C)]
pub(crate) struct Header {
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
    #[inline]
    pub(crate) fn open(self) -> Content<M> {
        // SAFETY: the node is owned and initialised.
        let Header { tag, kind, .. } = unsafe { self.header.read() };
        match kind {
            Kind::Message => Content::Message { sender: ActorId::from_number(tag), message: self.body() },
            Kind::Unstashed => Content::Unstashed { message: self.body() },
            Kind::Parcel => Content::Parcel { sender: ActorId::from_number(tag), parcel: self.body() },
            Kind::Reply => Content::Reply { correlation: tag, message: self.body() },
            Kind::Command => Content::Command(self.body()),
        }
    }

    #[inline]
    fn body<T>(self) -> T {
        let packet = self.header.cast::<Packet<T>>();
        // SAFETY: `open` chose `T` by the kind that `new` stored with a body of that type, and owns the node.
        let Packet { body, .. } = unsafe { packet.read() };
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
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return Err(node);
            }
            let next = if head == IDLE || head == BUSY { ptr::null_mut() } else { head };
            // SAFETY: the node is ours until the exchange below succeeds.
            unsafe { (*new).next = next };
            // AcqRel: the Release publishes the node to the swap in `grab`; the Acquire makes a sender that found
            // IDLE carry what the last owner wrote (Release in `rest`) to the worker that runs the actor next.
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(if head == IDLE { Push::Woke } else { Push::Queued }),
                Err(now) => head = now,
            }
        }
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

/// Nodes in the order they will be handled, one list per priority, owned by the actor.
///
/// Each list is circular and known by its last node, whose `next` is the first: one word per priority.
pub(crate) struct Lists<M> {
    tails: [*mut Header; 4],
    marker: PhantomData<M>,
}

// SAFETY: the nodes are owned and their messages are `Send`.
unsafe impl<M: Send> Send for Lists<M> {}

impl<M> Lists<M> {
    pub(crate) const fn new() -> Self {
        Lists { tails: [ptr::null_mut(); 4], marker: PhantomData }
    }

    /// Appends one node, which is ours.
    #[inline]
    fn put_back(&mut self, node: *mut Header, priority: Priority) {
        let tail = &mut self.tails[priority as usize];
        let front = if tail.is_null() {
            node
        } else {
            // SAFETY: a node in our list.
            std::mem::replace(unsafe { &mut (**tail).next }, node)
        };
        // SAFETY: the caller's node.
        unsafe { (*node).next = front };
        *tail = node;
    }

    /// Appends a chain, newest first.
    fn append(&mut self, chain: *mut Header) {
        // The usual case, one message, without the general one's lists.
        // SAFETY: the chain was taken by the owner, so its nodes are ours alone.
        if !chain.is_null() && unsafe { (*chain).next.is_null() } {
            // SAFETY: as above.
            let priority = unsafe { (*chain).priority };
            return self.put_back(chain, priority);
        }
        // (first, last) of the reversed chain of each priority.
        let mut turned = [(ptr::null_mut::<Header>(), ptr::null_mut::<Header>()); 4];
        let mut at = chain;
        while !at.is_null() {
            // SAFETY: the chain was taken by the owner, so its nodes are ours alone.
            let node = unsafe { &mut *at };
            let (first, last) = &mut turned[node.priority as usize];
            let next = std::mem::replace(&mut node.next, *first);
            if last.is_null() {
                *last = at;
            }
            *first = at;
            at = next;
        }
        for (tail, (first, last)) in self.tails.iter_mut().zip(turned) {
            if last.is_null() {
                continue;
            }
            let front = if tail.is_null() {
                first
            } else {
                // SAFETY: a node in our list.
                std::mem::replace(unsafe { &mut (**tail).next }, first)
            };
            // SAFETY: a node of the chain, ours.
            unsafe { (*last).next = front };
            *tail = last;
        }
    }

    /// Puts messages before everything queued with the same priority, in their order.
    pub(crate) fn prepend(&mut self, messages: impl DoubleEndedIterator<Item = M>)
    where
        M: ipc_core::Message,
    {
        for message in messages.rev() {
            let priority = message.priority();
            self.put_front(Node::new(Kind::Unstashed, priority, 0, message), priority);
        }
    }

    fn put_front(&mut self, node: Node<M>, priority: Priority) {
        let node = node.header.as_ptr();
        let tail = &mut self.tails[priority as usize];
        if tail.is_null() {
            *tail = node;
            // SAFETY: the new node is ours.
            unsafe { (*node).next = node };
            return;
        }
        // SAFETY: a node in our list.
        let front = unsafe { (**tail).next };
        // SAFETY: the new node is ours.
        unsafe { (*node).next = front };
        // SAFETY: a node in our list.
        unsafe { (**tail).next = node };
    }

    /// Takes out everything but the runtime's commands, which stay in their order.
    pub(crate) fn take_messages(&mut self, mut give: impl FnMut(Content<M>)) {
        let mut commands = Vec::new();
        while let Some(node) = self.pop() {
            // SAFETY: the node is owned and initialised.
            let Header { kind, priority, .. } = unsafe { node.header.read() };
            match kind {
                Kind::Command => commands.push((node, priority)),
                _ => give(node.open()),
            }
        }
        for (node, priority) in commands.into_iter().rev() {
            self.put_front(node, priority);
        }
    }

    /// The next node: the most urgent, and among those the oldest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Node<M>> {
        for tail in self.tails.iter_mut().rev() {
            let Some(last) = NonNull::new(*tail) else { continue };
            // SAFETY: a node in our list.
            let first = unsafe { (*last.as_ptr()).next };
            if first == last.as_ptr() {
                *tail = ptr::null_mut();
            } else {
                // SAFETY: the first node of our list.
                let second = unsafe { (*first).next };
                // SAFETY: a node in our list.
                unsafe { (*last.as_ptr()).next = second };
            }
            return NonNull::new(first).map(|header| Node { header, marker: PhantomData });
        }
        None
    }
}

impl<M> Drop for Lists<M> {
    fn drop(&mut self) {
        while let Some(node) = self.pop() {
            drop(node.open());
        }
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
        std::iter::from_fn(|| lists.pop())
            .map(|node| match node.open() {
                Content::Message { message, .. } => message,
                _ => panic!("a message was pushed"),
            })
            .collect()
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
