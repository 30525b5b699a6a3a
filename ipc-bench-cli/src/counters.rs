//! What the kernel and the processor count while a worker measures (`--perf`): the thread that measures and those it starts.
//!
//! `int perf_event_open(struct perf_event_attr *attr, pid_t pid, int cpu, int group_fd, unsigned long flags);`, once per
//! event. Each of them is there or is not, for a reason that is told instead of a number.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use perf_event::events::{Event, Hardware, Software, Tracepoint};
use perf_event::{Builder, CountAndTime, Counter};
use rustix::io::Errno;

/// What was counted, by name; or why it was not.
pub(crate) type Counted = BTreeMap<String, Result<u64, String>>;

/// System calls, of which the kernel tells at a tracepoint.
pub(crate) const SYSCALLS: &str = "syscalls";

/// The counters of one worker.
#[derive(Debug)]
pub(crate) struct Counters {
    all: Vec<(&'static str, Result<Counter, String>)>,
    /// The measured part is over.
    over: bool,
}

impl Counters {
    /// Opens what there is, for the calling thread and those it will start.
    pub(crate) fn open() -> Counters {
        let all = vec![
            ("instructions", open(Hardware::INSTRUCTIONS)),
            ("cycles", open(Hardware::CPU_CYCLES)),
            ("cache_misses", open(Hardware::CACHE_MISSES)),
            ("branch_misses", open(Hardware::BRANCH_MISSES)),
            ("task_clock_ns", open(Software::TASK_CLOCK)),
            ("context_switches", open(Software::CONTEXT_SWITCHES)),
            ("cpu_migrations", open(Software::CPU_MIGRATIONS)),
            ("page_faults", open(Software::PAGE_FAULTS)),
            // Begins last and ends first: the calls that begin and end the others are none of the workload's.
            (SYSCALLS, syscalls(Path::new(TRACEFS)).and_then(open)),
        ];
        Counters { all, over: false }
    }

    /// The measured part begins (`false`) or is over (`true`). Allocates nothing.
    pub(crate) fn boundary(&mut self, over: bool) {
        let counters = self.all.iter_mut().filter_map(|(_, counter)| counter.as_mut().ok());
        if over {
            self.over = true;
            counters.rev().for_each(|counter| drop(counter.disable()));
        } else {
            counters.for_each(|counter| drop(counter.enable()));
        }
    }

    /// What was counted in the measured part.
    pub(crate) fn read(self) -> Counted {
        let over = self.over;
        let value = |counter: Result<Counter, String>| {
            let mut counter = counter?;
            if !over {
                return Err("this side has no measured part of its own".to_owned());
            }
            counter.read_count_and_time().map_err(|error| error.to_string()).and_then(whole)
        };
        self.all.into_iter().map(|(name, counter)| (name.to_owned(), value(counter))).collect()
    }
}

/// Which counters this process may use, and why it may not use the others.
pub(crate) fn available() -> Counted {
    let mut counters = Counters::open();
    counters.boundary(false);
    // So that there was something to count.
    std::hint::black_box((0..10_000u64).map(|n| n.wrapping_mul(n)).sum::<u64>());
    counters.boundary(true);
    counters.read()
}

/// Over both sides: a number only where both have one.
pub(crate) fn sum(one: Option<Counted>, other: Option<Counted>) -> Option<Counted> {
    let (Some(one), Some(mut other)) = (&one, other) else { return one };
    let mut both = |name: &String, value: &Result<u64, String>| match (value, other.remove(name)) {
        (Ok(a), Some(Ok(b))) => Ok(a + b),
        (Err(reason), _) => Err(reason.clone()),
        (_, Some(Err(reason))) => Err(reason),
        (Ok(_), None) => Err("the other side does not count this".to_owned()),
    };
    Some(one.iter().map(|(name, value)| (name.clone(), both(name, value))).collect())
}

/// Nothing of it is known of the whole connection, for this reason.
pub(crate) fn none(counted: &mut Option<Counted>, reason: &str) {
    for value in counted.iter_mut().flat_map(BTreeMap::values_mut).filter(|value| value.is_ok()) {
        *value = Err(reason.to_owned());
    }
}

fn open(event: impl Event) -> Result<Counter, String> {
    // Inside the kernel too: that is where a message spends its time, and where all switches and system calls are.
    let counter = Builder::new(event).observe_self().any_cpu().include_kernel().inherit(true).build();
    counter.map_err(|error| refusal(&error, paranoid()))
}

/// The number, or an estimate where the processor took turns among more counters than it has.
fn whole(CountAndTime { count, time_enabled, time_running }: CountAndTime) -> Result<u64, String> {
    match time_running {
        0 => Err("the processor had no room for it beside the others".to_owned()),
        part if part < time_enabled => {
            Ok((u128::from(count) * u128::from(time_enabled) / u128::from(part)) as u64)
        }
        _ => Ok(count),
    }
}

fn paranoid() -> Option<i64> {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

/// Why there is no such counter, and what would change that.
fn refusal(error: &io::Error, paranoid: Option<i64>) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {
            "the machine has no such counter (many virtual machines have none of the processor's)".to_owned()
        }
        Some(Errno::ACCESS | Errno::PERM) => match paranoid {
            Some(level) if level > 1 => format!(
                "not permitted: kernel.perf_event_paranoid is {level} and 1 is needed without CAP_PERFMON; sudo sysctl -w \
                 kernel.perf_event_paranoid=1"
            ),
            _ => "not permitted, as in a container whose filter forbids perf_event_open".to_owned(),
        },
        Some(Errno::NOSYS) => "this kernel was built without perf events".to_owned(),
        _ => error.to_string(),
    }
}

