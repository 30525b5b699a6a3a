//! Messages over a Unix `SOCK_SEQPACKET`: the kernel keeps the boundaries, so every frame is one datagram. It carries
//! the stream frame's header all the same, because an empty datagram cannot be told from end of file.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ipc_core::frame::{Check, Framing, GOODBYE, HEADER_LEN, Parsed};
use ipc_core::{
    Armed, Interest, PeekReceiver, Pollable, Receiver, RecvError, SendError, Sender, Stats, Wait,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::fault::fault_point;
use crate::fork::Owner;
use crate::frames;
use crate::lent;
use crate::socket::Socket;
use crate::stream::{Attempts, Halt, LINGER, Link, Looks, Shared, transfer};

/// Sends each message as one datagram: it is taken whole or not at all.
///
/// ```
/// use ipc_transports::{Receiver, Sender, Transport, UdsSeqpacket, Wait};
/// use std::io::IoSlice;
/// let (mut near, mut far) = UdsSeqpacket::pair(&Default::default())?;
/// near.tx.send_with(&[IoSlice::new(b"one "), IoSlice::new(b"datagram")], Wait::Forever)?;
/// let mut message = Vec::new();
/// far.rx.recv(&mut message)?;
/// assert_eq!(message, b"one datagram");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdsSeqpacketSender {
    socket: Socket,
    shared: Arc<Shared>,
    framing: Framing,
    attempts: Attempts,
    /// Where the frame of a short message is put together.
    room: Vec<u8>,
    ended: Option<Ended>,
    owner: Owner,
    stats: Stats,
}

/// Why a sender is finished.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Closed,
    PeerDied,
}

