//! What the loops send through: a transport's connection or a bare loop, behind one set of inlined calls.

use std::io::{self, IoSlice};

use ipc_limits::{Bare, InPlace};
use ipc_transports::{Loan, LoanSender, PeekReceiver, Receiver, Sender, Wait};

/// Both directions of one connection.
pub(super) trait Carrier {
    fn send(&mut self, message: &[u8]) -> io::Result<()>;

    /// Sends all of them, in as few calls as it can.
    fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> io::Result<()>;

    /// Replaces the contents of `buf` by the next message.
    fn recv(&mut self, buf: &mut Vec<u8>) -> io::Result<()>;

    /// Waits for one message and takes up to `limit` that are there.
    fn recv_each(&mut self, limit: usize, each: impl FnMut(&[u8])) -> io::Result<()>;

    /// Publishes what is held back.
    fn flush(&mut self) -> io::Result<()>;

    /// Lends the place of the next message of `len` bytes to `write`, then sends it.
    fn send_in_place(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> io::Result<()>;

    /// Lends the next message to `read`.
    fn recv_in_place(&mut self, read: impl FnOnce(&[u8])) -> io::Result<()>;
}

fn not_in_place() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this connection lends no memory")
}

/// A transport's halves.
pub(super) struct Copying<Tx, Rx>(pub(super) Tx, pub(super) Rx);

impl<Tx: Sender, Rx: Receiver> Carrier for Copying<Tx, Rx> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        Ok(self.0.send(message)?)
    }

    #[inline]
    fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> io::Result<()> {
        let mut sent = 0;
        while sent < messages.len() {
            sent += self.0.send_batch(&messages[sent..], Wait::Forever)?;
        }
        Ok(())
    }

    #[inline]
    fn recv(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        self.1.recv(buf)?;
        Ok(())
    }

    #[inline]
    fn recv_each(&mut self, limit: usize, each: impl FnMut(&[u8])) -> io::Result<()> {
        self.1.recv_each(limit, Wait::Forever, each)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.0.flush(Wait::Forever)?)
    }

    fn send_in_place(&mut self, _: usize, _: impl FnOnce(&mut [u8])) -> io::Result<()> {
        Err(not_in_place())
    }

    fn recv_in_place(&mut self, _: impl FnOnce(&[u8])) -> io::Result<()> {
        Err(not_in_place())
    }
}

/// A transport's halves that lend their memory; nothing else is asked of them.
pub(super) struct Lending<Tx, Rx>(pub(super) Copying<Tx, Rx>);

impl<Tx: LoanSender, Rx: PeekReceiver> Carrier for Lending<Tx, Rx> {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send(message)
    }

    fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.send_batch(messages)
    }

    fn recv(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        self.0.recv(buf)
    }

    fn recv_each(&mut self, limit: usize, each: impl FnMut(&[u8])) -> io::Result<()> {
        self.0.recv_each(limit, each)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    #[inline]
    fn send_in_place(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut loan = self.0.0.loan(len, Wait::Forever)?;
        write(&mut loan);
        Ok(loan.commit()?)
    }

    #[inline]
    fn recv_in_place(&mut self, read: impl FnOnce(&[u8])) -> io::Result<()> {
        let message = self.0.1.recv_ref(Wait::Forever)?;
        read(&message);
        Ok(())
    }
}

/// A bare loop.
pub(super) struct BareLoop<B> {
    pub(super) link: B,
    /// Bytes of every message.
    pub(super) size: usize,
    /// For [`Carrier::recv_each`].
    pub(super) buf: Vec<u8>,
}

impl<B: Bare> BareLoop<B> {
    pub(super) fn new(link: B, size: usize) -> Self {
        BareLoop { link, size, buf: vec![0; size] }
    }
}

impl<B: Bare> Carrier for BareLoop<B> {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.link.send(message)
    }

    #[inline]
    fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> io::Result<()> {
        messages.iter().try_for_each(|message| self.link.send(message))
    }

    #[inline]
    fn recv(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        // Writes something once only: afterwards the buffer has its length.
        buf.resize(self.size, 0);
        self.link.recv(buf).map(drop)
    }

    #[inline]
    fn recv_each(&mut self, _: usize, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.link.recv(&mut self.buf)?;
        each(&self.buf);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }

    fn send_in_place(&mut self, _: usize, _: impl FnOnce(&mut [u8])) -> io::Result<()> {
        Err(not_in_place())
    }

    fn recv_in_place(&mut self, _: impl FnOnce(&[u8])) -> io::Result<()> {
        Err(not_in_place())
    }
}

/// A bare loop whose messages are written and read where they lie.
pub(super) struct BareInPlace<B>(pub(super) BareLoop<B>);

impl<B: InPlace> Carrier for BareInPlace<B> {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send(message)
    }

    fn send_batch(&mut self, messages: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.send_batch(messages)
    }

    fn recv(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        self.0.recv(buf)
    }

    fn recv_each(&mut self, limit: usize, each: impl FnMut(&[u8])) -> io::Result<()> {
        self.0.recv_each(limit, each)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    #[inline]
    fn send_in_place(&mut self, _: usize, write: impl FnOnce(&mut [u8])) -> io::Result<()> {
        self.0.link.send_in_place(write)
    }

    #[inline]
    fn recv_in_place(&mut self, read: impl FnOnce(&[u8])) -> io::Result<()> {
        self.0.link.recv_in_place(read)
    }
}
