//! A process executed one instruction at a time, so that it can be killed at a chosen one (`ptrace(2)`).
#![expect(unsafe_code, reason = "ptrace and waitpid")]

use std::io::Error;

/// A process stopped between two instructions. Dropped, it is killed. All calls are for the thread that attached.
#[derive(Debug)]
pub struct Stepper(libc::pid_t);

impl Stepper {
    /// Stops process `pid`, a child of ours.
    pub fn attach(pid: u32) -> Stepper {
        let stepper = Stepper(pid.try_into().expect("a process id"));
        stepper.request(libc::PTRACE_ATTACH);
        assert!(stepper.has_stopped(), "the process has ended before it was attached to");
        stepper
    }

    /// Executes one instruction. False: it was the last one.
    pub fn step(&self) -> bool {
        self.request(libc::PTRACE_SINGLESTEP);
        self.has_stopped()
    }

    /// The word at `address` of its memory.
    pub fn word(&self, address: u64) -> u32 {
        // SAFETY: reads the other process's memory into the answer; no pointer of ours is involved.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, self.0, address as *const u8, 0) };
        word as u32
    }

    /// Where its memory files are mapped.
    pub fn memfd_at(&self) -> Option<u64> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.0)).expect("procfs");
        let line = maps.lines().find(|line| line.contains("/memfd:"))?;
        u64::from_str_radix(line.split('-').next()?, 16).ok()
    }

    fn request(&self, request: libc::c_uint) {
        // SAFETY: neither request takes a pointer: no signal is delivered with the step.
        let answer = unsafe { libc::ptrace(request, self.0, 0, 0) };
        assert_eq!(answer, 0, "ptrace({request}): {}", Error::last_os_error());
    }

    fn has_stopped(&self) -> bool {
        let mut status = 0;
        // SAFETY: `status` is a valid place for an int for the length of the call.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(waited, self.0, "waitpid: {}", Error::last_os_error());
        libc::WIFSTOPPED(status)
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that nobody has reaped.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}
