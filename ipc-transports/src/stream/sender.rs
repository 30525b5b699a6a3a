use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ipc_core::frame::{Check, Framing, GOODBYE};
use ipc_core::{Armed, Interest, Pollable, SendError, Sender, Stats, Wait};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{Attempts, Halt, LINGER, Link, Shared, transfer};
use crate::fault::fault_point;
use crate::fork::Owner;
use crate::frames::{self, Lengths};

/// A batch is written when it has grown to this many bytes: as much as one read at the other end takes.
const BATCH_BYTES: usize = 64 * 1024;

/// Messages of a batch up to this many bytes are copied together; longer ones are cheaper to gather.
const COPIED_BYTES: usize = 8 * 1024;

/// Sends messages as frames over a byte stream: one system call for header and payload where there is room
/// for both.
///
/// Dropped, it pushes out what was taken and says goodbye, waiting at most a second for room if the peer does not read;
/// [`flush`](Sender::flush) first to be sure.
#[derive(Debug)]
pub struct StreamSender<L: Link> {
    link: L,
    shared: Arc<Shared>,
    framing: Framing,
    attempts: Attempts,
    /// Bytes of taken messages that the kernel has not taken yet: `rest[written..]`.
    rest: Vec<u8>,
    written: usize,
    /// Where the frame of a short message is put together.
    room: Vec<u8>,
    end: Option<End>,
    owner: Owner,
    stats: Stats,
}

/// Why this half is finished.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    PeerDied,
}

