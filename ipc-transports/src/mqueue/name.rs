//! Queues without names. A queue has to have one while it is made; here it loses it again before anybody uses it.
//!
//! A process killed in those microseconds would leave its queue, and with it a tenth of the user's budget, behind until
//! the machine restarts. So the name is first recorded as an empty file in the user's own directory, locked by its
//! maker; whoever makes a queue next unlinks the queues of records whose lock the kernel has released.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use ipc_core::{SetupError, SetupErrorKind};
use rustix::io::Errno;

use super::sys::{self, Access, Size};
use crate::directory::private_directory;
use crate::errno::setup_error;
use crate::fault::fault_point;
use crate::handshake::random;
use crate::rendezvous::Lock;

/// Both ends of a queue that only they can reach.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Can only send.
    pub(crate) send: OwnedFd,
    /// Can only receive.
    pub(crate) receive: OwnedFd,
}

const OP: &str = "make a message queue in";

/// Names tried before giving up. Each has 128 random bits: a second one is needed only when another process sweeps
/// just between the making of our record and its locking.
const ATTEMPTS: usize = 8;

/// Makes a queue of `size` and takes its name away.
///
/// # Errors
/// `Limit` with the arithmetic and the fix, `Unsupported`, `Denied` or `Io` when the directory cannot be used.
pub(crate) fn anonymous(size: Size) -> Result<Ends, SetupError> {
    let directory = private_directory(OP)?;
    sweep(&directory);
    let (name, record) = record(&directory)?;
    fault_point!("queue.recorded");
    let made = sys::create(&name, Access::Send, size).and_then(|send| {
        fault_point!("queue.made");
        let receive = sys::open(&name, Access::Receive)
            .map_err(|error| setup_error("mq_open", name.to_string_lossy(), error));
        // Whatever came of it, the name goes first and its record after: never a queue that nobody knows of.
        let _ = sys::unlink(&name);
        fault_point!("queue.unlinked");
        Ok(Ends { send, receive: receive? })
    });
    let _ = std::fs::remove_file(record.path());
    made
}

/// A fresh name, recorded.
fn record(directory: &Path) -> Result<(CString, Lock), SetupError> {
    let mut failure = None;
    for _ in 0..ATTEMPTS {
        let stem = format!("mq-{:032x}", u128::from_le_bytes(random()));
        match Lock::take(&directory.join(&stem)) {
            Ok(lock) => {
                let name = CString::new(format!("/ipc-{stem}")).map_err(|error| {
                    SetupError::new(SetupErrorKind::Io, OP, directory.display())
                        .because(std::io::Error::other(error))
                })?;
                return Ok((name, lock));
            }
            Err(error) => failure = Some(error),
        }
    }
    let error = SetupError::new(SetupErrorKind::Io, OP, directory.display());
    Err(match failure {
        Some(cause) => match cause.raw_os_error() {
            Some(code) => setup_error(OP, directory.display(), Errno::from_raw_os_error(code)),
            None => error.because(cause),
        },
        None => error,
    })
}

/// Unlinks the queues of makers that died. Errors are the next sweep's business.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(stem) = file_name.to_str().and_then(recorded) else { continue };
        // A record that is still locked has a living maker.
        let Ok(lock) = Lock::take(&directory.join(stem)) else { continue };
        if let Ok(name) = CString::new(format!("/ipc-{stem}")) {
            let _ = sys::unlink(&name);
        }
        fault_point!("queue.swept");
        let _ = std::fs::remove_file(lock.path());
    }
}

/// The stem of a record's file name.
fn recorded(file_name: &str) -> Option<&str> {
    let stem = file_name.strip_suffix(".lock")?;
    let digits = stem.strip_prefix("mq-")?;
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::DirBuilderExt;

    #[test]
    fn only_records_are_swept() {
        let stem = format!("mq-{}", "0a".repeat(16));
        assert_eq!(recorded(&format!("{stem}.lock")), Some(&*stem));
        for other in ["mq.name.lock", "mq.name", &stem, "mq-12.lock", &format!("mq-{}.lock", "x".repeat(32))]
        {
            assert_eq!(recorded(other), None, "{other}");
        }
    }

    #[test]
    fn a_dead_makers_record_is_removed_and_a_living_ones_kept() {
        let directory =
            std::env::temp_dir().join(format!("ipc-sweep-test-{:032x}", u128::from_le_bytes(random())));
        std::fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
        let (_, dead) = record(&directory).unwrap();
        let dead_path = dead.path().to_owned();
        drop(dead);
        let (_, living) = record(&directory).unwrap();
        sweep(&directory);
        assert!(!dead_path.exists());
        assert!(living.path().exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
