//! What the owner of a mailbox has taken out of it, in the order it will be handled.
//!
//! Invariant of the unsafe code: the nodes in a list are owned by whoever has the list, and were made for a mailbox of
//! its `M`.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::batch::Batch;
use super::{COUNT, Content, Header, Kind, Node, parts, places};
use crate::pool;
use ipc_core::Priority;

/// Nodes in the order they will be handled, one list per priority, owned by the actor.
///
/// Each list is circular and known by its last node, whose `next` is the first: one word. That of normal priority is all
/// that most actors ever have.
pub(crate) struct Lists<M> {
    normal: *mut Header,
    /// Those of the other priorities, from the first such node on; the place of the normal one stays empty.
    others: Option<Box<[*mut Header; 4]>>,
    marker: PhantomData<M>,
}

/// Every priority, the most urgent last.
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

// SAFETY: the nodes are owned and their messages are `Send`.
unsafe impl<M: Send> Send for Lists<M> {}

impl<M> Lists<M> {
    pub(crate) const fn new() -> Self {
        Lists { normal: ptr::null_mut(), others: None, marker: PhantomData }
    }

    #[inline]
    fn tail(&mut self, priority: Priority) -> &mut *mut Header {
        if priority == Priority::Normal {
            return &mut self.normal;
        }
        &mut self.others.get_or_insert_with(|| Box::new([ptr::null_mut(); 4]))[priority as usize]
    }

    /// The priority of what is next.
    #[inline]
    fn first(&self) -> Option<Priority> {
        let has = |priority: &Priority| {
            self.others.as_ref().is_some_and(|others| !others[*priority as usize].is_null())
        };
        let urgent = [Priority::Critical, Priority::High].into_iter().find(has);
        urgent
            .or_else(|| (!self.normal.is_null()).then_some(Priority::Normal))
            .or_else(|| Some(Priority::Low).filter(has))
    }

    /// Appends one node, which is ours.
    #[inline]
    fn put_back(&mut self, node: *mut Header, priority: Priority) {
        let tail = self.tail(priority);
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

    /// Appends one node, for whoever has claimed the inbox.
    #[inline]
    pub(crate) fn put(&mut self, node: Node<M>) {
        // SAFETY: the node is owned and initialised.
        let Header { priority, .. } = unsafe { node.header.read() };
        self.put_back(node.header.as_ptr(), priority);
    }

    /// Appends a chain, newest first, given by the word that pointed to it.
    pub(super) fn append(&mut self, chain: *mut Header) {
        // The usual case, one message, without the general one's lists.
        // SAFETY: the chain was taken by the owner, so its nodes are ours alone.
        if chain.addr() & COUNT == 0 && !chain.is_null() && unsafe { (*chain).next.is_null() } {
            // SAFETY: as above.
            let priority = unsafe { (*chain).priority };
            return self.put_back(chain, priority);
        }
        // (first, last) of the reversed chain of each priority.
        let mut turned = [(ptr::null_mut::<Header>(), ptr::null_mut::<Header>()); 4];
        let mut word = chain;
        while !word.is_null() {
            let (at, given) = parts(word);
            // SAFETY: the chain was taken by the owner, so its headers are ours alone.
            let node = unsafe { &mut *at };
            if given > 0 {
                node.tag = given as u64;
            }
            let (first, last) = &mut turned[node.priority as usize];
            let next = std::mem::replace(&mut node.next, *first);
            if last.is_null() {
                *last = at;
            }
            *first = at;
            word = next;
        }
        for (priority, (first, last)) in PRIORITIES.into_iter().zip(turned) {
            if last.is_null() {
                continue;
            }
            let tail = self.tail(priority);
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
        let tail = self.tail(priority);
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
        while let Some(node) = self.take() {
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

    /// Messages in the lists, counted to `max`.
    pub(crate) fn messages(&self, max: u32) -> u32 {
        let mut count = 0;
        let others = self.others.iter().flat_map(|others| others.iter());
        for last in std::iter::once(&self.normal).chain(others).filter_map(|tail| NonNull::new(*tail)) {
            let mut node = last;
            while count < max {
                // SAFETY: a list is a circle of nodes that are ours.
                let Header { next, tag, kind, .. } = unsafe { node.read() };
                count += match kind {
                    Kind::Command => 0,
                    Kind::Batch => {
                        let (given, taken) = places(tag);
                        (given - taken) as u32
                    }
                    _ => 1,
                };
                // SAFETY: as above.
                node = unsafe { NonNull::new_unchecked(next) };
                if node == last {
                    break;
                }
            }
        }
        count.min(max)
    }

    /// What is next: the most urgent, and among those the oldest. The caller opens it before it calls again.
    #[inline]
    pub(crate) fn pop(&mut self) -> Popped<M> {
        let Some(priority) = self.first() else { return Popped::Nothing };
        let tail = self.tail(priority);
        let Some(last) = NonNull::new(*tail) else { unreachable!("it is not empty") };
        // SAFETY: a node in our list.
        let first = unsafe { (*last.as_ptr()).next };
        // SAFETY: a list is a circle.
        let first = unsafe { NonNull::new_unchecked(first) };
        // SAFETY: a node in our list.
        let Header { tag, kind, .. } = unsafe { first.read() };
        let node = Node { header: first, marker: PhantomData };
        if kind == Kind::Batch {
            let (given, taken) = places(tag);
            if taken == 0 {
                // SAFETY: a node in our list.
                let next = unsafe { (*first.as_ptr()).next };
                // What comes after this batch was written by another CPU: it is on its way while this is handled.
                pool::fetch_lines(next.cast());
            }
            // SAFETY: the kind says so, and batches in our list are of `M`.
            let batch = unsafe { Batch::<M>::at(first) };
            if !batch.is_written(taken) {
                return Popped::NotYet;
            }
            if taken + 1 < given {
                return Popped::Node(node);
            }
        }
        if first == last {
            *tail = ptr::null_mut();
        } else {
            // SAFETY: the first node of our list.
            let second = unsafe { (*first.as_ptr()).next };
            // SAFETY: a node in our list.
            unsafe { (*last.as_ptr()).next = second };
        }
        Popped::Node(node)
    }

    /// The same for an owner that does not come back later: it waits for a sender that is writing.
    pub(crate) fn take(&mut self) -> Option<Node<M>> {
        loop {
            match self.pop() {
                Popped::Node(node) => return Some(node),
                Popped::Nothing => return None,
                Popped::NotYet => crate::sync::yield_now(),
            }
        }
    }
}

/// What came out of the lists.
pub(crate) enum Popped<M> {
    Node(Node<M>),
    /// The next one is being written by its sender.
    NotYet,
    Nothing,
}

impl<M> Drop for Lists<M> {
    fn drop(&mut self) {
        while let Some(node) = self.take() {
            drop(node.open());
        }
    }
}
