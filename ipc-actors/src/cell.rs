//! The memory of an actor: what senders touch, what the owner touches, and the pointers to it.
//!
//! Invariant of the unsafe code: a [`Core`] is the first field of a [`Cell`] of the actor type whose table of functions
//! it names. It is freed when the last [`AnyAddr`] goes; a live actor is held by one in the system's table. The owner's
//! half is touched by whoever has the actor's only [`Task`], which exists from the push that found the mailbox idle
//! (or from the spawn) until the owner rests; a terminated actor has none and gets none, because its mailbox is closed.
#![allow(unsafe_code)]

use std::any::TypeId;
use std::cell::UnsafeCell;
use std::fmt;
#[cfg(not(loom))]
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32};

use crate::actor::Actor;
use crate::addr::Addr;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::id::ActorId;
use crate::inbox::{Content, Inbox, Node, Push};
use crate::local;
use crate::mailbox::Limits;
use crate::pool;
use crate::run::{self, Step};
use crate::status::{Status, control};
use crate::sync;
use crate::sync::{Ordering, fence};
use crate::system::Inner;
use crate::turn::Turn;
use ipc_core::Priority;

/// What is the same for actors of every type.
#[repr(C)]
pub(crate) struct Core {
    pub(crate) inbox: Inbox,
    /// Messages in a bounded mailbox; stays 0 in an unbounded one, which does not pay for counting.
    pub(crate) queued: AtomicU32,
    refs: References,
    pub(crate) id: ActorId,
    table: &'static Functions,
    pub(crate) system: Arc<Inner>,
    pub(crate) limits: Limits,
    pub(crate) status: Status,
}

// All that a sender reads is in the line that it writes. The second line senders do not write, so the owner reads its part of
// the status from its own cache.
#[cfg(not(loom))]
const _: () = assert!(offset_of!(Core, limits) + size_of::<Limits>() <= 64);
#[cfg(not(loom))]
const _: () = assert!(offset_of!(Core, status) + Status::OWN == 64);

/// How many addresses refer to an actor.
pub(crate) struct References(sync::AtomicU32);

impl References {
    pub(crate) fn new(count: u32) -> Self {
        References(sync::AtomicU32::new(count))
    }

    /// Counts one more.
    pub(crate) fn retain(&self) {
        // Relaxed: a new reference is made from one that keeps the cell alive, as in `Arc`.
        if self.0.fetch_add(1, Ordering::Relaxed) > u32::MAX / 2 {
            // Two thousand million leaked addresses: going on would free memory in use.
            std::process::abort();
        }
    }

    /// Counts `count` less; true: none is left, and the cell is to be destroyed.
    #[must_use]
    pub(crate) fn give_up(&self, count: u32) -> bool {
        // Release: what the holders of these references did comes before the cell is destroyed.
        if self.0.fetch_sub(count, Ordering::Release) != count {
            return false;
        }
        // Acquire: pairs with the Release of every other reference's end.
        fence(Ordering::Acquire);
        true
    }
}

/// What depends on the actor's type.
struct Functions {
    run: unsafe fn(NonNull<Core>, &mut Turn) -> Step,
    destroy: unsafe fn(NonNull<Core>),
    actor: fn() -> TypeId,
    actor_name: fn() -> &'static str,
    message_type: &'static str,
    /// Whether such a cell's tasks go to a thread of its own. Here, because every sender that wakes an actor reads it:
    /// a line that nobody writes.
    dedicated: bool,
}

#[repr(C, align(64))]
pub(crate) struct Cell<A: Actor> {
    core: Core,
    owner: UnsafeCell<Owner<A>>,
}

struct Owner<A: Actor> {
    ctx: Ctx<A>,
    actor: Option<A>,
}

/// Bytes that one idle actor of this type takes in the pool.
pub(crate) const fn footprint<A: Actor>() -> usize {
    pool::footprint(std::alloc::Layout::new::<Cell<A>>())
}

impl<A: Actor> Cell<A> {
    const FUNCTIONS: &'static Functions = &Self::functions(false);
    const DEDICATED: &'static Functions = &Self::functions(true);

