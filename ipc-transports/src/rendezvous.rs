//! Named Unix sockets: bound 0600 under a lock, so that a live listener is never replaced and a dead one's file is.
#![allow(unsafe_code, reason = "F_OFD_SETLK, which rustix does not wrap")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ipc_core::{Address, SetupError, SetupErrorKind, Wait};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::directory::socket_path;
use crate::errno::setup_error;
use crate::fault::fault_point;
use crate::peer;

/// Waiting clients the kernel keeps; it cuts this down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening Unix socket and its lock. Dropped, it removes both files.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    socket: OwnedFd,
    path: PathBuf,
    lock: Lock,
}

impl Rendezvous {
    /// Binds the socket of `at`, non-blocking, mode 0600 from its first moment.
    ///
    /// # Errors
    /// `InUse` with the pid when a live listener holds the address; `Denied`, `NameTooLong`, `Limit`, `BadAddress`.
    pub(crate) fn bind(at: &Address, kind: SocketType) -> Result<Self, SetupError> {
        const OP: &str = "listen on";
        let path = socket_path(at, OP)?;
        let lock = Lock::take(&path).map_err(|error| lock_error(&path, kind, error))?;
        fault_point!("bind.locked");
        match bind_alone(&path, kind) {
            Ok(socket) => Ok(Rendezvous { socket, path, lock }),
            Err(error) => {
                // A lock without a listener would be litter beside what is in the way.
                let _ = std::fs::remove_file(&lock.path);
                Err(error)
            }
        }
    }
}

/// Binds the socket at `path`, whose lock we hold.
fn bind_alone(path: &Path, kind: SocketType) -> Result<OwnedFd, SetupError> {
    const OP: &str = "listen on";
    let fail = |error: Errno| setup_error(OP, path.display(), error);
    // We hold the lock, so whoever bound this socket is gone; anything but a socket is not ours to remove.
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            let _ = std::fs::remove_file(path);
        }
        Ok(_) => {
            return Err(SetupError::new(SetupErrorKind::Denied, OP, path.display()).because(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way",
            )));
        }
        Err(_) => {}
    }
    let socket = new_socket(kind, SocketFlags::NONBLOCK).map_err(fail)?;
    // The mode of an unbound socket becomes the mode of its file (net/unix/af_unix.c, unix_bind_bsd), so there is
    // no moment at which others could connect.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600)).map_err(fail)?;
    let name = SocketAddrUnix::new(path).map_err(fail)?;
    rustix::net::bind(&socket, &name).map_err(fail)?;
    fault_point!("bind.bound");
    rustix::net::listen(&socket, BACKLOG).map_err(fail)?;
    fault_point!("bind.listening");
    Ok(socket)
}

impl AsFd for Rendezvous {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        fault_point!("unbind.socket");
        // Still under the lock, so these are our files and not a successor's.
        let _ = std::fs::remove_file(&self.path);
        fault_point!("unbind.lock");
        let _ = std::fs::remove_file(&self.lock.path);
    }
}

/// Connects to the socket of `to`, blocking mode.
///
/// # Errors
/// `NotFound`, `Denied`, `TimedOut` when the listener's backlog stays full, `NameTooLong`, `Limit`, `BadAddress`.
pub(crate) fn connect(to: &Address, kind: SocketType, wait: Wait) -> Result<OwnedFd, SetupError> {
    const OP: &str = "connect to";
    let path = socket_path(to, OP)?;
    let fail = |error: Errno| setup_error(OP, to, error);
    let name = SocketAddrUnix::new(&path).map_err(fail)?;
    let socket = new_socket(kind, SocketFlags::empty()).map_err(fail)?;
    // A full backlog cannot be polled for; the send timeout bounds the kernel's own wait for it (af_unix.c).
    let patience = match wait {
        Wait::Forever => None,
        _ => Some(wait.remaining().unwrap_or_default().max(std::time::Duration::from_micros(1))),
    };
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience).map_err(fail)?;
    loop {
        match rustix::net::connect(&socket, &name) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(fail(error)),
            Ok(()) => break,
        }
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None).map_err(fail)?;
    Ok(socket)
}

fn new_socket(kind: SocketType, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags | SocketFlags::CLOEXEC, None)
}

/// Why the lock of `path` is not ours: a live listener, named by the credentials of a probing connection, or an error.
fn lock_error(path: &Path, kind: SocketType, error: io::Error) -> SetupError {
    const OP: &str = "listen on";
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            let pid = SocketAddrUnix::new(path)
                .and_then(|name| {
                    let probe = new_socket(kind, SocketFlags::NONBLOCK)?;
                    rustix::net::connect(&probe, &name).map(|()| probe)
                })
                .ok()
                .and_then(|probe| peer::credentials(probe.as_fd()).ok()?.pid);
            SetupError::new(SetupErrorKind::InUse { pid }, OP, path.display())
        }
        io::ErrorKind::PermissionDenied => {
            SetupError::new(SetupErrorKind::Denied, OP, path.display()).because(error)
        }
        io::ErrorKind::NotFound => SetupError::new(SetupErrorKind::Io, OP, path.display())
            .because(io::Error::new(io::ErrorKind::NotFound, "the directory does not exist")),
        _ => match error.raw_os_error() {
            Some(code) => setup_error(OP, path.display(), Errno::from_raw_os_error(code)),
            None => SetupError::new(SetupErrorKind::Io, OP, path.display()).because(error),
        },
    }
}

/// An open-file-description lock on `<socket>.lock`: the kernel releases it with its holder, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// The lock's own file, for its holder to remove.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock without waiting; `WouldBlock` when somebody lives who has it.
    pub(crate) fn take(socket: &Path) -> io::Result<Lock> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            lock_now(&file)?;
            // The previous holder removes the file as it leaves: what we locked may no longer be what the name means.
            let locked = file.metadata()?;
            match std::fs::symlink_metadata(&path) {
                Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => {
                    return Ok(Lock { path, _file: file });
                }
                _ => {}
            }
        }
    }
}

/// `fcntl(F_OFD_SETLK)` for writing, whole file.
fn lock_now(file: &File) -> io::Result<()> {
    // SAFETY: `flock` is plain integers, for which zero is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open and `range` is a valid flock for the length of the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &range) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
            error => Err(error),
        },
    }
}