/// Where tracepoints have their numbers.
const TRACEFS: &str = "/sys/kernel/tracing";

/// The tracepoint that every system call passes.
fn syscalls(tracefs: &Path) -> Result<Tracepoint, String> {
    let unreadable = |error: &io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "not permitted: {} is for root, or for a group: sudo mount -o remount,gid=GROUP,mode=750 {0}",
            tracefs.display()
        ),
        io::ErrorKind::NotFound if tracefs.is_dir() => format!(
            "no tracepoints in {}: not mounted, or a kernel without; sudo mount -t tracefs nodev {0}",
            tracefs.display()
        ),
        _ => format!("this kernel has no tracepoints: {error}"),
    };
    let path = tracefs.join("events/raw_syscalls/sys_enter/id");
    let text = fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
    let id = text.trim().parse().map_err(|_| format!("{}: not a number", path.display()))?;
    Ok(Tracepoint::with_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: &[(&str, Result<u64, &str>)]) -> Counted {
        values.iter().map(|(name, value)| ((*name).to_owned(), value.map_err(str::to_owned))).collect()
    }

    #[test]
    fn both_sides_together_have_a_number_only_where_each_has_one() {
        let one =
            counted(&[("cycles", Ok(1)), ("page_faults", Ok(2)), ("syscalls", Err("no")), ("old", Ok(5))]);
        let other = counted(&[("cycles", Err("none")), ("page_faults", Ok(3)), ("syscalls", Ok(1))]);
        let both = sum(Some(one.clone()), Some(other)).unwrap();
        let told = [
            ("cycles", Err("none")),
            ("page_faults", Ok(5)),
            ("syscalls", Err("no")),
            ("old", Err("the other side does not count this")),
        ];
        assert_eq!(both, counted(&told));
        assert_eq!(sum(Some(one.clone()), None), Some(one.clone()));
        assert_eq!(sum(None, None), None);
        let mut remote = Some(one);
        none(&mut remote, "elsewhere");
        assert!(remote.unwrap().values().all(Result::is_err));
    }

    #[test]
    fn a_counter_that_took_turns_is_scaled_and_one_that_never_had_its_turn_is_none() {
        let read =
            |count, time_enabled, time_running| whole(CountAndTime { count, time_enabled, time_running });
        assert_eq!(read(100, 40, 40), Ok(100));
        assert_eq!(read(100, 40, 10), Ok(400));
        assert!(read(0, 40, 0).unwrap_err().contains("no room"));
    }

    #[test]
    fn a_refusal_says_what_would_change_it() {
        let of = |code: Errno, paranoid| refusal(&io::Error::from(code), paranoid);
        assert!(of(Errno::ACCESS, Some(2)).contains("perf_event_paranoid is 2 and 1 is needed"));
        assert!(of(Errno::PERM, Some(1)).contains("container"));
        assert!(of(Errno::NOENT, Some(2)).contains("no such counter"));
        assert!(of(Errno::MFILE, None).contains("files"));
        let place = tempfile::tempdir().unwrap();
        let reason = syscalls(place.path()).unwrap_err();
        assert!(reason.contains("sudo mount -t tracefs"), "{reason}");
        fs::create_dir_all(place.path().join("events/raw_syscalls/sys_enter")).unwrap();
        fs::write(place.path().join("events/raw_syscalls/sys_enter/id"), "371\n").unwrap();
        assert_eq!(syscalls(place.path()).unwrap().id(), 371);
    }

    #[test]
    fn nothing_outside_of_the_measured_part_is_counted() {
        let mut counters = Counters::open();
        let touch = |pages: usize| {
            let mut memory = vec![0u8; pages * 4096];
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            std::hint::black_box(&memory);
        };
        touch(4000);
        counters.boundary(false);
        // A thread that this one starts counts as well.
        std::thread::spawn(move || touch(1000)).join().unwrap();
        counters.boundary(true);
        touch(4000);
        match &counters.read()["page_faults"] {
            Ok(faults) => assert!((1000..2000).contains(faults), "{faults}"),
            Err(reason) => println!("skipped: {reason}"),
        }
        let unused = Counters::open().read();
        assert!(unused.values().all(Result::is_err), "{unused:?}");
    }
}
