//! A fork without exec, as somebody's library might do behind our back.
#![expect(unsafe_code, reason = "fork")]

/// Runs `child` in a forked child of this process and returns its exit status as `waitpid` tells it: 0 when `child`
/// returned true.
///
/// The caller has one thread, so the child finds no lock held by a thread it does not have.
pub fn in_forked_child(child: impl FnOnce() -> bool) -> i32 {
    let threads = std::fs::read_dir("/proc/self/task").expect("procfs").count();
    assert_eq!(threads, 1, "a fork copies the calling thread alone");
    // SAFETY: this process has one thread (asserted above), so the child may do whatever the parent may.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: ends the child here, without the parent's destructors and exit handlers.
        unsafe { libc::_exit(i32::from(!passed)) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for an int for the length of the call.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid, "waitpid: {}", std::io::Error::last_os_error());
    status
}
