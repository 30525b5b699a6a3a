//! Pipes and sockets: frames of a 4-byte little-endian length and the payload, one gathered write and one
//! scattered read for each.

use crate::{Bare, out_of_step, peer_gone, wrong_length};
use rustix::io::{Errno, readv, writev};
use std::{
    hint,
    io::{self, IoSlice, IoSliceMut},
    os::fd::OwnedFd,
};

/// Bytes of the length before the payload.
const HEADER: usize = 4;

/// One side of a [`Kind::Pipe`](crate::Kind::Pipe), [`Kind::Unix`](crate::Kind::Unix),
/// [`Kind::Seqpacket`](crate::Kind::Seqpacket) or [`Kind::Tcp`](crate::Kind::Tcp) link.
///
/// A read asks for the length and the payload of exactly one message, the payload straight into the caller's
/// buffer: since all messages of a link have one length, nothing is read ahead and nothing copied twice. A
/// short read or write is continued until the frame is complete, so messages larger than the kernel's buffers
/// take several calls.
#[derive(Debug)]
pub struct Stream {
    rx: OwnedFd,
    /// `None` where one descriptor serves both directions.
    tx: Option<OwnedFd>,
    size: usize,
}

impl Stream {
    /// The descriptors are blocking, or non-blocking to spin.
    pub(crate) fn new(rx: OwnedFd, tx: Option<OwnedFd>, size: usize) -> Stream {
        Stream { rx, tx, size }
    }

    /// Sends what a short write of `done` bytes left over.
    #[cold]
    fn send_rest(&self, header: &[u8; HEADER], message: &[u8], mut done: usize) -> io::Result<()> {
        while done < HEADER + message.len() {
            let rest = [
                IoSlice::new(header.get(done..).unwrap_or_default()),
                IoSlice::new(&message[done.saturating_sub(HEADER)..]),
            ];
            done += persist(|| writev(self.tx.as_ref().unwrap_or(&self.rx), &rest))?;
        }
        Ok(())
    }

    /// Reads what a short read of `done` bytes left over.
    #[cold]
    fn recv_rest(&self, header: &mut [u8; HEADER], buf: &mut [u8], mut done: usize) -> io::Result<()> {
        while done < HEADER + buf.len() {
            let mut rest = [
                IoSliceMut::new(header.get_mut(done..).unwrap_or_default()),
                IoSliceMut::new(&mut buf[done.saturating_sub(HEADER)..]),
            ];
            match persist(|| readv(&self.rx, &mut rest))? {
                0 => return Err(peer_gone()),
                more => done += more,
            }
        }
        Ok(())
    }
}

/// Repeats a call that was interrupted, or that a non-blocking descriptor could not do yet. A peer that is
/// gone ends it: the kernel then answers with an end of file or an error.
#[inline(always)]
fn persist<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Ok(done) => return Ok(done),
            Err(Errno::AGAIN) => hint::spin_loop(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Bare for Stream {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if message.len() != self.size {
            return Err(wrong_length("message", message.len(), self.size));
        }
        let header = (message.len() as u32).to_le_bytes();
        let frame = [IoSlice::new(&header), IoSlice::new(message)];
        let done = persist(|| writev(self.tx.as_ref().unwrap_or(&self.rx), &frame))?;
        if done == HEADER + message.len() { Ok(()) } else { self.send_rest(&header, message, done) }
    }

    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let have = buf.len();
        let Some(buf) = buf.get_mut(..self.size) else {
            return Err(wrong_length("buffer", have, self.size));
        };
        let mut header = [0; HEADER];
        let mut frame = [IoSliceMut::new(&mut header), IoSliceMut::new(buf)];
        let done = persist(|| readv(&self.rx, &mut frame))?;
        if done == 0 {
            return Err(peer_gone());
        }
        if done < HEADER + buf.len() {
            self.recv_rest(&mut header, buf, done)?;
        }
        match u32::from_le_bytes(header) as usize {
            length if length == self.size => Ok(length),
            length => Err(out_of_step(self.size as u64, length as u64)),
        }
    }
}
