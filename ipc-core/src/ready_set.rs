use std::io;

use crate::{Armed, Pollable, Wait};

/// Waits for many halves and listeners at once: one thread, many connections. `WaitSet` of `ipc-transports` is one.
///
/// The protocol is that of [`Pollable`], for each key by itself: try until there is nothing to do, then
/// [`watch`](ReadySet::watch); when [`wait`](ReadySet::wait) names the key, [`disarm`](Pollable::disarm) and try again.
/// A set may watch the edges of readiness only, so a half that is not tried until it answers `Empty` or `Full` may
/// never be named again.
///
/// ```
/// use ipc_core::{Pollable, ReadySet, Wait};
/// /// Sleeps until one of `halves` may have something to do, and says which.
/// fn first_ready(set: &mut impl ReadySet, halves: &mut [Box<dyn Pollable>]) -> std::io::Result<Vec<usize>> {
///     for (key, half) in halves.iter_mut().enumerate() {
///         set.watch(key, half.as_mut())?;
///     }
///     let mut ready = Vec::new();
///     set.wait(Wait::Forever, &mut ready)?;
///     Ok(ready)
/// }
/// ```
pub trait ReadySet {
    /// Arms `half` and watches its descriptor under `key` from now until [`unwatch`](ReadySet::unwatch). To be called
    /// again each time the half has nothing left to do. [`Armed::Ready`]: it has something to do after all; try.
    ///
    /// # Errors
    /// No descriptor to watch could be made or added (descriptor limit, `fs.epoll.max_user_watches`).
    fn watch(&mut self, key: usize, half: &mut dyn Pollable) -> io::Result<Armed>;

    /// Stops watching `half`, which must be the one that is watched under `key`, and disarms it. To be called before
    /// the half is dropped; harmless for a key that is not watched.
    ///
    /// # Errors
    /// The descriptor is not the one that is watched.
    fn unwatch(&mut self, key: usize, half: &mut dyn Pollable) -> io::Result<()>;

    /// Waits until something is ready and replaces `ready` by the keys; empty when `wait` is over first. A key may be
    /// named without there being anything to do.
    ///
    /// # Errors
    /// The system call failed.
    fn wait(&mut self, wait: Wait, ready: &mut Vec<usize>) -> io::Result<()>;
}
