//! The descriptor an event loop watches for a listener: an epoll descriptor over the listening socket, the clients in
//! the middle of their hello, and a timer for those that say none. Made on first use, so blocking users never pay for
//! it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ipc_core::Armed;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

#[derive(Debug)]
pub(crate) struct Doorbell {
    epoll: OwnedFd,
    timer: OwnedFd,
}

impl Doorbell {
    /// # Errors
    /// A descriptor or epoll limit is reached.
    pub(crate) fn over(listener: BorrowedFd<'_>) -> io::Result<Doorbell> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, listener, EventData::new_u64(0), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(0), EventFlags::IN)?;
        Ok(Doorbell { epoll, timer })
    }

    /// Rings, or no longer rings, when a client knocks.
    pub(crate) fn hear_knocks(&self, listener: BorrowedFd<'_>, hear: bool) -> io::Result<()> {
        let flags = if hear { EventFlags::IN } else { EventFlags::empty() };
        Ok(epoll::modify(&self.epoll, listener, EventData::new_u64(0), flags)?)
    }

    /// Rings when this client says more of its hello or hangs up, until [`forget`](Doorbell::forget) or its close.
    pub(crate) fn watch(&self, client: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, client, EventData::new_u64(0), EventFlags::IN)?)
    }

    /// Stops watching a client that is let in: its descriptor lives on.
    pub(crate) fn forget(&self, client: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, client);
    }

    /// Rings after `left`; `None`: at no time.
    pub(crate) fn ring_after(&self, left: Option<Duration>) -> io::Result<()> {
        // Zero would switch the timer off instead of ringing at once.
        let left = left.map_or(Duration::ZERO, |left| left.max(Duration::from_nanos(1)));
        let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Whether it rings now.
    pub(crate) fn look(&self) -> Armed {
        let mut fds = [PollFd::new(&self.epoll, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) => Armed::MaySleep,
            _ => Armed::Ready,
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// A listener that is watched as its field is: one of type `Handshakes` with its socket, or one that is pollable itself.
macro_rules! pollable_listener {
    (for <$generic:ident: $bound:ident> $listener:ty: $handshakes:ident of $socket:ident) => {
        impl<$generic: $bound> ipc_core::Pollable for $listener {
            fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.$handshakes.fd(std::os::fd::AsFd::as_fd(&self.$socket))
            }
            fn interest(&self) -> ipc_core::Interest {
                ipc_core::Interest::Readable
            }
            fn arm(&mut self) -> std::io::Result<ipc_core::Armed> {
                self.$handshakes.arm(std::os::fd::AsFd::as_fd(&self.$socket))
            }
        }
    };
    ($listener:ty: $handshakes:ident of $socket:ident) => {
        impl ipc_core::Pollable for $listener {
            fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.$handshakes.fd(std::os::fd::AsFd::as_fd(&self.$socket))
            }
            fn interest(&self) -> ipc_core::Interest {
                ipc_core::Interest::Readable
            }
            fn arm(&mut self) -> std::io::Result<ipc_core::Armed> {
                self.$handshakes.arm(std::os::fd::AsFd::as_fd(&self.$socket))
            }
        }
    };
    ($listener:ty: $inner:ident) => {
        impl ipc_core::Pollable for $listener {
            fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
                ipc_core::Pollable::fd(&self.$inner)
            }
            fn interest(&self) -> ipc_core::Interest {
                ipc_core::Interest::Readable
            }
            fn arm(&mut self) -> std::io::Result<ipc_core::Armed> {
                ipc_core::Pollable::arm(&mut self.$inner)
            }
        }
    };
}
pub(crate) use pollable_listener;
