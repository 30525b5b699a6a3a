//! Descriptors beside messages on a Unix stream socket (`SCM_RIGHTS`, unix(7)).
//!
//! The kernel ties descriptors to the first bytes of the `sendmsg` that carried them, and a read ends with the bytes it
//! got descriptors with (net/unix/af_unix.c, unix_stream_read_generic). So the last byte of such a read lies in the
//! frame they belong to, however many earlier frames the same read brought.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc_core::{Receiver, RecvError, SendError, Sender, Wait};
use rustix::io::Result;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::socket::Socket;
use crate::stream::{StreamReceiver, StreamSender};

/// Most descriptors in one message (`SCM_MAX_FD`, include/net/scm.h).
pub const MAX_DESCRIPTORS: usize = 253;

/// What one half that passes descriptors keeps. The lock is never contended: a half has one user at a time.
#[derive(Debug, Default)]
pub(crate) struct Passing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// To go out with the next bytes written.
    outgoing: Vec<OwnedFd>,
    /// Bytes read since descriptors were asked for.
    read: i64,
    /// Descriptors read, each lot with where in the stream the read that brought it ended.
    incoming: VecDeque<Lot>,
}

#[derive(Debug)]
struct Lot {
    end: i64,
    fds: Vec<OwnedFd>,
    /// Some did not fit into this process.
    lost: bool,
}

impl Passing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, socket: &OwnedFd, parts: &[IoSlice<'_>], flags: SendFlags) -> Result<usize> {
        let mut state = self.state();
        let fds: Vec<BorrowedFd<'_>> = state.outgoing.iter().map(|fd| fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            // At most MAX_DESCRIPTORS were taken, which is what the space is for.
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let written = rustix::net::sendmsg(socket, parts, &mut control, flags)?;
        state.outgoing.clear();
        Ok(written)
    }

    pub(crate) fn read(
        &self,
        socket: &OwnedFd,
        parts: &mut [IoSliceMut<'_>],
        flags: RecvFlags,
    ) -> Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(socket, parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let lost = received.flags.contains(ReturnFlags::CTRUNC);
        let mut state = self.state();
        state.read += received.bytes as i64;
        if lost || !fds.is_empty() {
            let end = state.read;
            state.incoming.push_back(Lot { end, fds, lost });
        }
        Ok(received.bytes)
    }

    /// The descriptors of the message that ends `unparsed` bytes before what was read and began after `begin`; those of
    /// earlier messages, which nobody asked for, are closed.
    fn take(&self, begin: i64, unparsed: usize) -> std::result::Result<Vec<OwnedFd>, RecvError> {
        let mut state = self.state();
        let end = state.read - unparsed as i64;
        let mut taken = Vec::new();
        let mut lost = false;
        while let Some(lot) = state.incoming.pop_front_if(|lot| lot.end <= end) {
            if lot.end > begin {
                taken.extend(lot.fds);
                lost |= lot.lost;
            }
        }
        if lost {
            let why = "descriptors of this message were lost: our own descriptor limit is reached";
            return Err(RecvError::Io(io::Error::new(io::ErrorKind::QuotaExceeded, why)));
        }
        Ok(taken)
    }
}

