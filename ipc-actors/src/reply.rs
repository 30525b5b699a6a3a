//! Answers: the token that travels in a question, and the two places an answer can go.
//!
//! A [`Reply`] is four words. For an actor's question they are its cell, its `fn` that turns the answer into one of
//! its own messages, a correlation and the code that puts the two together; the answer is an ordinary node in the
//! asker's mailbox. For a thread outside they are a pooled slot the thread waits on. Neither allocates.
//!
//! Invariant of the unsafe code: `deliver` was instantiated for the types behind `target` and `map`, and is called
//! exactly once per `Reply`, which then owns the target no more. A slot has two owners, asker and replier; each
//! announces its leaving by one swap of `state`, and whoever leaves last frees it.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::addr::Addr;
use crate::local;
use crate::pool;
use crate::sync::{AtomicU32, Ordering};

/// Why a question got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum AskError {
    /// The actor is gone.
    Closed,
    /// Its mailbox is full.
    Full,
    /// No answer came in time. A later one is dropped.
    TimedOut,
    /// The actor dropped the [`Reply`] without sending one.
    NoReply,
    /// The actor failed while it had the question.
    ActorCrashed,
    /// Asked from a worker's thread, where waiting could stop the actor that would answer. Use
    /// [`Ctx::ask`](crate::Ctx::ask).
    WouldBlockWorker,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AskError::Closed => "the actor is gone",
            AskError::Full => "the actor's mailbox is full",
            AskError::TimedOut => "no answer in time",
            AskError::NoReply => "the actor dropped the question without an answer",
            AskError::ActorCrashed => "the actor failed while it had the question",
            AskError::WouldBlockWorker => {
                "asking from a worker's thread would wait for itself; use Ctx::ask, whose answer is a message"
            }
        })
    }
}

impl std::error::Error for AskError {}

/// The right to answer one question once. Send it along, keep it for later, or drop it: the asker then learns at once
/// that there is no answer.
pub struct Reply<T> {
    target: NonNull<()>,
    map: *const (),
    correlation: u64,
    deliver: unsafe fn(Target, Result<T, AskError>),
    marker: PhantomData<fn(T)>,
}

struct Target {
    to: NonNull<()>,
    map: *const (),
    correlation: u64,
}

// SAFETY: the target is an actor's cell or a slot, both made to be reached from any thread; `T` is what travels.
unsafe impl<T: Send> Send for Reply<T> {}
// SAFETY: a shared `Reply` offers nothing.
unsafe impl<T: Send> Sync for Reply<T> {}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("correlation", &self.correlation).finish_non_exhaustive()
    }
}

impl<T> Reply<T> {
    /// Answers. There is no second answer:
    ///
    /// ```compile_fail,E0382
    /// fn twice(reply: ipc_actors::Reply<u32>) {
    ///     reply.send(1);
    ///     reply.send(2);
    /// }
    /// ```
    #[inline]
    pub fn send(self, answer: T) {
        ManuallyDrop::new(self).answer(Ok(answer));
    }

    /// Answers that there is no answer.
    pub fn fail(self, error: AskError) {
        ManuallyDrop::new(self).answer(Err(error));
    }

    /// To be called once.
    #[inline]
    fn answer(&self, answer: Result<T, AskError>) {
        let target = Target { to: self.target, map: self.map, correlation: self.correlation };
        // SAFETY: `deliver` belongs to this target, and callers call once.
        unsafe { (self.deliver)(target, answer) };
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.answer(Err(local::drop_reason()));
    }
}

/// The reply that becomes a message of `asker`.
pub(crate) fn to_actor<A: Actor, T: Send + 'static>(
    asker: Addr<A>,
    map: fn(Result<T, AskError>) -> A::Msg,
    correlation: u64,
) -> Reply<T> {
    Reply {
        target: asker.into_raw(),
        map: map as *const (),
        correlation,
        deliver: deliver_to_actor::<A, T>,
        marker: PhantomData,
    }
}

/// # Safety
/// `target` is one that [`to_actor`] made for `A` and `T`.
unsafe fn deliver_to_actor<A: Actor, T>(target: Target, answer: Result<T, AskError>) {
    // SAFETY: from `into_raw`, given up here.
    let asker = unsafe { Addr::<A>::from_raw(target.to) };
    // SAFETY: `map` was a function pointer of this type.
    let map = unsafe { std::mem::transmute::<*const (), fn(Result<T, AskError>) -> A::Msg>(target.map) };
    // A panic of the asker's function is not the replier's; the asker will see a timeout.
    if let Ok(message) = crate::panics::guard(crate::exit::Phase::Handle, || map(answer)) {
        asker.push_reply(message, target.correlation);
    }
}

/// How a pending question of an actor is told that there is no answer: its `map` without the answer's type.
pub(crate) struct Failure<M> {
    map: *const (),
    call: unsafe fn(*const (), AskError) -> M,
}

// SAFETY: a function pointer.
unsafe impl<M> Send for Failure<M> {}

impl<M> Failure<M> {
    pub(crate) fn of<T>(map: fn(Result<T, AskError>) -> M) -> Self {
        /// # Safety
        /// `map` is a function pointer of the type below.
        unsafe fn call<T, M>(map: *const (), error: AskError) -> M {
            // SAFETY: the caller's promise.
            let map = unsafe { std::mem::transmute::<*const (), fn(Result<T, AskError>) -> M>(map) };
            map(Err(error))
        }
        Failure { map: map as *const (), call: call::<T, M> }
    }

