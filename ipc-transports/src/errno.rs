//! System errors of set-up calls as [`SetupError`]s: one place decides which errno is which kind.

use std::io;

use ipc_core::{SetupError, SetupErrorKind};
use rustix::io::Errno;
use rustix::process::Resource;

/// `error` of `op` on `target`, with the limit and its numbers where the errno is a limit.
pub(crate) fn setup_error(op: &'static str, target: impl std::fmt::Display, error: Errno) -> SetupError {
    let kind = match error {
        Errno::ADDRINUSE => SetupErrorKind::InUse { pid: None },
        Errno::NOENT | Errno::CONNREFUSED => SetupErrorKind::NotFound,
        // A listener that dies takes the clients in its backlog along.
        Errno::CONNRESET | Errno::PIPE => SetupErrorKind::HungUp,
        // A link or a directory in the place of one of our files is somebody else's doing.
        Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::ISDIR => SetupErrorKind::Denied,
        Errno::MFILE => {
            let have = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            SetupErrorKind::Limit { name: "RLIMIT_NOFILE", need: have.saturating_add(1), have }
        }
        Errno::NFILE => {
            let file_max = std::fs::read_to_string("/proc/sys/fs/file-max").unwrap_or_default();
            let have = file_max.trim().parse().unwrap_or(0);
            SetupErrorKind::Limit { name: "fs.file-max", need: have + 1, have }
        }
        Errno::NOMEM | Errno::NOSPC | Errno::NOBUFS => SetupErrorKind::NoSpace,
        Errno::NAMETOOLONG => SetupErrorKind::NameTooLong,
        Errno::TIMEDOUT | Errno::AGAIN => SetupErrorKind::TimedOut,
        Errno::NOSYS | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT => SetupErrorKind::Unsupported,
        _ => SetupErrorKind::Io,
    };
    let told = io::Error::from(error);
    let source = match fix(&kind) {
        Some(fix) => io::Error::new(told.kind(), format!("{told}; {fix}")),
        None => told,
    };
    SetupError::new(kind, op, target).because(source)
}

/// What lifts a limit.
fn fix(kind: &SetupErrorKind) -> Option<&'static str> {
    match kind {
        SetupErrorKind::Limit { name: "RLIMIT_NOFILE", .. } => {
            Some("close some descriptors or raise it with ulimit -n")
        }
        SetupErrorKind::Limit { name: "fs.file-max", .. } => Some("raise it with sysctl fs.file-max"),
        _ => None,
    }
}

/// `error` of mapping `len` bytes: `ENOMEM` is the limit on this process's mappings if it has that many, else that on its
/// address space where it has one.
pub(crate) fn map_error(op: &'static str, len: usize, error: Errno) -> SetupError {
    let target = format_args!("{len} bytes");
    let limit = |kind, why: String| {
        let why = io::Error::new(io::ErrorKind::OutOfMemory, format!("{error}{why}"));
        SetupError::new(kind, op, target).because(why)
    };
    if error != Errno::NOMEM {
        return setup_error(op, target, error);
    }
    let have = mappings();
    if let Some(most) = most_mappings().filter(|most| have >= *most) {
        let kind =
            SetupErrorKind::Limit { name: "vm.max_map_count", need: most.saturating_add(1), have: most };
        let why = format!(
            ", with {have} mappings in this process; unmap some or raise it with sysctl vm.max_map_count={}",
            most.saturating_mul(2)
        );
        return limit(kind, why);
    }
    match rustix::process::getrlimit(Resource::As).current {
        Some(have) => limit(
            SetupErrorKind::Limit { name: "RLIMIT_AS", need: len as u64, have },
            ", with all that is mapped already; use a smaller capacity or raise it with ulimit -v".to_owned(),
        ),
        None => setup_error(op, target, error),
    }
}

/// Mappings of this process. Counted through a small buffer: where no more can be mapped, memory may not be had either.
fn mappings() -> u64 {
    let Ok(mut maps) = std::fs::File::open("/proc/self/maps") else { return 0 };
    let (mut buf, mut lines) = ([0; 4096], 0);
    loop {
        match io::Read::read(&mut maps, &mut buf) {
            Ok(0) | Err(_) => return lines,
            Ok(len) => lines += buf[..len].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

/// Most mappings that a process may have.
fn most_mappings() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}