impl UdsSeqpacketSender {
    pub(crate) fn new(socket: Socket, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> Self {
        let (owner, stats) = (Owner::here(), Stats::default());
        UdsSeqpacketSender {
            socket,
            shared,
            framing,
            attempts,
            room: frames::room(),
            ended: None,
            owner,
            stats,
        }
    }

    #[inline]
    fn write(&mut self, datagram: &[IoSlice<'_>], message: usize, wait: Wait) -> Result<(), SendError> {
        self.put(datagram, message, wait).map_err(|halt| self.halted(halt))
    }

    #[inline]
    fn put(&self, datagram: &[IoSlice<'_>], message: usize, wait: Wait) -> Result<(), Halt> {
        let attempt = |socket: &Socket, mode| socket.write(datagram, mode);
        fault_point!("datagram.send");
        let sent = transfer(&self.socket, self.attempts.to_write(message), PollFlags::OUT, wait, attempt);
        fault_point!("datagram.sent");
        sent.map(drop)
    }

    #[cold]
    fn halted(&mut self, halt: Halt) -> SendError {
        let why = match halt {
            Halt::WouldBlock => {
                self.stats.would_block += 1;
                return SendError::Full;
            }
            Halt::TimedOut => {
                self.stats.full_waits += 1;
                return SendError::TimedOut;
            }
            Halt::PeerExited => SendError::PeerDied,
            Halt::Failed(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                self.socket.why_unwritable(self.shared.heard_goodbye())
            }
            Halt::Failed(error) => return SendError::Io(error.into()),
        };
        self.ended = Some(if matches!(why, SendError::Closed) { Ended::Closed } else { Ended::PeerDied });
        why
    }
}

impl Sender for UdsSeqpacketSender {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        if self.owner.is_forked() {
            return Err(SendError::Forked);
        }
        match self.ended {
            None => {}
            Some(Ended::Closed) => return Err(SendError::Closed),
            Some(Ended::PeerDied) => return Err(SendError::PeerDied),
        }
        let mut room = std::mem::take(&mut self.room);
        let sent = frames::with_frame(self.framing, parts, &mut room, |frame, lengths| {
            self.write(frame, lengths.message, wait)?;
            self.stats.messages += 1;
            self.stats.bytes += lengths.message as u64;
            Ok(())
        });
        self.room = room;
        sent
    }

    #[inline]
    fn max_message(&self) -> usize {
        self.framing.max_message
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl Pollable for UdsSeqpacketSender {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Writable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let mut fds = [PollFd::from_borrowed_fd(self.socket.fd(), PollFlags::OUT)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) if self.ended.is_none() => Ok(Armed::MaySleep),
            _ => Ok(Armed::Ready),
        }
    }
}

impl Drop for UdsSeqpacketSender {
    fn drop(&mut self) {
        // In a forked child the connection is still the parent's to end.
        if self.owner.is_forked() {
            return;
        }
        if self.ended.is_none() {
            // Why it does not go is not asked: finding out takes a while, and nobody hears the answer.
            let goodbye = [IoSlice::new(&GOODBYE)];
            if let Err(Halt::WouldBlock) = self.put(&goodbye, 0, Wait::Never) {
                self.socket.make_room();
                let _ = self.put(&goodbye, 0, Wait::within(LINGER));
            }
        }
        self.socket.close_write();
    }
}

/// Receives one message per datagram, and so by one system call unless it has to look for it first.
///
/// ```
/// use ipc_transports::{PeekReceiver, Sender, Transport, UdsSeqpacket, Wait};
/// let (mut near, mut far) = UdsSeqpacket::pair(&Default::default())?;
/// near.tx.send(b"")?;
/// assert!(far.rx.recv_ref(Wait::Forever)?.is_empty(), "an empty message is a message");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdsSeqpacketReceiver {
    socket: Socket,
    shared: Arc<Shared>,
    framing: Framing,
    looks: Looks,
    /// Room for the longest frame, and the bytes of the one that [`PeekReceiver::ready`] found.
    buffer: Vec<u8>,
    found: Option<usize>,
    finished: Option<Finished>,
    owner: Owner,
    stats: Stats,
}

/// Why a receiver is finished.
#[derive(Clone, Copy, Debug)]
enum Finished {
    Closed,
    PeerDied,
    Corrupt { what: &'static str },
}

impl Finished {
    fn error(self) -> RecvError {
        match self {
            Finished::Closed => RecvError::Closed,
            Finished::PeerDied => RecvError::PeerDied { partial_bytes: 0 },
            Finished::Corrupt { what } => RecvError::Corrupt { what },
        }
    }
}

impl UdsSeqpacketReceiver {
    pub(crate) fn new(socket: Socket, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> Self {
        UdsSeqpacketReceiver {
            socket,
            shared,
            framing,
            looks: Looks::new(attempts),
            // One byte more, so that a frame beyond the agreement shows as such and not as a whole one.
            buffer: vec![0; framing.max_message + framing.overhead() + 1],
            found: None,
            finished: None,
            owner: Owner::here(),
            stats: Stats::default(),
        }
    }

    #[cold]
    fn finish(&mut self, why: Finished) -> RecvError {
        self.finished = Some(why);
        if let Finished::Closed = why {
            self.shared.hear_goodbye();
        }
        why.error()
    }

    /// Why nothing can be received whatever the peer sends.
    #[inline]
    fn refusal(&self) -> Option<RecvError> {
        if self.owner.is_forked() {
            return Some(RecvError::Forked);
        }
        self.finished.map(Finished::error)
    }

    #[inline]
    fn received(&mut self, len: usize) {
        self.looks.beside(len);
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
    }

    /// What a read that brought nothing means.
    #[cold]
    fn halted(&mut self, halt: Halt) -> RecvError {
        match halt {
            Halt::PeerExited | Halt::Failed(Errno::CONNRESET) => self.finish(Finished::PeerDied),
            Halt::WouldBlock => {
                self.stats.would_block += 1;
                RecvError::Empty
            }
            Halt::TimedOut => RecvError::TimedOut,
            Halt::Failed(error) => RecvError::Io(error.into()),
        }
    }

    /// Receives into what `buf` has from its last message, which saves a copy; what is longer goes on in our own buffer.
    #[inline(never)]
    fn recv_over(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        let room = buf.len();
        let mut header = [0; HEADER_LEN];
        let pieces = &mut [&mut header[..], buf, &mut self.buffer].map(IoSliceMut::new);
        let looks = self.looks.take(wait);
        let read = read(&self.socket, looks, wait, pieces).map_err(|halt| self.halted(halt))?;
        // A header alone tells how long the frame is, and that it is none.
        let len = match self.framing.parse(&header[..read.min(HEADER_LEN)]) {
            Ok(Parsed::Message { frame_len, .. }) if frame_len == read => 0,
            Ok(Parsed::Incomplete { need }) if need == read => read - HEADER_LEN,
            Ok(Parsed::Goodbye) => return Err(self.finish(Finished::Closed)),
            Ok(_) => return Err(self.finish(NOT_ONE_FRAME)),
            Err(what) => return Err(self.finish(Finished::Corrupt { what })),
        };
        buf.truncate(len);
        buf.extend_from_slice(&self.buffer[..len.saturating_sub(room)]);
        self.received(len);
        Ok(len)
    }
}

const NOT_ONE_FRAME: Finished = Finished::Corrupt { what: "datagram is not one whole frame" };

/// Bytes of a message from which on saving a copy is worth three pieces instead of one.
const LONG: usize = 8 << 10;

/// Reads one datagram; [`Halt::PeerExited`] at the end of all.
#[inline(always)]
fn read(socket: &Socket, looks: u32, wait: Wait, pieces: &mut [IoSliceMut<'_>]) -> Result<usize, Halt> {
    let mut attempt = |socket: &Socket, mode| match socket.read(pieces, mode) {
        // Said once, ahead of what the peer sent, when it closed with messages of ours unread (net/core/datagram.c,
        // __skb_try_recv_datagram): its messages and its goodbye are still there.
        Err(Errno::CONNRESET) => socket.read(pieces, mode),
        read => read,
    };
    match transfer(socket, looks, PollFlags::IN, wait, &mut attempt)? {
        0 => Err(Halt::PeerExited),
        read => Ok(read),
    }
}

impl Receiver for UdsSeqpacketReceiver {
    #[inline]
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        if buf.len() >= LONG && self.found.is_none() && self.framing.check == Check::None {
            let received = match self.refusal() {
                None => self.recv_over(buf, wait),
                Some(refusal) => Err(refusal),
            };
            if received.is_err() {
                buf.clear();
            }
            return received;
        }
        buf.clear();
        let message = self.recv_ref(wait)?;
        buf.extend_from_slice(message);
        Ok(message.len())
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        lent::recv_each(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl PeekReceiver for UdsSeqpacketReceiver {
    type Message<'a>
        = &'a [u8]
    where
        Self: 'a;

    #[inline]
    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if self.found.is_some() {
            return Ok(());
        }
        let pieces = &mut [IoSliceMut::new(&mut self.buffer)];
        let looks = self.looks.take(wait);
        let read = read(&self.socket, looks, wait, pieces).map_err(|halt| self.halted(halt))?;
        match self.framing.parse(&self.buffer[..read]) {
            Ok(Parsed::Message { payload, frame_len }) if frame_len == read => {
                self.found = Some(payload.len());
                Ok(())
            }
            Ok(Parsed::Goodbye) => Err(self.finish(Finished::Closed)),
            Ok(_) => Err(self.finish(NOT_ONE_FRAME)),
            Err(what) => Err(self.finish(Finished::Corrupt { what })),
        }
    }

    #[inline]
    fn take(&mut self) -> Option<&[u8]> {
        let len = self.found.take()?;
        self.received(len);
        Some(&self.buffer[HEADER_LEN..HEADER_LEN + len])
    }
}

impl Pollable for UdsSeqpacketReceiver {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let waiting = self.finished.is_none() && self.found.is_none();
        Ok(if waiting { Armed::MaySleep } else { Armed::Ready })
    }
}

impl Drop for UdsSeqpacketReceiver {
    fn drop(&mut self) {
        // In a forked child the connection is still the parent's to end.
        if !self.owner.is_forked() {
            self.socket.close_read();
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_core::Transport;

    use super::*;
    use crate::UdsSeqpacket;

    #[test]
    fn a_receiver_looks_behind_a_long_message_and_only_once() {
        let (mut near, mut far) = UdsSeqpacket::pair(&Default::default()).unwrap();
        let over = Wait::within(std::time::Duration::ZERO);
        for (len, looks) in [(LONG, 128), (LONG - 1, 0), (2 * LONG, 128)] {
            for (lent, asked) in [(false, false), (false, true), (true, false), (true, true)] {
                far.rx.looks = Looks::new(Attempts::under(None, false));
                let mut receive = |wait| match lent {
                    true => far.rx.recv_ref(wait).map(<[u8]>::len),
                    // Over the last message, which was long.
                    false => far.rx.recv_with(&mut vec![0; LONG], wait),
                };
                near.tx.send(&vec![1; len]).unwrap();
                assert_eq!(receive(Wait::Never).unwrap(), len);
                assert!(matches!(receive(Wait::Never), Err(RecvError::Empty)), "no look is lost");
                if asked {
                    assert!(matches!(receive(over), Err(RecvError::TimedOut)));
                }
                let left = far.rx.looks.take(Wait::Forever);
                assert_eq!(left, if asked { 0 } else { looks }, "{len} bytes, lent: {lent}");
            }
        }
    }

    #[test]
    fn a_long_message_over_the_last_one_is_whole_whatever_the_lengths() {
        let (mut near, mut far) = UdsSeqpacket::pair(&Default::default()).unwrap();
        let (mut got, mut total) = (Vec::new(), 0);
        for len in [LONG, LONG - 1, 3 * LONG, 2 * LONG, 0, LONG, 5 * LONG, 5 * LONG, LONG + 1, 7] {
            let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            near.tx.send(&message).unwrap();
            // As long as the last message, or with whatever a caller left in it.
            for left in [got.len(), 2 * LONG] {
                got.resize(left, 0xaa);
            }
            assert_eq!(far.rx.recv_with(&mut got, Wait::Never).unwrap(), len);
            assert!(got == message, "{len}");
            total += len as u64;
        }
        assert_eq!((far.rx.stats().messages, far.rx.stats().bytes), (10, total));
        // What was found before is handed over first.
        near.tx.send(b"first").unwrap();
        near.tx.send(&[9; LONG]).unwrap();
        far.rx.ready(Wait::Never).unwrap();
        for message in [&b"first"[..], &[9; LONG]] {
            got.resize(2 * LONG, 0);
            far.rx.recv_with(&mut got, Wait::Never).unwrap();
            assert_eq!(got, message);
        }
        got.resize(LONG, 1);
        assert!(matches!(far.rx.recv_with(&mut got, Wait::Never), Err(RecvError::Empty)));
        assert_eq!((got.len(), far.rx.stats().would_block), (0, 1));
        drop(near);
        for _ in 0..2 {
            got.resize(LONG, 1);
            assert!(matches!(far.rx.recv_with(&mut got, Wait::Never), Err(RecvError::Closed)));
            assert!(got.is_empty());
        }
    }

    #[test]
    fn a_datagram_that_is_not_one_frame_is_refused_over_a_long_buffer_too() {
        let long = 20_u32.to_le_bytes();
        // Less than its header says, more, a part of a header, and a length beyond the agreement.
        for datagram in [
            [&long[..], &[0; 10]].concat(),
            [&[1, 0, 0, 0], &[0; 10][..]].concat(),
            vec![1, 0],
            vec![0xfe; LONG],
        ] {
            let (near, mut far) = UdsSeqpacket::pair(&Default::default()).unwrap();
            near.tx.put(&[IoSlice::new(&datagram)], 0, Wait::Never).unwrap();
            let mut got = vec![0; LONG];
            let error = far.rx.recv_with(&mut got, Wait::Never).unwrap_err();
            assert!(matches!(error, RecvError::Corrupt { .. }), "{error}");
        }
    }
}
