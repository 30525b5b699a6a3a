use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ipc_core::frame::{Check, Framing, GOODBYE, HEADER_LEN, Parsed};
use ipc_core::{Armed, Interest, PeekReceiver, Pollable, Receiver, RecvError, Stats, Wait};
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::{Attempts, Halt, Link, Looks, Shared, transfer};
use crate::fault::fault_point;
use crate::fork::Owner;

/// Bytes asked of the kernel at once: hundreds of small messages in one call.
const BUFFER_BYTES: usize = 64 * 1024;

/// Messages from this many bytes on are read straight into the caller's buffer.
const DIRECT_BYTES: usize = 8 * 1024;

/// Most bytes a length claims of our memory before the bytes themselves arrive.
const UNPROVEN_BYTES: usize = 256 * 1024;

/// Receives messages from a byte stream through a buffer, many per system call when they are small; long ones go
/// straight into the caller's buffer.
///
/// ```
/// use ipc_transports::{Receiver, RecvError, Sender, Transport, Uds};
/// let (mut near, mut far) = Uds::pair(&Default::default())?;
/// near.tx.send(b"last words")?;
/// drop(near);
/// let mut message = Vec::new();
/// far.rx.recv(&mut message)?;
/// assert!(matches!(far.rx.recv(&mut message), Err(RecvError::Closed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StreamReceiver<L: Link> {
    link: L,
    shared: Arc<Shared>,
    framing: Framing,
    looks: Looks,
    /// Unparsed bytes of the stream: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// What [`PeekReceiver::ready`] found: the payload, and where the next frame begins.
    found: Option<(Range<usize>, usize)>,
    /// Payload bytes of the previous message: the guess for the next one.
    last_len: usize,
    finished: Option<End>,
    owner: Owner,
    stats: Stats,
}

/// Why this half is finished.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    PeerDied { partial_bytes: usize },
    Corrupt { what: &'static str },
}

impl End {
    fn error(self) -> RecvError {
        match self {
            End::Closed => RecvError::Closed,
            End::PeerDied { partial_bytes } => RecvError::PeerDied { partial_bytes },
            End::Corrupt { what } => RecvError::Corrupt { what },
        }
    }
}