    const fn functions(dedicated: bool) -> Functions {
        Functions {
            run: run_cell::<A>,
            destroy: destroy::<A>,
            actor: TypeId::of::<A>,
            actor_name: std::any::type_name::<A>,
            message_type: <A::Msg as ipc_core::Message>::MESSAGE_TYPE,
            dedicated,
        }
    }
}

/// A new cell, scheduled by the caller: the first of its tasks and two references to it, one for the system's table.
pub(crate) fn create<A: Actor>(
    id: ActorId,
    system: Arc<Inner>,
    limits: Limits,
    child: bool,
    dedicated: bool,
    actor: Option<A>,
    prepare: impl FnOnce(&mut Ctx<A>),
) -> (Task, Addr<A>, AnyAddr) {
    let cell = pool::alloc::<Cell<A>>();
    let me = Me(cell);
    let mut ctx = Ctx::new(me);
    prepare(&mut ctx);
    let core = Core {
        inbox: Inbox::busy(),
        queued: AtomicU32::new(0),
        refs: References::new(2),
        id,
        table: if dedicated { Cell::<A>::DEDICATED } else { Cell::<A>::FUNCTIONS },
        system,
        limits,
        status: Status::new(child),
    };
    // SAFETY: `alloc` returned memory for exactly this type.
    unsafe { cell.write(Cell { core, owner: UnsafeCell::new(Owner { ctx, actor }) }) };
    let addr = Addr::from_any(AnyAddr(cell.cast()));
    (Task(cell.cast()), addr, AnyAddr(cell.cast()))
}

/// # Safety
/// The core is that of a `Cell<A>`, and the caller has its task.
unsafe fn run_cell<A: Actor>(core: NonNull<Core>, turn: &mut Turn) -> Step {
    // SAFETY: the caller's promise.
    let cell = unsafe { core.cast::<Cell<A>>().as_ref() };
    // SAFETY: whoever has the task is the only one in the owner's half.
    let owner = unsafe { &mut *cell.owner.get() };
    run::run(&cell.core, &mut owner.actor, &mut owner.ctx, turn)
}

/// # Safety
/// The core is that of a `Cell<A>`, and nobody refers to it any more.
unsafe fn destroy<A: Actor>(core: NonNull<Core>) {
    let cell = core.cast::<Cell<A>>();
    // SAFETY: the caller's promise.
    unsafe { ptr::drop_in_place(cell.as_ptr()) };
    // SAFETY: from `alloc` in `create`, dropped above.
    unsafe { pool::free(cell) };
}

/// How an actor's context finds the cell it lies in.
pub(crate) struct Me<A: Actor>(NonNull<Cell<A>>);

// SAFETY: a context goes where its cell goes.
unsafe impl<A: Actor> Send for Me<A> {}

impl<A: Actor> Deref for Me<A> {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        // SAFETY: the context that has this lies in the cell, so the cell is there; cores are shared.
        unsafe { self.0.cast::<Core>().as_ref() }
    }
}

impl<A: Actor> Me<A> {
    /// A reference to the actor, counted.
    pub(crate) fn addr(&self) -> Addr<A> {
        self.retain();
        Addr::from_any(AnyAddr(self.0.cast()))
    }

    /// The same, one that came back with an answer if there is one.
    #[inline]
    pub(crate) fn addr_for_reply(&self, returned: &mut Returned) -> Addr<A> {
        match returned.0.checked_sub(1) {
            Some(left) => returned.0 = left,
            None => self.retain(),
        }
        Addr::from_any(AnyAddr(self.0.cast()))
    }

    /// Gives up the references that came back. For an actor that is over and still in the system's table, whose
    /// reference is therefore not among them.
    pub(crate) fn give_up(&self, returned: &mut Returned) {
        let last = self.refs.give_up(std::mem::take(&mut returned.0));
        debug_assert!(!last, "the table's is left");
    }
}

/// References of an actor to itself that came back in answers. They stay counted in `refs`, so that an actor that asks
/// one question after the other changes that word only with the first.
#[derive(Default)]
pub(crate) struct Returned(u32);

impl Returned {
    /// An answer was taken out of the mailbox: the reference that came with it is here now.
    #[inline]
    pub(crate) fn add(&mut self) {
        self.0 += 1;
    }
}

