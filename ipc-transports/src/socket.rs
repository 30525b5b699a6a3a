//! A connected stream socket (Unix or TCP) as a [`Link`].

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
use crate::places::Place;
use crate::stream::{Link, Mode, Shared};

/// How long a failed send gives the peer's process to finish exiting, before a reset counts as an orderly close: a
/// dying process closes its sockets before its pidfd tells (kernel/exit.c, do_exit).
const EXIT_GRACE: Duration = Duration::from_millis(10);

/// How much longer it has if both directions are gone without a goodbye: nearly always it was killed, and on a busy
/// machine a dying process, too, waits for its turn.
const DEATH_GRACE: Duration = Duration::from_millis(250);

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

/// Takes `socket` apart, whose peer keeps its place as long as the connection.
///
/// # Errors
/// `Limit` when there is no descriptor for the second half.
pub(crate) fn halves(
    socket: OwnedFd,
    (peer, place): (PeerInfo, Place),
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
        shared: Arc::new(Shared::keeping(place)),
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
        self.why_unwritable_within(peer_said_goodbye, EXIT_GRACE, DEATH_GRACE)
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
    fn why_unwritable_within(&self, peer_said_goodbye: bool, exit: Duration, death: Duration) -> SendError {
        let has_left = || peer_said_goodbye || peer::goodbye_is_waiting(self.fd.as_fd());
        if has_left() {
            return SendError::Closed;
        }
        let Some(pidfd) = self.peer_pidfd() else { return SendError::PeerDied };
        let lives_for = |patience: Duration| {
            let until = Instant::now() + patience;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match sleep(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(left)) {
                    Ok(0) if left.is_zero() => return true,
                    // Interrupted, or a little early.
                    Ok(0) => {}
                    _ => return false,
                }
            }
        };
        if !lives_for(exit) {
            return SendError::PeerDied;
        }
        // It lives, so it may have dropped its receiver alone; or it is still dying.
        let mut ours = [PollFd::new(&self.fd, PollFlags::empty())];
        let is_hung_up = sleep(&mut ours, Some(Duration::ZERO)).is_ok_and(|ready| ready > 0);
        if is_hung_up && !has_left() && !lives_for(death) { SendError::PeerDied } else { SendError::Closed }
    }

    /// What passes descriptors over this half, from now on.
    pub(crate) fn passing(&self) -> &Passing {
        self.passing.get_or_init(Passing::default)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    const LONG: Duration = Duration::from_secs(10);

    /// A process that ends when its standard input does, and a socket whose peer it is said to be.
    fn peer() -> (Child, Socket, UnixStream) {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a child");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (child, Socket { fd: ours.into(), pidfd: Some(Arc::new(pidfd)), passing: OnceLock::new() }, theirs)
    }

    fn ended(mut child: Child) {
        drop(child.stdin.take());
        child.wait().expect("our own child");
    }

    #[test]
    fn a_peer_that_hung_up_without_a_goodbye_is_given_time_to_die() {
        let (mut child, socket, theirs) = peer();
        drop(theirs);
        // Closed, and alive to the end of its time.
        let alive = socket.why_unwritable_within(false, Duration::ZERO, Duration::ZERO);
        assert!(matches!(alive, SendError::Closed), "{alive:?}");
        // It ends some time after it hung up.
        drop(child.stdin.take());
        let dead = socket.why_unwritable_within(false, Duration::ZERO, LONG);
        assert!(matches!(dead, SendError::PeerDied), "{dead:?}");
        ended(child);
    }

    #[test]
    fn a_peer_that_dropped_its_receiver_alone_is_not_waited_for() {
        let (child, socket, theirs) = peer();
        theirs.shutdown(std::net::Shutdown::Read).expect("connected");
        let began = Instant::now();
        let left = socket.why_unwritable_within(false, Duration::ZERO, LONG);
        assert!(matches!(left, SendError::Closed) && began.elapsed() < LONG, "{left:?}");
        ended(child);
    }
}
