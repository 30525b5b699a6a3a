//! Writing to a pipe without the signal: a library must not rely on the program ignoring SIGPIPE, nor change that.
#![allow(unsafe_code, reason = "signal masks")]

use std::mem::MaybeUninit;

use rustix::io::{Errno, Result};

use crate::features::Features;

/// How a pipe writer keeps SIGPIPE away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SigPipe {
    /// The kernel is asked not to send it (`RWF_NOSIGNAL`).
    Suppressed,
    /// The program ignores it, as Rust programs do unless told otherwise; found when the connection was made.
    Ignored,
    /// It is masked around each write and taken back if it came: three system calls more.
    Masked,
}

impl SigPipe {
    pub(crate) fn choose(features: &Features) -> SigPipe {
        if features.rwf_nosignal {
            return SigPipe::Suppressed;
        }
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: a null new action changes nothing; the kernel writes the old one into `action`.
        let asked = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
        // SAFETY: filled by the successful call above.
        if asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN {
            SigPipe::Ignored
        } else {
            SigPipe::Masked
        }
    }
}

/// Runs `write` with SIGPIPE masked in this thread; a signal it raised is taken back before the mask is restored.
pub(crate) fn masked(write: impl FnOnce() -> Result<usize>) -> Result<usize> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is writable; sigemptyset initialises it.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `set` was initialised above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: `set` is initialised and `before` is writable.
    let masked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) };
    if masked != 0 {
        return Err(Errno::from_raw_os_error(masked));
    }
    let result = write();
    if result == Err(Errno::PIPE) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `set` and `now` are initialised; a null info is allowed.
        unsafe { libc::sigtimedwait(set.as_ptr(), std::ptr::null_mut(), &now) };
    }
    // SAFETY: `before` was filled by the successful call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_raises_no_signal() {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        drop(read);
        assert_eq!(masked(|| rustix::io::write(&write, b"x")), Err(Errno::PIPE));
        let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `pending` is writable.
        assert_eq!(unsafe { libc::sigpending(pending.as_mut_ptr()) }, 0);
        // SAFETY: filled by the call above.
        assert_eq!(unsafe { libc::sigismember(pending.as_ptr(), libc::SIGPIPE) }, 0);
    }
}