impl Core {
    fn retain(&self) {
        self.refs.retain();
    }

    /// References to the actor, for tests of what keeps its memory.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn references(&self) -> u32 {
        self.refs.0.load(Ordering::Acquire)
    }

    /// Messages queued, where the mailbox counts them.
    pub(crate) fn queued(&self) -> u32 {
        // Relaxed: a sample.
        self.queued.load(Ordering::Relaxed)
    }

    /// Name of the actor's type.
    pub(crate) fn actor_name(&self) -> &'static str {
        (self.table.actor_name)()
    }

    /// Whether it has a thread of its own.
    #[inline]
    pub(crate) fn is_dedicated(&self) -> bool {
        self.table.dedicated
    }

    /// Name of its messages' type.
    pub(crate) fn message_type(&self) -> &'static str {
        self.table.message_type
    }
}

/// An address of an actor whose type is not known here. Like every address it keeps the actor's memory, not the actor.
pub struct AnyAddr(NonNull<Core>);

// SAFETY: a core is made to be shared between threads; the owner's half is reached through tasks only.
unsafe impl Send for AnyAddr {}
// SAFETY: as above.
unsafe impl Sync for AnyAddr {}

impl Clone for AnyAddr {
    fn clone(&self) -> Self {
        self.core().retain();
        AnyAddr(self.0)
    }
}

impl Drop for AnyAddr {
    fn drop(&mut self) {
        if self.core().refs.give_up(1) {
            let destroy = self.core().table.destroy;
            // SAFETY: it was the last reference.
            unsafe { destroy(self.0) };
        }
    }
}

impl PartialEq for AnyAddr {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for AnyAddr {}

impl fmt::Debug for AnyAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyAddr({})", self.core().id)
    }
}

impl AnyAddr {
    #[inline]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: this reference keeps the cell alive.
        unsafe { self.0.as_ref() }
    }

    /// Fetches the line that a send writes. What a send reads first is in the same line: without this the line would
    /// come twice from the CPU of the owner, to be read and to be written.
    #[inline]
    pub(crate) fn fetch(&self) {
        pool::fetch(self.0.as_ptr().cast());
    }

    /// Whether it is an `A`.
    pub(crate) fn is<A: Actor>(&self) -> bool {
        (self.core().table.actor)() == TypeId::of::<A>()
    }

    pub(crate) fn into_raw(self) -> NonNull<()> {
        std::mem::ManuallyDrop::new(self).0.cast()
    }

    /// # Safety
    /// `raw` is from [`into_raw`](Self::into_raw), once.
    pub(crate) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        AnyAddr(raw.cast())
    }

    /// Queues a command, or gives it back: the actor is gone.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.command_at(Priority::Normal, command)
    }

    /// The same before what is queued.
    pub(crate) fn urgent_command(&self, command: Command) -> Result<(), Command> {
        self.command_at(Priority::Critical, command)?;
        self.core().status.request(control::URGENT);
        Ok(())
    }

    fn command_at(&self, priority: Priority, command: Command) -> Result<(), Command> {
        let node = Node::<()>::command(command, priority);
        // SAFETY: a command.
        match unsafe { self.core().inbox.push(node) } {
            Ok(push) => {
                self.pushed(push);
                Ok(())
            }
            Err(node) => match node.open() {
                Content::Command(command) => Err(command),
                _ => unreachable!("it was a command when it was pushed"),
            },
        }
    }

    #[inline]
    fn pushed(&self, push: Push) {
        if push == Push::Woke {
            self.core().system.schedule(Task(self.0));
        }
    }
}

impl<A: Actor> Addr<A> {
    pub(crate) fn into_raw(self) -> NonNull<()> {
        self.into_any().into_raw()
    }

