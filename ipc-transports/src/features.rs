//! What this kernel offers beyond the minimum, probed once. Each has a fallback or a named refusal.
#![allow(unsafe_code, reason = "probes calls that rustix does not wrap")]

use std::ffi::CString;
use std::sync::OnceLock;

use ipc_core::{SetupError, SetupErrorKind};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::ReadWriteFlags;

/// Environment variable naming features to treat as absent, comma-separated, so that every fallback can be exercised:
/// `IPC_DENY_FEATURES=membarrier,pidfd`.
pub const DENY_VARIABLE: &str = "IPC_DENY_FEATURES";

/// Oldest kernel this crate is written for.
const MINIMUM_KERNEL: (u32, u32) = (5, 15);

/// `RWF_NOSIGNAL`: no SIGPIPE from this write (Linux 6.18; `include/uapi/linux/fs.h`).
pub(crate) const RWF_NOSIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x100);

/// Features of the kernel this process runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// `membarrier(GLOBAL_EXPEDITED)`. Without it the waking side of shared memory pays a fence per message.
    pub(crate) membarrier: bool,
    /// `pidfd_open`. Without it the death of a peer is seen by its closed socket alone.
    pub(crate) pidfd: bool,
    /// `RWF_NOWAIT` on pipes. Without it pipes are put into non-blocking mode and wait with `ppoll`.
    pub(crate) rwf_nowait: bool,
    /// `RWF_NOSIGNAL`. Without it pipe writers mask SIGPIPE around the write.
    pub(crate) rwf_nosignal: bool,
    /// Sealed memfds with `F_SEAL_FUTURE_WRITE`. Without them `shm` and `shm-direct` are refused.
    pub(crate) seals: bool,
    /// POSIX message queues. Without them `mq` is refused.
    pub(crate) mq: bool,
}

/// Name, whether it is there, and what happens without it: for people and for `doctor`.
///
/// ```
/// for (name, is_there, without) in ipc_transports::feature_list() {
///     if !is_there {
///         println!("no {name}: {without}");
///     }
/// }
/// ```
pub fn feature_list() -> [(&'static str, bool, &'static str); 6] {
    let features = probed();
    [
        ("membarrier", features.membarrier, "shared memory pays a fence per message"),
        ("pidfd", features.pidfd, "death of a peer is seen by its closed socket alone"),
        ("rwf_nowait", features.rwf_nowait, "pipes use non-blocking mode and ppoll"),
        ("rwf_nosignal", features.rwf_nosignal, "pipe writers mask SIGPIPE around each write"),
        ("seals", features.seals, "shm and shm-direct are refused"),
        ("mq", features.mq, "mq is refused"),
    ]
}

/// The features of this kernel, less the denied ones.
///
/// # Errors
/// `Unsupported`, naming both versions on a kernel older than 5.15, or the unknown name in `IPC_DENY_FEATURES`.
pub(crate) fn features(op: &'static str) -> Result<&'static Features, SetupError> {
    static CHECK: OnceLock<Result<(), String>> = OnceLock::new();
    let checked = CHECK.get_or_init(|| {
        check_kernel(&rustix::system::uname().release().to_string_lossy())?;
        let known = feature_list().map(|(name, ..)| name);
        match denied().into_iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("{DENY_VARIABLE} names {name:?}; features are {}", known.join(", "))),
            None => Ok(()),
        }
    });
    match checked {
        Ok(()) => Ok(probed()),
        Err(why) => Err(unsupported(op, "this machine", why.clone())),
    }
}

/// A refusal that names what is missing.
pub(crate) fn unsupported(
    op: &'static str,
    target: impl std::fmt::Display,
    why: impl Into<String>,
) -> SetupError {
    SetupError::new(SetupErrorKind::Unsupported, op, target)
        .because(std::io::Error::new(std::io::ErrorKind::Unsupported, why.into()))
}

fn check_kernel(release: &str) -> Result<(), String> {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < MINIMUM_KERNEL {
        let (major, minor) = MINIMUM_KERNEL;
        return Err(format!("Linux {major}.{minor} or newer is needed, this is {release}"));
    }
    Ok(())
}

fn denied() -> Vec<String> {
    let list = std::env::var(DENY_VARIABLE).unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn probed() -> &'static Features {
    static FEATURES: OnceLock<Features> = OnceLock::new();
    FEATURES.get_or_init(|| {
        let denied = denied();
        let allowed = |name: &str| !denied.iter().any(|denied| denied == name);
        Features {
            membarrier: allowed("membarrier") && has_membarrier(),
            pidfd: allowed("pidfd") && has_pidfd(),
            rwf_nowait: allowed("rwf_nowait") && pipe_takes(ReadWriteFlags::NOWAIT),
            rwf_nosignal: allowed("rwf_nosignal") && pipe_takes(RWF_NOSIGNAL),
            seals: allowed("seals") && has_seals(),
            mq: allowed("mq") && has_mq(),
        }
    })
}

fn has_membarrier() -> bool {
    let wanted = libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED | libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    // SAFETY: MEMBARRIER_CMD_QUERY takes no pointer and changes nothing.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) };
    commands >= 0 && commands as i32 & wanted == wanted
}

fn has_pidfd() -> bool {
    rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).is_ok()
}

/// Whether a write to a pipe accepts `flag`; an unknown flag is EOPNOTSUPP.
fn pipe_takes(flag: ReadWriteFlags) -> bool {
    let Ok((_read, write)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else { return false };
    rustix::io::pwritev2(&write, &[std::io::IoSlice::new(b"x")], u64::MAX, flag).is_ok()
}

fn has_seals() -> bool {
    rustix::fs::memfd_create("ipc-probe", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .and_then(|memfd| rustix::fs::fcntl_add_seals(&memfd, SealFlags::FUTURE_WRITE))
        .is_ok()
}

fn has_mq() -> bool {
    let Ok(name) = CString::new("/ipc-probe-that-does-not-exist") else { return false };
    // SAFETY: `name` is a NUL-terminated string that outlives the call; without O_CREAT there are no more arguments.
    let queue = unsafe { libc::mq_open(name.as_ptr(), libc::O_RDONLY) };
    if queue >= 0 {
        // SAFETY: `queue` was just opened here and is closed once.
        unsafe { libc::mq_close(queue) };
        return true;
    }
    std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_refused_naming_both_versions() {
        assert!(check_kernel("6.18.44-fc").is_ok());
        assert!(check_kernel("5.15.0").is_ok());
        let why = check_kernel("5.10.0-9-amd64").unwrap_err();
        assert!(why.contains("5.15") && why.contains("5.10.0-9-amd64"), "{why}");
        assert!(check_kernel("nonsense").is_err());
    }
}
