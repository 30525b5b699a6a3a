//! A connected stream socket (Unix or TCP) as a [`Link`].

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipc_core::frame::{Check, Framing};
use ipc_core::hello::Agreed;
use ipc_core::{PeerInfo, SendError, SetupError};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Result;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};

use crate::errno::setup_error;
use crate::features::Features;
use crate::handshake::sleep;
use crate::passing::Passing;
use crate::peer;
use crate::stream::{Link, Mode, Shared};

/// How long a failed send gives the peer's process to finish exiting, before a reset counts as an orderly close: a
/// dying process closes its sockets before its pidfd tells (kernel/exit.c, do_exit).
const EXIT_GRACE: Duration = Duration::from_millis(10);

/// One half of a connected stream socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    pidfd: Option<Arc<OwnedFd>>,
    /// Set once descriptors are passed over this half.
    passing: OnceLock<Passing>,
}

/// Socket buffers asked for, in bytes; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) sndbuf: Option<usize>,
    pub(crate) rcvbuf: Option<usize>,
}

impl Buffers {
    /// Applies them; the kernel caps at `net.core.{w,r}mem_max` and doubles for its own bookkeeping (socket(7)).
    pub(crate) fn apply(self, socket: BorrowedFd<'_>) -> Result<()> {
        if let Some(bytes) = self.sndbuf {
            sockopt::set_socket_send_buffer_size(socket, bytes)?;
        }
        if let Some(bytes) = self.rcvbuf {
            sockopt::set_socket_recv_buffer_size(socket, bytes)?;
        }
        Ok(())
    }
}

/// A connected socket taken apart: one descriptor per direction, and what both keep to.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) write: Socket,
    pub(crate) read: Socket,
    pub(crate) shared: Arc<Shared>,
    pub(crate) framing: Framing,
    pub(crate) effective: Vec<(&'static str, u64)>,
}

/// Takes `socket` apart.
///
/// # Errors
/// `Limit` when there is no descriptor for the second half.
pub(crate) fn halves(
    socket: OwnedFd,
    peer: PeerInfo,
    agreed: Agreed,
    features: &Features,
    op: &'static str,
    target: &str,
) -> std::result::Result<Halves, SetupError> {
    let fail = |error| setup_error(op, target, error);
    let effective = vec![
        ("sndbuf", sockopt::socket_send_buffer_size(&socket).map_err(fail)? as u64),
        ("rcvbuf", sockopt::socket_recv_buffer_size(&socket).map_err(fail)? as u64),
        ("max_message", agreed.max_message),
    ];
    let pidfd = peer::pidfd(socket.as_fd(), &peer, features).map(Arc::new);
    let second = rustix::io::fcntl_dupfd_cloexec(&socket, 0).map_err(fail)?;
    Ok(Halves {
        write: Socket { fd: socket, pidfd: pidfd.clone(), passing: OnceLock::new() },
        read: Socket { fd: second, pidfd, passing: OnceLock::new() },
        shared: Arc::new(Shared::default()),
        framing: Framing {
            max_message: agreed.max_message as usize,
            check: if agreed.crc { Check::Crc } else { Check::None },
        },
        effective,
    })
}

impl Link for Socket {
    #[inline]
    fn write(&self, parts: &[IoSlice<'_>], mode: Mode) -> Result<usize> {
        let flags = match mode {
            Mode::Block => SendFlags::NOSIGNAL,
            Mode::Try => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        };
        if let Some(passing) = self.passing.get() {
            return passing.write(&self.fd, parts, flags);
        }
        match parts {
            [one] => rustix::net::send(&self.fd, one, flags),
            _ => rustix::net::sendmsg(&self.fd, parts, &mut SendAncillaryBuffer::default(), flags),
        }
    }

    #[inline]
    fn read(&self, parts: &mut [IoSliceMut<'_>], mode: Mode) -> Result<usize> {
        let flags = match mode {
            Mode::Block => RecvFlags::empty(),
            Mode::Try => RecvFlags::DONTWAIT,
        };
        if let Some(passing) = self.passing.get() {
            return passing.read(&self.fd, parts, flags);
        }
        match parts {
            [one] => rustix::net::recv(&self.fd, &mut one[..], flags).map(|(read, _)| read),
            // Descriptors nobody asked for find no control buffer: the kernel closes them (unix(7), MSG_CTRUNC).
            _ => rustix::net::recvmsg(&self.fd, parts, &mut RecvAncillaryBuffer::default(), flags)
                .map(|received| received.bytes),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn peer_pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    fn why_unwritable(&self, peer_said_goodbye: bool) -> SendError {
        if peer_said_goodbye || peer::goodbye_is_waiting(self.fd.as_fd()) {
            return SendError::Closed;
        }
        match self.peer_pidfd() {
            // The peer may have dropped its receiver alone and live on.
            Some(pidfd) => {
                match sleep(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(EXIT_GRACE)) {
                    Ok(0) => SendError::Closed,
                    _ => SendError::PeerDied,
                }
            }
            None => SendError::PeerDied,
        }
    }

    fn make_room(&self) {
        if let Ok(bytes) = sockopt::socket_send_buffer_size(&self.fd) {
            // The kernel reports twice what was asked for, so asking for what it reports doubles it.
            let _ = sockopt::set_socket_send_buffer_size(&self.fd, bytes);
        }
    }

    fn close_write(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }

    fn close_read(&self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Read);
    }
}

impl Socket {
    /// What passes descriptors over this half, from now on.
    pub(crate) fn passing(&self) -> &Passing {
        self.passing.get_or_init(Passing::default)
    }
}