    /// # Safety
    /// `raw` is from [`into_raw`](Self::into_raw) of an address of the same type, once.
    pub(crate) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        // SAFETY: the caller's promise.
        Addr::from_any(unsafe { AnyAddr::from_raw(raw) })
    }

    /// Queues `node`, or gives it back: the actor is gone.
    #[inline]
    pub(crate) fn push(&self, node: Node<A::Msg>) -> Result<(), Node<A::Msg>> {
        if local::current_actor().is_some() && self.any().core().inbox.claim() {
            self.hand_over(node);
            return Ok(());
        }
        // SAFETY: an `Addr<A>` refers to a `Cell<A>`, whose lists are of `A::Msg`.
        let push = unsafe { self.any().core().inbox.push(node) }?;
        self.any().pushed(push);
        Ok(())
    }

    /// Queues a message of normal priority, or gives it back: the actor is gone.
    #[inline]
    pub(crate) fn push_message(&self, message: A::Msg, sender: Option<ActorId>) -> Result<(), A::Msg> {
        if local::current_actor().is_some() && self.any().core().inbox.claim() {
            self.hand_over(Node::message(message, Priority::Normal, sender));
            return Ok(());
        }
        // SAFETY: as in `push`.
        let push = unsafe { self.any().core().inbox.tell(message, sender) }?;
        self.any().pushed(push);
        Ok(())
    }

    /// Gives the actor, whose inbox the caller has claimed, this node and a turn.
    #[inline]
    fn hand_over(&self, node: Node<A::Msg>) {
        let core = self.any().0;
        // SAFETY: an `Addr<A>` refers to a `Cell<A>` and keeps it alive.
        let owner = unsafe { core.cast::<Cell<A>>().as_ref() }.owner.get();
        // SAFETY: who claims an inbox has the actor's task, so nobody else is in the owner's half.
        unsafe { &mut (*owner).ctx.lists }.put(node);
        self.any().pushed(Push::Woke);
    }
}

/// The right, and the duty, to run an actor. There is at most one per actor.
pub(crate) struct Task(NonNull<Core>);

// SAFETY: a task is the exclusive right to the owner's half, and actors are `Send`.
unsafe impl Send for Task {}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({})", self.core().id)
    }
}

impl Task {
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: a scheduled actor is alive and the system's table holds a reference to it.
        unsafe { self.0.as_ref() }
    }

    /// Runs the actor until it has nothing to do, its turn is over (then it must be scheduled again: the task is
    /// returned), or it is over.
    #[inline]
    pub(crate) fn run(self, turn: &mut Turn) -> Option<Task> {
        let id = self.core().id;
        let run = self.core().table.run;
        loop {
            // SAFETY: the function of the cell's own table, and this is its task.
            match local::as_actor(id, || unsafe { run(self.0, turn) }) {
                Step::Drained => {
                    // From the moment this succeeds another thread may run the actor to its end and free it, so
                    // nothing here refers to it across the call but the word itself.
                    if self.core().inbox.rest() {
                        return None;
                    }
                }
                Step::Again => return Some(self),
                Step::Muted => {
                    let system = self.core().system.clone();
                    system.rest(self);
                    return None;
                }
                Step::Gone => {
                    let system = self.core().system.clone();
                    if self.core().is_dedicated() {
                        // Before the system may believe that all is over, and join the thread.
                        system.dedicated.dismiss(id);
                    }
                    system.forget(id);
                    return None;
                }
            }
        }
    }
}

/// A place for one task that every thread can reach: a worker's next.
#[derive(Debug)]
pub(crate) struct TaskSlot(AtomicPtr<Core>);

impl TaskSlot {
    pub(crate) const fn new() -> Self {
        TaskSlot(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts `task` in; what was there comes out. One thread puts at a time, after what another put was taken.
    #[inline]
    pub(crate) fn put(&self, task: Task) -> Option<Task> {
        if self.is_empty() {
            // Nobody else fills it, so it still is. Release: as below.
            self.0.store(task.0.as_ptr(), Ordering::Release);
            return None;
        }
        // AcqRel: whoever takes a task sees what its last holder did to the actor.
        NonNull::new(self.0.swap(task.0.as_ptr(), Ordering::AcqRel)).map(Task)
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Task> {
        if self.is_empty() {
            return None;
        }
        // AcqRel: as in `put`.
        NonNull::new(self.0.swap(ptr::null_mut(), Ordering::AcqRel)).map(Task)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: a hint; `take` acquires.
        self.0.load(Ordering::Relaxed).is_null()
    }
}
