//! POSIX message queues: the calls of `<mqueue.h>`, safely, and what the system allows.
//!
//! On Linux a queue descriptor is a file descriptor: it closes, polls and passes over sockets like one
//! (`ipc/mqueue.c`).
#![allow(unsafe_code, reason = "rustix does not wrap message queues")]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use ipc_core::{SetupError, SetupErrorKind};
use rustix::io::Errno;
use rustix::process::Resource;

use crate::errno::setup_error;
use crate::fault::fault_point;

/// Priorities a connection may use, `0..=31`: what POSIX guarantees (`_POSIX_MQ_PRIO_MAX`). Linux itself has 32768.
pub(crate) const PRIORITIES: u32 = 32;

/// Kernel bytes per message of a queue's depth: `struct msg_msg` and a node of its tree, 48 bytes each on 64-bit Linux.
const OVERHEAD: u64 = 48 + 48;

/// Depth and message size of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Messages the queue holds.
    pub(crate) depth: usize,
    /// Longest message in bytes.
    pub(crate) max_message: usize,
}

impl Size {
    /// Bytes this queue takes from `RLIMIT_MSGQUEUE`, which counts all queues of a user together:
    /// `maxmsg · 48 + min(maxmsg, 32768) · 48 + maxmsg · msgsize` (`mqueue_get_inode` in the kernel's `ipc/mqueue.c`;
    /// measured on 6.18: 82,880 for the usual 10 × 8192). A tree node more than 32768 deep is not counted; no queue
    /// within the limits is that deep.
    pub(crate) fn budget_bytes(self) -> u64 {
        (self.depth as u64).saturating_mul((self.max_message as u64).saturating_add(OVERHEAD))
    }
}

/// What an ordinary user may ask for. Processes with `CAP_SYS_RESOURCE` may exceed `msg_max` and `msgsize_max`, but not
/// `budget_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `/proc/sys/fs/mqueue/msg_max`: depth of one queue (10 unless raised).
    pub(crate) msg_max: u64,
    /// `/proc/sys/fs/mqueue/msgsize_max`: bytes of one message (8192 unless raised).
    pub(crate) msgsize_max: u64,
    /// `/proc/sys/fs/mqueue/queues_max`: queues in this IPC namespace (256 unless raised).
    pub(crate) queues_max: u64,
    /// `RLIMIT_MSGQUEUE`: bytes of all queues of this user (819,200 unless raised).
    pub(crate) budget_bytes: u64,
}

impl Limits {
    /// Reads the limits in force now; where one cannot be read, the kernel's default stands in.
    pub(crate) fn now() -> Limits {
        let read = |name: &str, default| {
            std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}"))
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(default)
        };
        Limits {
            msg_max: read("msg_max", 10),
            msgsize_max: read("msgsize_max", 8192),
            queues_max: read("queues_max", 256),
            budget_bytes: rustix::process::getrlimit(Resource::Msgqueue).current.unwrap_or(u64::MAX),
        }
    }

    /// The size of a queue of which some dimensions are asked for: messages as long as `msgsize_max` allows, at most
    /// ten of them, and fewer where a queue would otherwise take more than an eighth of the user's budget. With the
    /// usual limits that is 10 × 8192 bytes, and four connections of two queues each fit side by side.
    pub(crate) fn fit(&self, depth: Option<usize>, max_message: Option<usize>) -> Size {
        let max_message = max_message.unwrap_or(usize::try_from(self.msgsize_max).unwrap_or(usize::MAX));
        let one = Size { depth: 1, max_message }.budget_bytes();
        let affordable = usize::try_from(self.budget_bytes / 8 / one.max(1)).unwrap_or(usize::MAX);
        let usual = usize::try_from(self.msg_max).unwrap_or(usize::MAX).min(10);
        Size { depth: depth.unwrap_or(affordable.clamp(1, usual)), max_message }
    }

    /// Which limit a refused `mq_open` of a queue of `size` ran into, with the arithmetic and the fix.
    fn explain(&self, name: &CStr, size: Size, error: Errno) -> SetupError {
        const OP: &str = "mq_open";
        let name = name.to_string_lossy();
        let limit = |limit: &'static str, need: u64, have: u64, fix: String| {
            SetupError::new(SetupErrorKind::Limit { name: limit, need, have }, OP, &name)
                .because(io::Error::new(io::ErrorKind::QuotaExceeded, fix))
        };
        let Size { depth, max_message } = size;
        match error {
            Errno::INVAL if max_message as u64 > self.msgsize_max => limit(
                "fs.mqueue.msgsize_max",
                max_message as u64,
                self.msgsize_max,
                format!(
                    "use max_message ≤ {} or: sysctl fs.mqueue.msgsize_max={max_message}",
                    self.msgsize_max
                ),
            ),
            Errno::INVAL if depth as u64 > self.msg_max => limit(
                "fs.mqueue.msg_max",
                depth as u64,
                self.msg_max,
                format!("use depth ≤ {} or: sysctl fs.mqueue.msg_max={depth}", self.msg_max),
            ),
            // The kernel answers EMFILE for the user's budget of bytes and for this process's descriptors alike.
            Errno::MFILE if has_spare_descriptor() => {
                let (need, have) = (size.budget_bytes(), self.budget_bytes);
                limit(
                    "RLIMIT_MSGQUEUE",
                    need,
                    have,
                    format!(
                        "one queue takes {depth}·48 + {depth}·48 + {depth}·{max_message} = {need} of the {have} bytes \
                         that all queues of this user share; use a smaller depth or max_message, close other queues, \
                         or raise it with ulimit -q"
                    ),
                )
            }
            Errno::NOSPC => limit(
                "fs.mqueue.queues_max",
                self.queues_max.saturating_add(1),
                self.queues_max,
                format!(
                    "close other queues or: sysctl fs.mqueue.queues_max={}",
                    self.queues_max.saturating_mul(2)
                ),
            ),
            _ => setup_error(OP, name, error),
        }
    }
}

