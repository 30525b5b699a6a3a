//! Panics of actors: caught, described, and kept off standard error.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Once};

use crate::exit::{ExitReason, Panic, Phase};
use crate::local;

/// Bytes kept of a panic's message.
const MESSAGE_MAX: usize = 1024;

/// Installs, once per process, a hook that keeps the place of an actor's panic for its exit reason and passes every
/// other panic on to the hook before it. No backtrace is resolved for an actor: that takes 10 to 100 ms, longer than
/// the whole restart.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let location = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
            if !local::keep_panic(location) {
                before(info);
            }
        }));
    });
}

/// Runs code of the user's.
///
/// # Errors
/// Why the actor ends: it panicked.
#[inline]
pub(crate) fn guard<R>(during: Phase, body: impl FnOnce() -> R) -> Result<R, ExitReason> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| describe(payload, during))
}

/// The exit reason of a caught panic.
pub(crate) fn describe(payload: Box<dyn Any + Send>, during: Phase) -> ExitReason {
    let mut message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => "a payload that is no text".into(),
    };
    // What was thrown may throw again when it is dropped.
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    if message.len() > MESSAGE_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    }
    let location = local::take_panic().unwrap_or_else(|| "an unknown place".into());
    ExitReason::Panic(Arc::new(Panic { message, location, during }))
}
