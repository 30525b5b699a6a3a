//! The one loop under every operation: try, arm, await, disarm, try.

use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ipc_core::{Armed, Pollable};

use crate::Handle;
use crate::reactor::Shared;

/// A half that says "ready" and then has nothing to do this many times in a row lets other tasks run.
const FRUITLESS: u32 = 16;

/// A half or listener attached to a reactor.
#[derive(Debug)]
pub(crate) struct Half<P> {
    // Before the half: its descriptor is deregistered before it is closed.
    registration: Registration,
    pub(crate) inner: P,
    /// The half has announced that it sleeps.
    armed: bool,
}

#[derive(Debug)]
struct Registration {
    shared: Arc<Shared>,
    /// Token and descriptor, once the first [`Pollable::arm`] has made one.
    place: Option<(usize, RawFd)>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some((token, fd)) = self.place {
            self.shared.deregister(token, fd);
        }
    }
}

impl<P: Pollable> Half<P> {
    pub(crate) fn new(handle: &Handle, inner: P) -> Self {
        Half {
            registration: Registration { shared: handle.shared.clone(), place: None },
            inner,
            armed: false,
        }
    }

    pub(crate) fn into_inner(mut self) -> P {
        self.rest();
        drop(self.registration);
        self.inner
    }

    /// Repeats `attempt` until it has an answer; `None` means that it would have to wait.
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut P) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        for _ in 0..FRUITLESS {
            let Registration { shared, place } = &mut self.registration;
            if self.armed {
                if let Some((token, _)) = *place
                    && shared.table.lock().poll(token, context).is_pending()
                {
                    return Poll::Pending;
                }
                self.inner.disarm();
                self.armed = false;
            }
            if let Some((token, _)) = *place {
                // Before the attempt: an event that comes after it is news.
                shared.table.lock().clear(token);
            }
            if let Some(answer) = attempt(&mut self.inner) {
                return Poll::Ready(Ok(answer));
            }
            if self.inner.arm()? == Armed::MaySleep {
                self.armed = true;
                if place.is_none() {
                    // Registering reports what is ready already, so nothing falls between attempt and registration.
                    *place = Some(shared.register(self.inner.fd(), self.inner.interest())?);
                }
            } else {
                self.inner.disarm();
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nobody awaits this half any more.
    pub(crate) fn rest(&mut self) {
        if self.armed {
            self.inner.disarm();
            self.armed = false;
            if let Some((token, _)) = self.registration.place {
                self.registration.shared.table.lock().forget_waker(token);
            }
        }
    }

    /// [`poll`](Half::poll) as a future; dropped, it takes the announcement back.
    pub(crate) fn ready<T, A: FnMut(&mut P) -> Option<T>>(&mut self, attempt: A) -> Operation<'_, P, A> {
        Operation { half: self, attempt }
    }
}

/// One operation under way. All its state is in the half.
#[derive(Debug)]
pub(crate) struct Operation<'a, P: Pollable, A> {
    half: &'a mut Half<P>,
    attempt: A,
}

// The attempt is only called, never pinned.
impl<P: Pollable, A> Unpin for Operation<'_, P, A> {}

impl<T, P: Pollable, A: FnMut(&mut P) -> Option<T>> Future for Operation<'_, P, A> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.half.poll(context, &mut this.attempt)
    }
}

impl<P: Pollable, A> Drop for Operation<'_, P, A> {
    fn drop(&mut self) {
        self.half.rest();
    }
}
