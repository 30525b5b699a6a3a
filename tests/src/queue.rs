//! Message queues as somebody outside the library sees them.
#![allow(unsafe_code, reason = "mq_open and mq_send, which nothing safe offers")]

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

/// Makes the queue `name` and leaves it behind, as a process killed at the wrong moment would.
///
/// # Errors
/// What `mq_open` said.
pub fn leave_behind(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: `mq_attr` is plain integers, for which zero is a value.
    let mut size: libc::mq_attr = unsafe { std::mem::zeroed() };
    (size.mq_maxmsg, size.mq_msgsize) = (1, 1);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    let mode: libc::mode_t = 0o600;
    // SAFETY: the name is NUL-terminated; with O_CREAT the call takes a mode and attributes, both given.
    match unsafe { libc::mq_open(name.as_ptr(), flags, mode, &raw const size) } {
        queue if queue >= 0 => {
            // SAFETY: just opened here, closed once.
            unsafe { libc::mq_close(queue) };
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes the name of a queue away; `NotFound` if there is none.
///
/// # Errors
/// What `mq_unlink` said.
pub fn unlink(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: the name is NUL-terminated.
    match unsafe { libc::mq_unlink(name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts a message into every queue that this process has open for sending, and returns how many there are.
pub fn inject(message: &[u8], priority: u32) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("our own descriptors").flatten();
    let queues = descriptors.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().contains("/ipc-mq-"))
    });
    let numbers: Vec<RawFd> = queues
        .filter_map(|entry| entry.file_name().to_str().and_then(|number| number.parse().ok()))
        .collect();
    let sent = numbers.into_iter().filter(|&queue| {
        // SAFETY: `message` is readable for its length; a wrong descriptor is an error.
        unsafe { libc::mq_send(queue, message.as_ptr().cast(), message.len(), priority) == 0 }
    });
    sent.count()
}
