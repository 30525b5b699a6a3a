use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::Handle;

/// Deadlines and who waits for them. The number tells apart those of one instant.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Instant, u64), Waker>,
    next_number: u64,
}

impl Timers {
    /// Time until the first deadline.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let ((first, _), _) = self.due.first_key_value()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Moves the wakers of all deadlines that have passed to `woken`.
    pub(crate) fn take_due(&mut self, woken: &mut Vec<Waker>) {
        let now = Instant::now();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            woken.push(first.remove());
        }
    }
}

/// Ready at a moment: [`Handle::sleep_until`].
///
/// ```
/// use ipc_async::Reactor;
/// use std::time::{Duration, Instant};
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let start = Instant::now();
/// reactor.block_on(async {
///     for tick in 1..=3 {
///         handle.sleep_until(start + tick * Duration::from_millis(1)).await;
///     }
/// });
/// assert!(start.elapsed() >= Duration::from_millis(3));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    handle: Handle,
    deadline: Instant,
    number: Option<u64>,
}

impl Sleep {
    pub(crate) fn new(handle: &Handle, deadline: Instant) -> Self {
        Sleep { handle: handle.clone(), deadline, number: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let mut timers = this.handle.shared.timers.lock();
        let number = *this.number.get_or_insert_with(|| {
            timers.next_number += 1;
            timers.next_number
        });
        timers.due.insert((this.deadline, number), context.waker().clone());
        let is_first = timers.due.first_key_value().is_some_and(|((_, first), _)| *first == number);
        drop(timers);
        if is_first {
            // The reactor may be asleep until a later deadline. On its own thread it is not, and this costs a wake-up.
            this.handle.shared.interrupt();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.handle.shared.timers.lock().due.remove(&(self.deadline, number));
        }
    }
}

/// The future of [`Handle::timeout`].
///
/// ```
/// use ipc_async::Reactor;
/// use std::time::Duration;
/// let mut reactor = Reactor::new()?;
/// let in_time = reactor.handle().timeout(Duration::from_secs(10), async { 7 });
/// assert_eq!(reactor.block_on(in_time), Ok(7));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Timeout<F> {
    /// Boxed so that neither of the two has to be pinned in place.
    future: Pin<Box<F>>,
    sleep: Option<Sleep>,
}

impl<F: Future> Timeout<F> {
    pub(crate) fn new(handle: &Handle, duration: Duration, future: F) -> Self {
        // A duration beyond what the clock can express never passes.
        let deadline = Instant::now().checked_add(duration);
        Timeout { future: Box::pin(future), sleep: deadline.map(|deadline| handle.sleep_until(deadline)) }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimedOut>;

    /// The future first: what is there when the deadline passes is not lost.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(context).map(|()| Err(TimedOut)),
            None => Poll::Pending,
        }
    }
}

/// The deadline passed first.
///
/// ```
/// use ipc_async::{Reactor, TimedOut};
/// use std::time::Duration;
/// let mut reactor = Reactor::new()?;
/// let never = std::future::pending::<()>();
/// let late = reactor.handle().timeout(Duration::from_millis(1), never);
/// assert!(matches!(reactor.block_on(late), Err(TimedOut)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not done before the deadline")
    }
}

impl Error for TimedOut {}

impl From<TimedOut> for io::Error {
    fn from(error: TimedOut) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, error)
    }
}
