//! What a thread knows: which actor it is running, on behalf of which worker, and why it is dropping things.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use crate::id::ActorId;
use crate::reply::AskError;
use crate::sched::Worker;

thread_local! {
    /// The actor whose code runs here. Apart from the rest: it is set and read with every turn and every message, and
    /// without a destructor it is read without a look at whether it was destroyed.
    static ACTOR: Cell<Option<ActorId>> = const { Cell::new(None) };

    static LOCAL: Local = const {
        Local {
            dropping: Cell::new(AskError::NoReply),
            panic: RefCell::new(None),
            worker: OnceCell::new(),
            hurried: Cell::new(false),
            guest: Cell::new(false),
        }
    };
}

struct Local {
    dropping: Cell<AskError>,
    panic: RefCell<Option<String>>,
    worker: OnceCell<Rc<Worker>>,
    /// Something is locked that nobody may wait under.
    hurried: Cell<bool>,
    /// Work of an actor runs here that is not the actor: its panics are kept as an actor's are.
    guest: Cell<bool>,
}

/// The actor whose code runs on this thread.
#[inline]
pub(crate) fn current_actor() -> Option<ActorId> {
    ACTOR.get()
}

/// Runs `body` as `actor`.
#[inline]
pub(crate) fn as_actor<R>(actor: ActorId, body: impl FnOnce() -> R) -> R {
    let before = ACTOR.replace(Some(actor));
    let result = body();
    ACTOR.set(before);
    result
}

/// Whether blocking here could stop the very actors that would end the wait.
pub(crate) fn must_not_block() -> bool {
    current_actor().is_some()
        || LOCAL.try_with(|local| local.worker.get().is_some() || local.hurried.get()).unwrap_or(false)
}

/// Runs `body`, in which no send waits for room.
pub(crate) fn without_waiting<R>(body: impl FnOnce() -> R) -> R {
    let before = LOCAL.with(|local| local.hurried.replace(true));
    let result = body();
    LOCAL.with(|local| local.hurried.set(before));
    result
}

/// Runs `body`, which is an actor's work outside of the actor.
pub(crate) fn as_guest<R>(body: impl FnOnce() -> R) -> R {
    let before = LOCAL.with(|local| local.guest.replace(true));
    let result = body();
    LOCAL.with(|local| local.guest.set(before));
    result
}

/// Makes this thread a worker.
pub(crate) fn become_worker(worker: Rc<Worker>) {
    LOCAL.with(|local| {
        if local.worker.set(worker).is_err() {
            unreachable!("a worker's thread is its own");
        }
    });
}

/// Calls `body` with this thread's worker, if it is one.
#[inline(always)]
pub(crate) fn with_worker<R>(body: impl FnOnce(Option<&Rc<Worker>>) -> R) -> R {
    // `body` is moved into the closure, so a thread past its last breath needs the second way.
    let mut body = Some(body);
    let result = LOCAL.try_with(|local| body.take().map(|body| body(local.worker.get())));
    match (result, body) {
        (Ok(Some(result)), _) => result,
        (_, Some(body)) => body(None),
        (_, None) => unreachable!("the body is either called or still there"),
    }
}

/// Runs `body`; replies that are dropped by it answer `why`.
pub(crate) fn dropping_as<R>(why: AskError, body: impl FnOnce() -> R) -> R {
    let before = LOCAL.with(|local| local.dropping.replace(why));
    let result = body();
    LOCAL.with(|local| local.dropping.set(before));
    result
}

/// What a reply that is dropped now answers.
pub(crate) fn drop_reason() -> AskError {
    if std::thread::panicking() {
        return AskError::ActorCrashed;
    }
    LOCAL.try_with(|local| local.dropping.get()).unwrap_or(AskError::NoReply)
}

/// Keeps where a panic of this thread's actor was, until [`take_panic`]. False: neither an actor nor its work runs here.
pub(crate) fn keep_panic(location: String) -> bool {
    let kept = LOCAL.try_with(|local| {
        (current_actor().is_some() || local.guest.get())
            && local.panic.try_borrow_mut().map(|mut panic| *panic = Some(location)).is_ok()
    });
    kept.unwrap_or(false)
}

/// Where the last panic of this thread's actor was.
pub(crate) fn take_panic() -> Option<String> {
    LOCAL.with(|local| local.panic.borrow_mut().take())
}