impl StreamSender<Socket> {
    /// Sends one message and, with it, duplicates of `fds` (at most [`MAX_DESCRIPTORS`]). A peer that receives it by
    /// another call than [`recv_fds`](StreamReceiver::recv_fds) gets the message alone.
    ///
    /// ```
    /// use ipc_transports::{Transport, Uds, Wait};
    /// use std::io::{Read, Write};
    /// use std::os::fd::AsFd;
    /// let (mut one, mut other) = Uds::pair(&Default::default())?;
    /// let (mut reader, writer) = std::io::pipe()?;
    /// one.tx.send_fds(b"log here", &[writer.as_fd()], Wait::Forever)?;
    /// drop(writer);
    /// let mut message = Vec::new();
    /// let mut fds = other.rx.recv_fds(&mut message, Wait::Forever)?;
    /// std::fs::File::from(fds.remove(0)).write_all(b"from the other side")?;
    /// let mut logged = String::new();
    /// reader.read_to_string(&mut logged)?;
    /// assert_eq!((&message[..], &logged[..]), (&b"log here"[..], "from the other side"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Sender::send_with`]; `Io` for too many descriptors, here or under way to this user's processes
    /// (`ETOOMANYREFS`: `RLIMIT_NOFILE` of them).
    pub fn send_fds(
        &mut self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
        wait: Wait,
    ) -> std::result::Result<(), SendError> {
        if fds.len() > MAX_DESCRIPTORS {
            let why = format!("{} descriptors; one message carries {MAX_DESCRIPTORS} at most", fds.len());
            return Err(SendError::Io(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        // What is left of earlier messages goes first and without them.
        self.flush(wait)?;
        let owned: io::Result<Vec<OwnedFd>> = fds.iter().map(|fd| fd.try_clone_to_owned()).collect();
        self.link().passing().state().outgoing = owned.map_err(SendError::Io)?;
        let sent = self.send_with(&[IoSlice::new(message)], wait);
        self.link().passing().state().outgoing.clear();
        sent
    }
}

impl StreamReceiver<Socket> {
    /// From now on keeps descriptors that come with messages, for [`recv_fds`](StreamReceiver::recv_fds). To be called
    /// before the first message is received, because a receive reads ahead; `recv_fds` does it by itself.
    pub fn accept_fds(&mut self) {
        self.link().passing();
    }

    /// Receives one message, replacing the contents of `buf`, and the descriptors sent with it. They are close-on-exec.
    /// Descriptors of messages received by other calls are closed.
    ///
    /// # Errors
    /// As [`Receiver::recv_with`]; `Io` with `QuotaExceeded` when this process had no room for all descriptors of a
    /// message, which is gone with them.
    pub fn recv_fds(
        &mut self,
        buf: &mut Vec<u8>,
        wait: Wait,
    ) -> std::result::Result<Vec<OwnedFd>, RecvError> {
        let begin = self.link().passing().state().read - self.unparsed() as i64;
        self.recv_with(buf, wait)?;
        let unparsed = self.unparsed();
        self.link().passing().take(begin, unparsed).inspect_err(|_| buf.clear())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::fstat;

    use super::*;
    use crate::{Transport, Uds, UdsOptions};

    fn same(one: impl AsFd, other: impl AsFd) -> bool {
        let (one, other) = (fstat(one).unwrap(), fstat(other).unwrap());
        (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    }

    #[test]
    fn descriptors_come_with_their_own_message_however_far_a_read_reaches() {
        let (mut near, mut far) = Uds::pair(&UdsOptions::default()).unwrap();
        far.rx.accept_fds();
        let pipes: Vec<_> = (0..4).map(|_| std::io::pipe().unwrap()).collect();
        let fd = |at: usize| pipes[at].0.as_fd();
        near.tx.send(b"none").unwrap();
        near.tx.send_fds(b"two", &[fd(0), fd(1)], Wait::Never).unwrap();
        near.tx.send(b"none again").unwrap();
        near.tx.send_fds(&vec![7; 100_000], &[fd(2)], Wait::Never).unwrap();
        near.tx.send_fds(b"unwanted", &[fd(0)], Wait::Never).unwrap();
        near.tx.send_fds(b"", &[fd(3)], Wait::Never).unwrap();
        let mut buf = Vec::new();
        let mut next = || far.rx.recv_fds(&mut buf, Wait::Forever).unwrap();
        assert!(next().is_empty());
        let two = next();
        assert!(two.len() == 2 && same(&two[0], fd(0)) && same(&two[1], fd(1)));
        assert!(next().is_empty());
        let one = next();
        assert!(one.len() == 1 && same(&one[0], fd(2)));
        far.rx.recv(&mut buf).unwrap();
        assert_eq!(buf, b"unwanted");
        let one = far.rx.recv_fds(&mut buf, Wait::Forever).unwrap();
        assert!(one.len() == 1 && same(&one[0], fd(3)) && buf.is_empty());
    }

    #[test]
    fn a_send_that_finds_no_space_passes_nothing() {
        let options = UdsOptions { sndbuf: Some(4096), ..UdsOptions::default() };
        let (mut near, mut far) = Uds::pair(&options).unwrap();
        far.rx.accept_fds();
        let pipe = std::io::pipe().unwrap();
        let mut filled = 0;
        while near.tx.try_send(&[0; 100]).is_ok() {
            filled += 1;
        }
        let refused = near.tx.send_fds(b"x", &[pipe.0.as_fd()], Wait::Never);
        assert!(matches!(refused, Err(SendError::Full)), "{refused:?}");
        let mut buf = Vec::new();
        for _ in 0..filled {
            assert!(far.rx.recv_fds(&mut buf, Wait::Forever).unwrap().is_empty());
        }
        near.tx.send(b"after").unwrap();
        assert!(far.rx.recv_fds(&mut buf, Wait::Forever).unwrap().is_empty());
        assert_eq!(buf, b"after");
        let many = vec![pipe.0.as_fd(); MAX_DESCRIPTORS + 1];
        assert!(matches!(near.tx.send_fds(b"x", &many, Wait::Never), Err(SendError::Io(_))));
        near.tx.send_fds(b"x", &many[1..], Wait::Never).unwrap();
        assert_eq!(far.rx.recv_fds(&mut buf, Wait::Forever).unwrap().len(), MAX_DESCRIPTORS);
    }
}
