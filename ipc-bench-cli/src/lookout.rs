//! What the kernel counted while a trial was measured, looked at from a CPU that the trial does not use: whoever looks from one
//! that it uses takes from it what is looked for.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipc_results::run::Interval;

use crate::clock::monotonic_ns;
use crate::os;
use crate::pin::{self, Topology};
use crate::steal;

/// Looks no further apart than this, and no nearer: the kernel counts stolen time in steps of 10 ms.
const RAREST: Duration = Duration::from_millis(100);
const DENSEST: Duration = Duration::from_millis(5);

/// Looks again and again until it ends.
#[derive(Debug)]
pub(crate) struct Lookout {
    /// Closed to let the thread end.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Look>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    at_ns: u64,
    stolen_ns: Option<u64>,
    /// Of the measuring threads together.
    moves: Option<u64>,
}

impl Lookout {
    /// At the stolen time of `cpus`, which the trial uses, and the moves of `workers`, twice an interval. `None` where there is no
    /// other CPU to look from.
    pub(crate) fn start(
        topology: &Topology,
        cpus: &[u32],
        workers: Vec<u32>,
        interval: Duration,
    ) -> Option<Lookout> {
        let from = topology.beside(cpus)?;
        let every = (interval / 2).clamp(DENSEST, RAREST);
        let cpus = cpus.to_vec();
        let (stop, stopped) = mpsc::channel();
        let look = move || {
            let mut looks = Vec::new();
            // Anywhere else it would disturb.
            if pin::pin_this_thread(from).is_err() {
                return looks;
            }
            loop {
                looks.push(Look::now(&cpus, &workers));
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    looks.push(Look::now(&cpus, &workers));
                    return looks;
                }
            }
        };
        let thread = thread::Builder::new().name("lookout".into()).spawn(look).ok()?;
        Some(Lookout { stop, thread })
    }

    /// What was seen.
    pub(crate) fn end(self) -> Vec<Look> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

impl Look {
    fn now(cpus: &[u32], workers: &[u32]) -> Look {
        let moves =
            workers.iter().map(|pid| os::moves_in(&fs::read_to_string(format!("/proc/{pid}/sched")).ok()?));
        Look { at_ns: monotonic_ns(), stolen_ns: steal::stolen_ns(cpus), moves: moves.sum() }
    }

    /// One that was made up.
    #[cfg(test)]
    pub(crate) fn of(at_ns: u64, stolen_ns: u64, moves: u64) -> Look {
        Look { at_ns, stolen_ns: Some(stolen_ns), moves: Some(moves) }
    }

    /// Without the moves, where the threads that measure are not the main threads of the workers.
    pub(crate) fn without_moves(self) -> Look {
        Look { moves: None, ..self }
    }
}

/// Adds to the intervals of a trial whose measured part began at `begin_ns` what was seen in each: from the last look before it
/// to the last look before its end, or for the last of them to the first look after it, so that nothing is lost. Where there was
/// no look before it, or none in it, nobody knows, and the next one has what was seen in both.
pub(crate) fn tell(timeline: &mut [Interval], begin_ns: u64, looks: &[Look]) {
    let until = |ns: u64| looks.iter().rfind(|look| look.at_ns <= ns);
    let last = timeline.len().saturating_sub(1);
    for (index, interval) in timeline.iter_mut().enumerate() {
        let start_ns = begin_ns.saturating_add(interval.start_ns);
        let end_ns = start_ns.saturating_add(interval.elapsed_ns);
        let after =
            if index == last { looks.iter().find(|look| look.at_ns >= end_ns) } else { until(end_ns) };
        let Some((before, after)) = until(start_ns).zip(after).filter(|(before, after)| before != after)
        else {
            continue;
        };
        let grown = |(before, after): (u64, u64)| after.saturating_sub(before);
        interval.steal_ns = before.stolen_ns.zip(after.stolen_ns).map(grown);
        interval.migrations = before.moves.zip(after.moves).map(grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stolen time and moves of intervals of 100 ns from 1000 on.
    fn told(intervals: u64, looks: &[Look]) -> Vec<(Option<u64>, Option<u64>)> {
        let interval =
            |index: u64| Interval { start_ns: 100 * index, elapsed_ns: 100, ..Interval::default() };
        let mut timeline: Vec<Interval> = (0..intervals).map(interval).collect();
        tell(&mut timeline, 1000, looks);
        timeline.iter().map(|interval| (interval.steal_ns, interval.migrations)).collect()
    }

    #[test]
    fn what_was_seen_goes_to_the_interval_it_happened_in() {
        // Counters begin anywhere; between the looks at 1150 and 1200 a CPU was taken away, at 1350 a thread was moved.
        let looks = [
            Look::of(900, 70, 5),
            Look::of(1100, 70, 5),
            Look::of(1150, 70, 5),
            Look::of(1200, 80, 5),
            Look::of(1250, 80, 5),
            Look::of(1350, 80, 6),
            Look::of(1400, 80, 6),
        ];
        let seen = |stolen, moves| (Some(stolen), Some(moves));
        assert_eq!(told(4, &looks), [seen(0, 0), seen(10, 0), seen(0, 0), seen(0, 1)]);
        // What the kernel does not count, and what nobody looked at, is absent and not 0.
        let uncounted = [1000, 1100].map(|at_ns| Look { at_ns, ..Look::default() });
        assert_eq!((told(1, &uncounted), told(1, &[])), (vec![(None, None)], vec![(None, None)]));
    }

    #[test]
    fn nothing_is_lost_between_the_last_look_and_the_end() {
        // The last look comes when both sides have told what they measured.
        let looks =
            [Look::of(990, 70, 5), Look::of(1090, 70, 5), Look::of(1190, 70, 5), Look::of(1230, 90, 7)];
        assert_eq!(told(2, &looks)[1], (Some(20), Some(2)));
        // What comes later is none of it.
        assert_eq!(told(2, &[&looks[..], &[Look::of(1300, 99, 9)]].concat())[1], (Some(20), Some(2)));
    }

    #[test]
    fn an_interval_in_which_nobody_looked_has_no_numbers() {
        let none = (None, None);
        // Shorter than the looks are apart: the last one has what was seen in all.
        assert_eq!(told(3, &[Look::of(990, 0, 0), Look::of(1500, 30, 1)]), [none, none, (Some(30), Some(1))]);
        // The first look came late.
        let late = [Look::of(1050, 0, 0), Look::of(1150, 10, 0), Look::of(1200, 10, 0)];
        assert_eq!(told(2, &late), [none, (Some(10), Some(0))]);
    }

    #[test]
    fn it_looks_from_another_cpu_or_not_at_all() {
        let allowed = pin::allowed_cpus().unwrap();
        let topology = Topology { allowed: allowed.clone(), ..Topology::default() };
        let own = vec![std::process::id()];
        assert!(Lookout::start(&topology, &allowed, own.clone(), RAREST).is_none(), "every CPU is in use");
        if allowed.len() > 1 {
            let lookout = Lookout::start(&topology, &allowed[..1], own, RAREST).unwrap();
            let looks = lookout.end();
            assert!(looks.len() >= 2 && looks[0].stolen_ns.is_some(), "{looks:?}");
            // A kernel without CONFIG_SCHED_DEBUG does not tell.
            assert_eq!(looks[0].moves.is_some(), os::moves().is_some(), "{looks:?}");
        }
    }
}
