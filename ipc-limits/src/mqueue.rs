//! POSIX message queues: try, `ppoll` beside the lifeline, receive.
#![allow(unsafe_code, reason = "rustix has no mq_* calls")]

use crate::{
    Bare, Params,
    kind::{Wait, invalid},
    lifeline::Lifeline,
    out_of_step, peer_gone, wrong_length,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use std::{
    ffi::CString,
    fs, io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

/// Creates a queue that has no name any more: only its descriptor leads to it.
///
/// # Errors
/// Names `msgsize_max` or `msg_max` if the parameters exceed them, and `RLIMIT_MSGQUEUE` if the user's budget
/// is used up.
pub(crate) fn create(params: &Params) -> io::Result<OwnedFd> {
    within("msgsize_max", params.size, "size")?;
    within("msg_max", params.depth, "depth")?;
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let name = CString::new(format!("/ipc-limits-{:016x}", u64::from_ne_bytes(random)))?;
    // SAFETY: a plain C struct of integers, for which zero is a value.
    let mut attributes: libc::mq_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    attributes.mq_maxmsg = params.depth as libc::c_long;
    attributes.mq_msgsize = params.size as libc::c_long;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated name, and the mode and attributes that `O_CREAT` asks for.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600 as libc::mode_t, &raw const attributes) };
    if queue < 0 {
        let error = io::Error::last_os_error();
        let hint = match error.raw_os_error() {
            Some(libc::EMFILE) => "; the user's budget for queues is used up: see ulimit -q",
            _ => "",
        };
        let Params { size, depth, .. } = params;
        let sentence = format!("mq_open of {depth} messages of {size} bytes: {error}{hint}");
        return Err(io::Error::new(error.kind(), sentence));
    }
    // SAFETY: on Linux a queue descriptor is a file descriptor, and this one is new.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    // SAFETY: a NUL-terminated name.
    match unsafe { libc::mq_unlink(name.as_ptr()) } {
        0 => Ok(queue),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Refuses `value` above `/proc/sys/fs/mqueue/<limit>`.
fn within(limit: &str, value: usize, what: &str) -> io::Result<()> {
    let most = fs::read_to_string(format!("/proc/sys/fs/mqueue/{limit}"))?;
    match most.trim().parse::<usize>() {
        Ok(most) if value <= most => Ok(()),
        _ => Err(invalid(format!("mq limit: {what} {value} exceeds fs.mqueue.{limit} {}", most.trim()))),
    }
}

/// One side of a [`Kind::Mq`](crate::Kind::Mq) link.
///
/// The queue's message size is the link's, so a receive goes straight into the caller's buffer.
#[derive(Debug)]
pub struct Queue {
    rx: OwnedFd,
    tx: OwnedFd,
    lifeline: Lifeline,
    size: usize,
    wait: Wait,
}

impl Queue {
    pub(crate) fn new(rx: OwnedFd, tx: OwnedFd, lifeline: Lifeline, size: usize, wait: Wait) -> Queue {
        Queue { rx, tx, lifeline, size, wait }
    }

    /// Repeats `attempt` until it is done, with a wait for `events` on `queue` in between.
    #[inline(always)]
    fn persist(
        &self,
        queue: &OwnedFd,
        events: PollFlags,
        mut attempt: impl FnMut() -> libc::ssize_t,
    ) -> io::Result<usize> {
        let mut look = || match attempt() {
            done if done >= 0 => Some(Ok(done as usize)),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::TimedOut => None,
                error if error.kind() == io::ErrorKind::Interrupted => None,
                error => Some(Err(error)),
            },
        };
        if self.wait == Wait::Spin {
            return self.lifeline.spin(look)?;
        }
        loop {
            if let Some(done) = look() {
                return done;
            }
            let mut fds = [
                PollFd::from_borrowed_fd(queue.as_fd(), events),
                PollFd::from_borrowed_fd(self.lifeline.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if fds[0].revents().is_empty() && fds[1].revents().contains(PollFlags::HUP) {
                return Err(peer_gone());
            }
        }
    }
}

/// A deadline that has passed since 1970: with it a timed call is an attempt. The kernel does not even arm a
/// timer for it.
const NOW: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

impl Bare for Queue {
    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if message.len() != self.size {
            return Err(wrong_length("message", message.len(), self.size));
        }
        let queue = self.tx.as_raw_fd();
        self.persist(&self.tx, PollFlags::OUT, || {
            // SAFETY: the pointer and length of a slice.
            let sent = unsafe { libc::mq_timedsend(queue, message.as_ptr().cast(), message.len(), 0, &NOW) };
            sent as libc::ssize_t
        })?;
        Ok(())
    }

    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let have = buf.len();
        let Some(buf) = buf.get_mut(..self.size) else {
            return Err(wrong_length("buffer", have, self.size));
        };
        let queue = self.rx.as_raw_fd();
        let length = self.persist(&self.rx, PollFlags::IN, || {
            let to = buf.as_mut_ptr().cast();
            // SAFETY: the pointer and length of a slice; no priority is asked for.
            unsafe { libc::mq_timedreceive(queue, to, buf.len(), ptr::null_mut(), &NOW) }
        })?;
        if length == self.size { Ok(length) } else { Err(out_of_step(self.size as u64, length as u64)) }
    }
}