fn has_spare_descriptor() -> bool {
    !matches!(
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC),
        Err(Errno::MFILE | Errno::NFILE)
    )
}

/// Which end of a queue a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// `O_RDONLY`.
    Receive,
    /// `O_WRONLY`.
    Send,
}

impl Access {
    fn flags(self) -> libc::c_int {
        libc::O_CLOEXEC
            | match self {
                Access::Receive => libc::O_RDONLY,
                Access::Send => libc::O_WRONLY,
            }
    }
}

/// `mqd_t mq_open(const char *name, int oflag, mode_t mode, struct mq_attr *attr)` with `O_CREAT | O_EXCL` and mode
/// 0600: makes a queue that did not exist, in blocking mode.
///
/// # Errors
/// `Limit` with the arithmetic and the fix, `Unsupported`, or what else `mq_open` said.
pub(crate) fn create(name: &CString, access: Access, size: Size) -> Result<OwnedFd, SetupError> {
    // SAFETY: `mq_attr` is plain integers, for which zero is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = size.depth.try_into().unwrap_or(libc::c_long::MAX);
    attributes.mq_msgsize = size.max_message.try_into().unwrap_or(libc::c_long::MAX);
    let flags = access.flags() | libc::O_CREAT | libc::O_EXCL;
    let mode: libc::mode_t = 0o600;
    // SAFETY: `name` is NUL-terminated; with O_CREAT the call takes a mode and a pointer to attributes, both given and
    // alive for the call.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, mode, &raw const attributes) };
    owned(queue).map_err(|error| Limits::now().explain(name, size, error))
}

/// `mq_open` of a queue that exists.
pub(crate) fn open(name: &CString, access: Access) -> rustix::io::Result<OwnedFd> {
    // SAFETY: `name` is NUL-terminated; without O_CREAT there are no further arguments.
    owned(unsafe { libc::mq_open(name.as_ptr(), access.flags()) })
}

fn owned(queue: libc::mqd_t) -> rustix::io::Result<OwnedFd> {
    if queue < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel made this descriptor in the call before, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(queue) })
}