impl<L: Link> StreamSender<L> {
    pub(crate) fn new(link: L, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> Self {
        StreamSender {
            link,
            shared,
            framing,
            attempts,
            rest: Vec::new(),
            written: 0,
            room: frames::room(),
            end: None,
            owner: Owner::here(),
            stats: Stats::default(),
        }
    }

    pub(crate) fn link(&self) -> &L {
        &self.link
    }

    fn usable(&self) -> Result<(), SendError> {
        if self.owner.is_forked() {
            return Err(SendError::Forked);
        }
        match self.end {
            None => Ok(()),
            Some(End::Closed) => Err(SendError::Closed),
            Some(End::PeerDied) => Err(SendError::PeerDied),
        }
    }

    /// One write of `parts`, of a message or batch of `whole` bytes; what stops it becomes the sender's answer.
    #[inline]
    fn write(&mut self, parts: &[IoSlice<'_>], whole: usize, wait: Wait) -> Result<usize, SendError> {
        self.put(parts, whole, wait).map_err(|halt| self.halted(halt))
    }

    #[inline]
    fn put(&self, parts: &[IoSlice<'_>], whole: usize, wait: Wait) -> Result<usize, Halt> {
        fault_point!("stream.write");
        let looks = self.attempts.to_write(whole);
        let written = transfer(&self.link, looks, PollFlags::OUT, wait, |link, mode| link.write(parts, mode));
        fault_point!("stream.written");
        written
    }

    /// Writes all of `rest`. Why it does not go is not asked: finding out takes a while, and nobody hears the answer.
    fn last_words(&mut self, wait: Wait) -> Result<(), Halt> {
        while self.written < self.rest.len() {
            let whole = self.rest.len();
            self.written += self.put(&[IoSlice::new(&self.rest[self.written..])], whole, wait)?;
        }
        Ok(())
    }

    #[cold]
    fn halted(&mut self, halt: Halt) -> SendError {
        match halt {
            Halt::WouldBlock => {
                self.stats.would_block += 1;
                SendError::Full
            }
            Halt::TimedOut => {
                self.stats.full_waits += 1;
                SendError::TimedOut
            }
            Halt::PeerExited => self.ended(SendError::PeerDied),
            Halt::Failed(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                let why = self.link.why_unwritable(self.shared.heard_goodbye());
                self.ended(why)
            }
            Halt::Failed(error) => SendError::Io(error.into()),
        }
    }

    fn ended(&mut self, why: SendError) -> SendError {
        self.end = match why {
            SendError::Closed => Some(End::Closed),
            _ => Some(End::PeerDied),
        };
        why
    }

    /// Writes `frame`, of which nothing is written yet. Once a byte of it is out the message is taken: what stops the
    /// rest, short of the connection's end, is told by the next call if it lasts.
    #[inline]
    fn write_frame(
        &mut self,
        mut frame: &mut [IoSlice<'_>],
        lengths: Lengths,
        wait: Wait,
    ) -> Result<(), SendError> {
        let mut written = self.write(frame, lengths.message, wait)?;
        let mut left = lengths.frame - written;
        while left > 0 {
            IoSlice::advance_slices(&mut frame, written);
            match self.write(frame, lengths.message, wait) {
                Ok(more) => written = more,
                Err(_) if self.end.is_none() => {
                    frame.iter().for_each(|part| self.rest.extend_from_slice(part));
                    break;
                }
                Err(error) => return Err(error),
            }
            left -= written;
        }
        Ok(())
    }

    fn count(&mut self, len: usize) {
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
    }

    /// Appends whole frames of `messages` to the empty `rest`; returns how many.
    fn stage(&mut self, messages: &[IoSlice<'_>]) -> Result<usize, SendError> {
        for (staged, message) in messages.iter().enumerate() {
            let header = match self.framing.header(message.len()) {
                Err(error) if staged == 0 => return Err(error),
                Ok(header) if message.len() <= COPIED_BYTES && self.rest.len() < BATCH_BYTES => header,
                _ => return Ok(staged),
            };
            self.rest.extend_from_slice(&header);
            self.rest.extend_from_slice(message);
            if self.framing.check == Check::Crc {
                let trailer = self.framing.trailer(header, [&message[..]]);
                self.rest.extend_from_slice(&trailer);
            }
        }
        Ok(messages.len())
    }

    /// After a batch of which only the first `written` bytes went out: drops the frames no byte of which was written,
    /// and returns how many messages that leaves taken.
    fn unstage(&mut self, messages: &[IoSlice<'_>]) -> usize {
        let (mut end, mut taken) = (0, 0);
        while end < self.written {
            end += messages[taken].len() + self.framing.overhead();
            taken += 1;
        }
        self.rest.truncate(end);
        taken
    }
}

impl<L: Link> Sender for StreamSender<L> {
    #[inline]
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        self.usable()?;
        if !self.rest.is_empty() {
            // First, as long as nothing is made of the message that may have to wait.
            self.framing.header(parts.iter().map(|part| part.len()).sum())?;
            self.flush(wait)?;
        }
        let mut room = std::mem::take(&mut self.room);
        let sent = frames::with_frame(self.framing, parts, &mut room, |frame, lengths| {
            self.write_frame(frame, lengths, wait)?;
            self.count(lengths.message);
            Ok(())
        });
        self.room = room;
        sent
    }

    fn send_batch(&mut self, messages: &[IoSlice<'_>], wait: Wait) -> Result<usize, SendError> {
        self.usable()?;
        self.flush(wait)?;
        let mut taken = 0;
        while taken < messages.len() {
            let wait = if taken == 0 { wait } else { Wait::Never };
            let batch = &messages[taken..];
            let sent = match self.stage(batch) {
                // A message too long to copy, or too long altogether.
                Ok(0) => self.send_with(&batch[..1], wait).map(|()| 1),
                Ok(staged) => match self.flush(wait) {
                    Ok(()) => Ok(staged),
                    Err(_) if self.written > 0 && self.end.is_none() => Ok(self.unstage(batch)),
                    Err(error) => {
                        // Nothing of it is out, or nothing will ever go out again.
                        self.rest.clear();
                        self.written = 0;
                        Err(error)
                    }
                }
                .inspect(|sent| batch[..*sent].iter().for_each(|message| self.count(message.len()))),
                Err(error) => Err(error),
            };
            match sent {
                Ok(sent) => taken += sent,
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
            if !self.rest.is_empty() {
                break;
            }
        }
        Ok(taken)
    }

    #[inline]
    fn flush(&mut self, wait: Wait) -> Result<(), SendError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.usable()?;
        let rest = std::mem::take(&mut self.rest);
        let mut result = Ok(());
        while self.written < rest.len() && result.is_ok() {
            let left = [IoSlice::new(&rest[self.written..])];
            result = self.write(&left, rest.len(), wait).map(|n| self.written += n);
        }
        self.rest = rest;
        if result.is_ok() {
            self.rest.clear();
            self.written = 0;
        }
        result
    }

    #[inline]
    fn max_message(&self) -> usize {
        self.framing.max_message
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl<L: Link> Pollable for StreamSender<L> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Writable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        if self.end.is_some() {
            return Ok(Armed::Ready);
        }
        let mut fds = [PollFd::from_borrowed_fd(self.link.fd(), PollFlags::OUT)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) => Ok(Armed::MaySleep),
            _ => Ok(Armed::Ready),
        }
    }
}

impl<L: Link> Drop for StreamSender<L> {
    fn drop(&mut self) {
        // In a forked child the connection is still the parent's to end.
        if self.owner.is_forked() {
            return;
        }
        if self.end.is_none() {
            self.rest.extend_from_slice(&GOODBYE);
            if let Err(Halt::WouldBlock) = self.last_words(Wait::Never) {
                self.link.make_room();
                let _ = self.last_words(Wait::within(LINGER));
            }
        }
        self.link.close_write();
    }
}
