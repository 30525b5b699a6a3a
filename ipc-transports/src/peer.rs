//! Who is at the other end of a socket, and whether it still lives or has said goodbye.
#![allow(
    unsafe_code,
    reason = "SO_PEERCRED and SO_PEERPIDFD: rustix assumes a pid that other pid namespaces do not have; SO_PEEK_OFF"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use ipc_core::frame::GOODBYE;
use ipc_core::{PeerInfo, SetupError, SetupErrorKind};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::features::Features;

/// `SO_PEERPIDFD` (Linux 6.5; `include/uapi/asm-generic/socket.h`).
const SO_PEERPIDFD: libc::c_int = 77;

/// The peer's credentials as the kernel recorded them when the connection was made.
///
/// # Errors
/// Not a connected Unix socket.
pub(crate) fn credentials(socket: BorrowedFd<'_>) -> io::Result<PeerInfo> {
    let found: libc::ucred = option(socket, libc::SO_PEERCRED)?;
    let pid = u32::try_from(found.pid).ok().filter(|pid| *pid != 0);
    Ok(PeerInfo::new(Some(found.uid), pid))
}

/// The peer's credentials, if its user is ours or in `allowed`.
///
/// # Errors
/// `Denied` naming both users.
pub(crate) fn admitted(
    socket: BorrowedFd<'_>,
    allowed: &[u32],
    op: &'static str,
    target: &str,
) -> Result<PeerInfo, SetupError> {
    let peer = credentials(socket)
        .map_err(|error| SetupError::new(SetupErrorKind::Io, op, target).because(error))?;
    let own = rustix::process::geteuid().as_raw();
    match peer.uid {
        Some(uid) if uid == own || allowed.contains(&uid) => Ok(peer),
        other => {
            let uid = other.map_or("unknown".to_owned(), |uid| uid.to_string());
            Err(SetupError::new(SetupErrorKind::Denied, op, target).because(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the peer is uid {uid}, we are uid {own}; allow it with ?allow_uid={uid}"),
            )))
        }
    }
}

/// A descriptor that becomes readable when the peer's process exits. `None` where the kernel has no pidfds or the peer
/// is out of sight in another pid namespace; its closed socket tells then.
pub(crate) fn pidfd(socket: BorrowedFd<'_>, peer: &PeerInfo, features: &Features) -> Option<OwnedFd> {
    if !features.pidfd {
        return None;
    }
    if let Ok(raw) = option::<libc::c_int>(socket, SO_PEERPIDFD) {
        // SAFETY: the kernel made this descriptor for us in the call above, and nobody else knows it.
        return Some(unsafe { OwnedFd::from_raw_fd(raw) });
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(peer.pid?).ok()?)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Whether the unread input ends with a goodbye. The receiving half has not come to it yet, so the answer is read by
/// peeking: a payload that ends in four 0xFF bytes and is the peer's last word before it died looks the same.
pub(crate) fn goodbye_is_waiting(socket: BorrowedFd<'_>) -> bool {
    let Ok(unread) = rustix::io::ioctl_fionread(socket) else { return false };
    let Ok(before) = i32::try_from(unread.saturating_sub(GOODBYE.len() as u64)) else { return false };
    // Of datagrams a peek sees the first alone, unless it begins behind it. The kernel moves the offset back when the
    // receiving half takes something meanwhile (sk_peek_offset_bwd), and nobody else peeks.
    if peek_from(socket, before).is_ok() {
        let mut bytes = [0; GOODBYE.len()];
        let peeked = peek(socket, &mut bytes);
        let _ = peek_from(socket, -1);
        return peeked == bytes.len() && bytes == GOODBYE;
    }
    // TCP before Linux 6.9 has no such offset.
    let mut bytes = vec![0; unread as usize];
    peek(socket, &mut bytes) == bytes.len() && bytes.ends_with(&GOODBYE)
}

/// How many bytes of the unread input now lie in `bytes`, too; none if there is no more input.
fn peek(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> usize {
    loop {
        match rustix::net::recv(socket, &mut *bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            // A reset is told once, and by a datagram socket before what lies in its queue (net/core/datagram.c).
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Ok((peeked, _)) => return peeked,
            Err(_) => return 0,
        }
    }
}

/// Where the next peek begins, in bytes of unread input; −1: at its beginning, each time.
fn peek_from(socket: BorrowedFd<'_>, offset: i32) -> io::Result<()> {
    // SAFETY: the value is a C int that lives during the call, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const offset).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn option<T: Copy>(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has `len` writable bytes, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<T>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel filled all `len` bytes, and T is plain data for every option used here.
    Ok(unsafe { value.assume_init() })
}