impl<L: Link> StreamReceiver<L> {
    pub(crate) fn new(link: L, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> Self {
        StreamReceiver {
            link,
            shared,
            framing,
            looks: Looks::new(attempts),
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            found: None,
            last_len: 0,
            finished: None,
            owner: Owner::here(),
            stats: Stats::default(),
        }
    }

    pub(crate) fn link(&self) -> &L {
        &self.link
    }

    /// Bytes read from the link that are not yet part of a received message.
    pub(crate) fn unparsed(&self) -> usize {
        self.end - self.start
    }

    fn usable(&self) -> Result<(), RecvError> {
        if self.owner.is_forked() {
            return Err(RecvError::Forked);
        }
        match self.finished {
            None => Ok(()),
            Some(end) => Err(end.error()),
        }
    }

    #[cold]
    fn finish(&mut self, end: End) -> RecvError {
        self.finished = Some(end);
        if let End::Closed = end {
            self.shared.hear_goodbye();
        }
        end.error()
    }

    /// Looks for a whole frame in the buffer: its payload and the start of the next, or how many bytes it needs.
    #[inline]
    fn parse(&mut self) -> Result<Result<(Range<usize>, usize), usize>, RecvError> {
        match self.framing.parse(&self.buffer[self.start..self.end]) {
            Ok(Parsed::Message { payload, frame_len }) => {
                let payload = self.start + payload.start..self.start + payload.end;
                Ok(Ok((payload, self.start + frame_len)))
            }
            Ok(Parsed::Incomplete { need }) => Ok(Err(need)),
            Ok(Parsed::Goodbye) => Err(self.finish(End::Closed)),
            Err(what) => Err(self.finish(End::Corrupt { what })),
        }
    }

    /// A frame is here in part: `need` bytes long, as far as its header is here. The next read looks for its rest, once for each
    /// part: if that `came` in this call, or with the message before.
    #[inline]
    fn expect_rest(&mut self, need: usize, came: bool) {
        if need > HEADER_LEN && (came || self.looks.are_fresh()) {
            self.looks.beside(need.saturating_sub(self.framing.overhead()));
        }
    }

    /// Moves on to the frame at `next`.
    #[inline]
    fn advance(&mut self, len: usize, next: usize) {
        self.start = next;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else {
            self.looks.behind_more();
        }
        self.looks.beside(len);
        self.last_len = len;
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
    }

    /// One read into `parts`; end of file and failures become the receiver's answer. `held` are the bytes of an
    /// unfinished message held so far.
    #[inline]
    fn read(&mut self, parts: &mut [IoSliceMut<'_>], wait: Wait, held: usize) -> Result<usize, RecvError> {
        let looks = self.looks.take(wait);
        let done = transfer(&self.link, looks, PollFlags::IN, wait, |link, mode| link.read(parts, mode));
        fault_point!("stream.read");
        match done {
            Ok(0) | Err(Halt::PeerExited | Halt::Failed(Errno::CONNRESET)) => {
                Err(self.finish(End::PeerDied { partial_bytes: held }))
            }
            Ok(read) => Ok(read),
            Err(Halt::WouldBlock) => {
                self.stats.would_block += 1;
                Err(RecvError::Empty)
            }
            Err(Halt::TimedOut) => Err(RecvError::TimedOut),
            Err(Halt::Failed(error)) => Err(RecvError::Io(error.into())),
        }
    }

    /// Reads more of the stream into the buffer, making room for a frame of `need` bytes as they arrive.
    #[inline(always)]
    fn fill(&mut self, need: usize, wait: Wait) -> Result<(), RecvError> {
        if self.start + need > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer.resize(need.min(2 * self.buffer.len()), 0);
            }
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read(&mut [IoSliceMut::new(&mut buffer[self.end..])], wait, self.end - self.start);
        self.buffer = buffer;
        self.end += read?;
        Ok(())
    }

    /// Receives a long message into `out`. `len` is known if its header is in the buffer (which then holds less than
    /// the whole frame); else the previous length is the guess, and header and payload are read at once. Nothing is
    /// read beyond the message: what is would have to be copied once more, which costs long messages more than the
    /// call it saves. `None`: not even a header came; look again.
    // On its own, and `fill` in its callers: each saves short messages a few instructions (`cargo xtask callgrind`).
    #[inline(never)]
    fn recv_direct(
        &mut self,
        out: &mut Vec<u8>,
        len: Option<usize>,
        wait: Wait,
    ) -> Result<Option<usize>, RecvError> {
        let (len, mut got) = match len {
            Some(len) => {
                let held = self.start + HEADER_LEN..self.end;
                let got = held.len();
                make_room(out, got, len);
                out[..got].copy_from_slice(&self.buffer[held]);
                (self.start, self.end) = (0, 0);
                (len, got)
            }
            None => match self.guess(out, wait)? {
                Some((len, got)) => {
                    if self.end > 0 {
                        self.looks.behind_more();
                    }
                    self.looks.beside(len);
                    (len, got)
                }
                None => return Ok(None),
            },
        };
        while got < len {
            make_room(out, got, len);
            let room = out.len().min(len);
            match self.read(&mut [IoSliceMut::new(&mut out[got..room])], wait, HEADER_LEN + got) {
                Ok(read) => got += read,
                Err(error) => {
                    if self.finished.is_none() {
                        self.put_back(len, &out[..got]);
                    }
                    return Err(error);
                }
            }
            self.looks.beside(len);
        }
        out.truncate(len);
        self.last_len = len;
        self.stats.messages += 1;
        self.stats.bytes += len as u64;
        Ok(Some(len))
    }

    /// Reads header and payload of the guessed length in one call. Returns the real length and how much of the payload
    /// is in `out`.
    fn guess(&mut self, out: &mut Vec<u8>, wait: Wait) -> Result<Option<(usize, usize)>, RecvError> {
        let guess = self.last_len;
        if out.len() < guess {
            out.resize(guess, 0);
        }
        let mut header = [0; HEADER_LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(&mut out[..guess])];
        let read = self.read(&mut parts, wait, 0)?;
        if read < HEADER_LEN || header == GOODBYE {
            self.buffer[..HEADER_LEN].copy_from_slice(&header);
            (self.start, self.end) = (0, read.min(HEADER_LEN));
            return Ok(None);
        }
        let len = u32::from_le_bytes(header) as usize;
        if len > self.framing.max_message {
            return Err(self.finish(End::Corrupt { what: "frame longer than the agreed maximum" }));
        }
        let got = read - HEADER_LEN;
        let own = got.min(len);
        // The guess was too long: what follows the message is the buffer's.
        let surplus = &out[own..got];
        if self.buffer.len() < surplus.len() {
            self.buffer.resize(surplus.len(), 0);
        }
        self.buffer[..surplus.len()].copy_from_slice(surplus);
        (self.start, self.end) = (0, surplus.len());
        Ok(Some((len, own)))
    }

    /// Returns the first bytes of an unfinished message to the buffer: a read failed in the middle of it.
    fn put_back(&mut self, len: usize, payload: &[u8]) {
        let held = HEADER_LEN + payload.len();
        if self.buffer.len() < held {
            self.buffer.resize(held, 0);
        }
        self.buffer[..HEADER_LEN].copy_from_slice(&(len as u32).to_le_bytes());
        self.buffer[HEADER_LEN..held].copy_from_slice(payload);
        (self.start, self.end) = (0, held);
    }

    #[inline]
    fn recv_into(&mut self, out: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        let mut came = false;
        loop {
            let need = match self.parse()? {
                Ok((payload, next)) => {
                    let len = payload.len();
                    out.clear();
                    out.extend_from_slice(&self.buffer[payload]);
                    self.advance(len, next);
                    return Ok(len);
                }
                Err(need) => need,
            };
            self.expect_rest(need, came);
            came = true;
            let held = self.end - self.start;
            let known = (held >= HEADER_LEN).then(|| need - HEADER_LEN);
            let direct = self.framing.check == Check::None
                && match known {
                    Some(len) => len >= DIRECT_BYTES,
                    None => held == 0 && self.last_len >= DIRECT_BYTES,
                };
            if direct {
                if let Some(len) = self.recv_direct(out, known, wait)? {
                    return Ok(len);
                }
            } else {
                self.fill(need, wait)?;
            }
        }
    }
}

/// Room in `out` for more of a message of `len` bytes of which `got` are there, without trusting `len` too far.
fn make_room(out: &mut Vec<u8>, got: usize, len: usize) {
    if out.len() <= got || out.len() < len {
        let proven = out.len().max(2 * got).max(UNPROVEN_BYTES);
        out.resize(len.min(proven).max(got), 0);
    }
}

impl<L: Link> Receiver for StreamReceiver<L> {
    #[inline]
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        let result = self.usable().and_then(|()| {
            self.found = None;
            self.recv_into(buf, wait)
        });
        if result.is_err() {
            buf.clear();
        }
        result
    }

