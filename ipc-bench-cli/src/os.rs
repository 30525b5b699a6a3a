//! System calls that rustix does not have, and a promise to a transport. The only file of this crate with `unsafe`.
#![allow(unsafe_code, reason = "calls into libc with arguments of our own")]

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::time::Duration;

use ipc_results::run::CpuUse;
use ipc_transports::Trust;

/// `int getrusage(int who, struct rusage *usage);` for the whole process, and how often the calling thread was moved to another
/// CPU.
///
/// # Errors
/// What the kernel said; it has no reason to refuse.
pub(crate) fn cpu_use() -> io::Result<CpuUse> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable and as large as the kernel's struct.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every field of `rusage` is an integer, for which zero is a value, and the kernel filled it.
    let usage = unsafe { usage.assume_init() };
    let ns = |time: libc::timeval| {
        (Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)).as_nanos()
            as u64
    };
    Ok(CpuUse {
        user_ns: ns(usage.ru_utime),
        sys_ns: ns(usage.ru_stime),
        vcsw: usage.ru_nvcsw as u64,
        ivcsw: usage.ru_nivcsw as u64,
        minflt: usage.ru_minflt as u64,
        majflt: usage.ru_majflt as u64,
        migrations: moves(),
    })
}

/// How often the scheduler moved the calling thread to another CPU, from `/proc/thread-self/sched`; `None` where the kernel was
/// built without it. Into a buffer on the stack: this is read right before the first message and allocates nothing.
pub(crate) fn moves() -> Option<u64> {
    let mut text = [0; 2048];
    let length = File::open("/proc/thread-self/sched").and_then(|mut file| file.read(&mut text)).ok()?;
    moves_in(str::from_utf8(&text[..length]).ok()?)
}

/// The line `se.nr_migrations   :    3` of a file `sched`.
pub(crate) fn moves_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("se.nr_migrations"))?;
    line.trim_start_matches([' ', ':']).trim_end().parse().ok()
}

/// What was used between two readings.
pub(crate) fn difference(after: CpuUse, before: CpuUse) -> CpuUse {
    CpuUse {
        user_ns: after.user_ns.saturating_sub(before.user_ns),
        sys_ns: after.sys_ns.saturating_sub(before.sys_ns),
        vcsw: after.vcsw - before.vcsw,
        ivcsw: after.ivcsw - before.ivcsw,
        minflt: after.minflt - before.minflt,
        majflt: after.majflt - before.majflt,
        migrations: after
            .migrations
            .zip(before.migrations)
            .map(|(after, before)| after.saturating_sub(before)),
    }
}

/// `int sched_setscheduler(pid_t pid, int policy, const struct sched_param *param);` with `SCHED_IDLE`: the calling
/// thread runs only where nothing else wants to.
///
/// # Errors
/// What the kernel said; lowering oneself needs no privilege.
pub(crate) fn run_when_idle() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` is a whole `sched_param`; 0 means the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `int sched_setscheduler(pid_t pid, int policy, const struct sched_param *param);` with `SCHED_OTHER`, where the calling
/// thread has a real-time policy: it then shares its CPU with others.
///
/// # Errors
/// What the kernel said; nobody needs a privilege to give up a real-time priority.
pub(crate) fn give_up_real_time() -> io::Result<()> {
    // SAFETY: 0 means the calling thread, and nothing is written.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy != libc::SCHED_FIFO && policy != libc::SCHED_RR {
        return Ok(());
    }
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` is a whole `sched_param`; 0 means the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `int sched_setscheduler(pid_t pid, int policy, const struct sched_param *param);` with `SCHED_FIFO`: the calling
/// thread runs before everything of normal priority.
///
/// # Errors
/// What the kernel said; without `CAP_SYS_NICE` it allows up to `RLIMIT_RTPRIO`.
pub(crate) fn run_in_real_time(priority: u8) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: `param` is a whole `sched_param`; 0 means the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `int sched_getscheduler(pid_t pid);` and `int sched_getparam(pid_t pid, struct sched_param *param);`: the real-time
/// priority of the calling thread, 0 when it has none.
pub(crate) fn real_time_priority() -> u64 {
    let mut param = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 means the calling thread, and nothing is written.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // SAFETY: 0 means the calling thread; `param` is writable and a whole `sched_param`.
    let got = unsafe { libc::sched_getparam(0, &mut param) };
    if policy == libc::SCHED_FIFO && got == 0 { param.sched_priority as u64 } else { 0 }
}

/// Lets a receiver lend messages where they lie in its peer's memory.
pub(crate) fn trust_our_own_worker() -> Trust {
    // SAFETY: used in workers only, whose peer is a process of this very program: it writes a message before it commits
    // it, and not again before the receiver has released it.
    unsafe { Trust::peer() }
}

/// Lets our peer map what is ours for writing, as it lets us.
pub(crate) fn let_our_own_worker_write() -> Trust {
    // SAFETY: as above; and neither side writes to the memory of the other, or makes holes.
    unsafe { Trust::mutual() }
}

/// The time stamp counter, read after everything before it was done, as the kernel's own clock reads it. Zero where there is
/// none: the plan has refused to use it there.
#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_lfence, _rdtsc};
        // SAFETY: SSE2, which has the fence, belongs to x86-64.
        unsafe { _mm_lfence() };
        // SAFETY: Linux lets every process read the counter.
        unsafe { _rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_usage() {
        let before = cpu_use().unwrap();
        // Above 32 MiB the allocator always asks the kernel (mallopt(3), M_MMAP_THRESHOLD): below, another test may have left
        // it pages that are there already. A few are touched: a test beside this one weighs the process.
        let mut pages = vec![0u8; 33 << 20];
        std::hint::black_box(&mut pages[..64 << 10]).fill(1);
        let after = cpu_use().unwrap();
        assert!(after.user_ns + after.sys_ns >= before.user_ns + before.sys_ns);
        assert!(after.minflt > before.minflt);
    }

    #[test]
    fn a_thread_that_is_moved_to_another_cpu_shows_in_the_usage() {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        assert_eq!(
            moves_in("x (1)\nse.vruntime  : 1.5\nse.nr_migrations      :    31\nnr_switches : 9\n"),
            Some(31)
        );
        assert_eq!(moves_in("nr_switches : 9\n"), None);
        std::thread::spawn(|| {
            let allowed = sched_getaffinity(None).unwrap();
            let cpus: Vec<usize> = (0..1024).filter(|cpu| allowed.is_set(*cpu)).take(2).collect();
            let (Some(before), &[one, other]) = (cpu_use().unwrap().migrations, &cpus[..]) else {
                println!("skipped: one CPU, or a kernel that does not count");
                return;
            };
            for cpu in [one, other, one] {
                let mut alone = CpuSet::new();
                alone.set(cpu);
                sched_setaffinity(None, &alone).unwrap();
            }
            assert!(cpu_use().unwrap().migrations.unwrap() >= before + 2);
        })
        .join()
        .unwrap();
    }
}
