use std::io;
use std::os::fd::BorrowedFd;

/// Which readiness of [`Pollable::fd`] to watch for.
///
/// ```
/// use ipc_core::Interest;
/// fn name(interest: Interest) -> &'static str {
///     match interest {
///         Interest::Readable => "POLLIN",
///         Interest::Writable => "POLLOUT",
///     }
/// }
/// assert_eq!(name(Interest::Writable), "POLLOUT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// `POLLIN`.
    Readable,
    /// `POLLOUT`.
    Writable,
}

/// What [`Pollable::arm`] found.
///
/// ```
/// use ipc_core::{Armed, Pollable};
/// /// Whether it is safe to sleep on the descriptor of `half`.
/// fn may_sleep(half: &mut impl Pollable) -> std::io::Result<bool> {
///     Ok(half.arm()? == Armed::MaySleep)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// Nothing to do yet: the descriptor will become ready; it is safe to sleep on it.
    MaySleep,
    /// There is something to do now: do not sleep, try again.
    Ready,
}

/// A half, or a listener, that an event loop can wait for: try → [`arm`](Pollable::arm) → wait for the descriptor →
/// [`disarm`](Pollable::disarm) → try.
///
/// ```
/// use ipc_core::{Armed, Pollable};
/// use std::os::fd::BorrowedFd;
/// /// What to sleep on now; `None`: there is something to do.
/// fn sleeps_on(half: &mut impl Pollable) -> std::io::Result<Option<BorrowedFd<'_>>> {
///     Ok(match half.arm()? {
///         Armed::MaySleep => Some(half.fd()),
///         Armed::Ready => None,
///     })
/// }
/// ```
pub trait Pollable {
    /// The descriptor to watch. It also becomes ready when the peer dies. Call it after [`arm`](Pollable::arm), which
    /// may create it. The two halves of a connection have different descriptors. A listener's becomes ready when
    /// [`accept`](crate::Listener::accept) has something to do: a client connects, says its hello or has run out of time.
    fn fd(&self) -> BorrowedFd<'_>;

    /// The readiness to watch for.
    fn interest(&self) -> Interest;

    /// Announces that this half is about to sleep on [`fd`](Pollable::fd), then looks once more.
    ///
    /// # Errors
    /// The descriptor could not be made (descriptor limit).
    fn arm(&mut self) -> io::Result<Armed>;

    /// Takes the announcement back. Harmless when nothing was announced.
    fn disarm(&mut self) {}
}