    pub(crate) fn message(&self, error: AskError) -> M {
        // SAFETY: `of` stored the function that `call` expects.
        unsafe { (self.call)(self.map, error) }
    }
}

const WAITING: u32 = 0;
const DONE: u32 = 1;
const ABANDONED: u32 = 2;

struct Slot<T> {
    state: AtomicU32,
    thread: Thread,
    answer: UnsafeCell<MaybeUninit<Result<T, AskError>>>,
}

/// The asking thread's side of a slot.
pub(crate) struct Waiter<T> {
    slot: NonNull<Slot<T>>,
}

/// A slot for one question of this thread.
pub(crate) fn to_thread<T: Send + 'static>() -> (Waiter<T>, Reply<T>) {
    let slot = pool::alloc::<Slot<T>>();
    let fresh = Slot {
        state: AtomicU32::new(WAITING),
        thread: std::thread::current(),
        answer: UnsafeCell::new(MaybeUninit::uninit()),
    };
    // SAFETY: `alloc` returned memory for exactly this type.
    unsafe { slot.write(fresh) };
    let reply = Reply {
        target: slot.cast(),
        map: ptr::null(),
        correlation: 0,
        deliver: deliver_to_thread::<T>,
        marker: PhantomData,
    };
    (Waiter { slot }, reply)
}

/// # Safety
/// `target` is one that [`to_thread`] made for `T`.
unsafe fn deliver_to_thread<T>(target: Target, answer: Result<T, AskError>) {
    let slot = target.to.cast::<Slot<T>>();
    // SAFETY: the replier owns its half of the slot until its swap below.
    let shared = unsafe { slot.as_ref() };
    // The asker may free the slot as soon as it sees DONE, so what wakes it is taken out before.
    let thread = shared.thread.clone();
    // SAFETY: the asker reads the answer only after DONE.
    unsafe { (*shared.answer.get()).write(answer) };
    // AcqRel: the Release publishes the answer to the asker's Acquire; the Acquire sees all of the asker's use.
    if shared.state.swap(DONE, Ordering::AcqRel) == ABANDONED {
        // SAFETY: the asker has left and the answer was written above.
        drop(unsafe { take_and_free(slot) });
    } else {
        thread.unpark();
    }
}

/// # Safety
/// The caller is the slot's last owner and the answer is written.
unsafe fn take_and_free<T>(slot: NonNull<Slot<T>>) -> Result<T, AskError> {
    // SAFETY: the caller is alone.
    let whole = unsafe { slot.read() };
    // SAFETY: from `alloc` in `to_thread`; moved out above.
    unsafe { pool::free(slot) };
    // SAFETY: the caller says it is written.
    unsafe { whole.answer.into_inner().assume_init() }
}

impl<T> Waiter<T> {
    fn state(&self) -> &AtomicU32 {
        // SAFETY: the asker owns its half of the slot until it leaves.
        unsafe { &self.slot.as_ref().state }
    }

    /// Whether the answer is there.
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release half of the replier's swap.
        self.state().load(Ordering::Acquire) == DONE
    }

    /// Waits for the answer until `deadline`.
    pub(crate) fn wait(self, deadline: Option<Instant>, spin: u32) -> Result<T, AskError> {
        for _ in 0..spin {
            if self.is_done() {
                break;
            }
            std::hint::spin_loop();
        }
        while !self.is_done() {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(Duration::ZERO) => break,
                Some(left) => std::thread::park_timeout(left),
            }
        }
        self.take()
    }

    /// The answer if it is there; otherwise this side leaves and the answer will be dropped.
    pub(crate) fn take(self) -> Result<T, AskError> {
        ManuallyDrop::new(self).leave().unwrap_or(Err(AskError::TimedOut))
    }

    /// To be called once.
    fn leave(&self) -> Option<Result<T, AskError>> {
        // AcqRel: pairs with the replier's swap, whichever comes second frees.
        let before = self.state().swap(ABANDONED, Ordering::AcqRel);
        // SAFETY: after DONE the replier has left, and had written the answer before.
        (before == DONE).then(|| unsafe { take_and_free(self.slot) })
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_answer_reaches_the_waiting_thread() {
        let (waiter, reply) = to_thread::<String>();
        let replier = std::thread::spawn(move || reply.send("yes".into()));
        assert_eq!(waiter.wait(None, 0), Ok("yes".into()));
        replier.join().unwrap();
    }

    #[test]
    fn a_dropped_reply_answers_at_once_and_a_late_one_is_dropped() {
        let (waiter, reply) = to_thread::<u8>();
        drop(reply);
        assert_eq!(waiter.wait(None, 0), Err(AskError::NoReply));

        let (waiter, reply) = to_thread::<Arc<u8>>();
        assert_eq!(waiter.wait(Some(Instant::now()), 0), Err(AskError::TimedOut));
        let late = Arc::new(1);
        reply.send(late.clone());
        assert_eq!(Arc::strong_count(&late), 1);
    }

    #[test]
    fn a_panic_on_the_way_answers_that_the_actor_crashed() {
        let (waiter, reply) = to_thread::<u8>();
        std::thread::spawn(move || {
            let _held = reply;
            std::panic::resume_unwind(Box::new(0));
        })
        .join()
        .unwrap_err();
        assert_eq!(waiter.wait(None, 0), Err(AskError::ActorCrashed));
    }
}