    fn recv_each<F: FnMut(&[u8])>(
        &mut self,
        limit: usize,
        wait: Wait,
        mut each: F,
    ) -> Result<usize, RecvError> {
        let mut received = 0;
        while received < limit {
            if received > 0 && !matches!(self.parse(), Ok(Ok(_))) {
                break;
            }
            let message = self.recv_ref(if received == 0 { wait } else { Wait::Never })?;
            each(message);
            received += 1;
        }
        Ok(received)
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl<L: Link> PeekReceiver for StreamReceiver<L> {
    type Message<'a>
        = &'a [u8]
    where
        Self: 'a;

    #[inline]
    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        self.usable()?;
        let mut came = false;
        while self.found.is_none() {
            match self.parse()? {
                Ok(found) => self.found = Some(found),
                Err(need) => {
                    self.expect_rest(need, came);
                    came = true;
                    self.fill(need, wait)?;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self) -> Option<&[u8]> {
        let (payload, next) = self.found.take()?;
        self.advance(payload.len(), next);
        Some(&self.buffer[payload])
    }
}

impl<L: Link> Pollable for StreamReceiver<L> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        // What is in our buffer makes no descriptor ready.
        let waiting = self.finished.is_none() && self.found.is_none() && matches!(self.parse(), Ok(Err(_)));
        Ok(if waiting { Armed::MaySleep } else { Armed::Ready })
    }
}

impl<L: Link> Drop for StreamReceiver<L> {
    fn drop(&mut self) {
        // In a forked child the connection is still the parent's to end.
        if !self.owner.is_forked() {
            self.link.close_read();
        }
    }
}
