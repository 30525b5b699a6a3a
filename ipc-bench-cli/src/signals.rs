//! Being asked to stop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Turns SIGINT, SIGTERM and SIGHUP into something the runner can wait for beside its workers.
#[derive(Debug)]
pub(crate) struct Signals {
    readable: UnixStream,
    /// Number of the last signal, 0 for none.
    which: Arc<AtomicUsize>,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Signals> {
        let (readable, writable) = UnixStream::pair()?;
        let which = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: whoever wakes up finds the number.
            flag::register_usize(signal, Arc::clone(&which), signal as usize)?;
            low_level::pipe::register(signal, writable.try_clone()?)?;
        }
        Ok(Signals { readable, which })
    }

    /// The signal that came, if one did.
    pub(crate) fn caught(&self) -> Option<i32> {
        match self.which.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}

/// Readable once a signal came, for ever after.
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}