/// `int mq_unlink(const char *name)`: takes the name away; the queue lives on while descriptors do.
pub(crate) fn unlink(name: &CString) -> rustix::io::Result<()> {
    // SAFETY: `name` is NUL-terminated.
    match unsafe { libc::mq_unlink(name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// What `mq_getattr` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// As it was made.
    pub(crate) size: Size,
    /// Messages in it now.
    pub(crate) messages: usize,
}

/// `int mq_getattr(mqd_t mqdes, struct mq_attr *attr)`; fails on a descriptor that is no queue.
pub(crate) fn attributes(queue: BorrowedFd<'_>) -> rustix::io::Result<Attributes> {
    let mut found = MaybeUninit::<libc::mq_attr>::uninit();
    // SAFETY: the descriptor is open, and `found` has room for what the call fills.
    if unsafe { libc::mq_getattr(queue.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return Err(last_errno());
    }
    // SAFETY: filled by the successful call.
    let found = unsafe { found.assume_init() };
    let natural = |value: libc::c_long| usize::try_from(value).unwrap_or(0);
    let size = Size { depth: natural(found.mq_maxmsg), max_message: natural(found.mq_msgsize) };
    Ok(Attributes { size, messages: natural(found.mq_curmsgs) })
}

/// A deadline that is always past. Zero also is the one value for which the kernel sets up no timer
/// (`schedule_hrtimeout_range_clock`).
const PAST: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// `int mq_timedsend(mqd_t, const char *msg_ptr, size_t msg_len, unsigned msg_prio, const struct timespec *abs_timeout)`
/// with a deadline that is past: sends now or not at all. False: the queue is full.
///
/// # Errors
/// `MSGSIZE`: longer than the queue's messages.
#[inline]
pub(crate) fn send_now(queue: BorrowedFd<'_>, message: &[u8], priority: u32) -> rustix::io::Result<bool> {
    let (at, len) = (message.as_ptr().cast(), message.len());
    fault_point!("queue.send");
    loop {
        // SAFETY: the descriptor is open and `at` points to `len` readable bytes for the length of the call.
        if unsafe { libc::mq_timedsend(queue.as_raw_fd(), at, len, priority, &PAST) } == 0 {
            fault_point!("queue.sent");
            return Ok(true);
        }
        match last_errno() {
            Errno::INTR => {}
            Errno::TIMEDOUT | Errno::AGAIN => return Ok(false),
            error => return Err(error),
        }
    }
}

/// `ssize_t mq_timedreceive(mqd_t, char *msg_ptr, size_t msg_len, unsigned *msg_prio, const struct timespec *)` with a
/// deadline that is past: replaces the contents of `buf` by the next message and returns its priority; `None` and an
/// empty `buf`: the queue is empty. `max_message` is the queue's: the kernel refuses a smaller buffer.
///
/// # Errors
/// `MSGSIZE` if `max_message` is less than the queue's.
#[inline]
pub(crate) fn receive_now(
    queue: BorrowedFd<'_>,
    buf: &mut Vec<u8>,
    max_message: usize,
) -> rustix::io::Result<Option<u32>> {
    buf.clear();
    buf.reserve(max_message);
    let (at, mut priority) = (buf.as_mut_ptr().cast(), 0);
    fault_point!("queue.receive");
    loop {
        // SAFETY: the descriptor is open; `buf` has room for `max_message` bytes, which stays where it is during the
        // call.
        let received =
            unsafe { libc::mq_timedreceive(queue.as_raw_fd(), at, max_message, &mut priority, &PAST) };
        if let Ok(len) = usize::try_from(received) {
            // SAFETY: the kernel wrote `len` bytes, at most `max_message`, for which there is room.
            unsafe { buf.set_len(len) };
            fault_point!("queue.received");
            return Ok(Some(priority));
        }
        match last_errno() {
            Errno::INTR => {}
            Errno::TIMEDOUT | Errno::AGAIN => return Ok(None),
            error => return Err(error),
        }
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Limits = Limits { msg_max: 10, msgsize_max: 8192, queues_max: 256, budget_bytes: 819_200 };

    #[test]
    fn four_usual_connections_fit_into_the_usual_budget() {
        let size = USUAL.fit(None, None);
        assert_eq!(size, Size { depth: 10, max_message: 8192 });
        assert_eq!(size.budget_bytes(), 82_880);
        assert_eq!(USUAL.budget_bytes / (2 * size.budget_bytes()), 4);
    }

    #[test]
    fn a_queue_of_long_messages_is_shallow() {
        let roomy = Limits { msgsize_max: 65_536, ..USUAL };
        assert_eq!(roomy.fit(None, None), Size { depth: 1, max_message: 65_536 });
        assert_eq!(roomy.fit(None, Some(64)), Size { depth: 10, max_message: 64 });
        assert_eq!(roomy.fit(Some(3), None), Size { depth: 3, max_message: 65_536 });
        assert_eq!(Limits { msg_max: 4, ..USUAL }.fit(None, None).depth, 4);
        assert_eq!(Limits { budget_bytes: 0, ..USUAL }.fit(None, None).depth, 1);
    }

    #[test]
    fn a_refusal_names_the_limit_the_numbers_and_the_fix() {
        let text =
            |depth, max_message, error| USUAL.explain(c"/q", Size { depth, max_message }, error).to_string();
        assert_eq!(
            text(64, 8192, Errno::INVAL),
            "mq_open /q: needs 64, but fs.mqueue.msg_max is 10 (use depth ≤ 10 or: sysctl fs.mqueue.msg_max=64)"
        );
        assert_eq!(
            text(10, 65_536, Errno::INVAL),
            "mq_open /q: needs 65536, but fs.mqueue.msgsize_max is 8192 \
             (use max_message ≤ 8192 or: sysctl fs.mqueue.msgsize_max=65536)"
        );
        let budget = text(10, 8192, Errno::MFILE);
        assert!(budget.contains("needs 82880, but RLIMIT_MSGQUEUE is 819200"), "{budget}");
        assert!(budget.contains("10·48 + 10·48 + 10·8192 = 82880"), "{budget}");
        assert!(text(10, 8192, Errno::NOSPC).contains("fs.mqueue.queues_max"));
        assert_eq!(
            USUAL.explain(c"/q", USUAL.fit(None, None), Errno::NOSYS).kind,
            SetupErrorKind::Unsupported
        );
    }
}
