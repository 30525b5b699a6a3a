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

    /// Without the moves, where the threads that measure are not the main threads of the workers.
    pub(crate) fn without_moves(self) -> Look {
        Look { moves: None, ..self }
    }
}

/// Adds to the intervals of a trial whose measured part began at `begin_ns` what was seen in each: from the last look before it
/// to the last look before its end.
pub(crate) fn tell(timeline: &mut [Interval], begin_ns: u64, looks: &[Look]) {
    let Some(first) = looks.first() else { return };
    let at = |ns: u64| looks.iter().take_while(|look| look.at_ns <= ns).last().unwrap_or(first);
    for interval in timeline {
        let (before, after) = (
            at(begin_ns + interval.start_ns),
            at((begin_ns + interval.start_ns).saturating_add(interval.elapsed_ns)),
        );
        let grown = |(before, after): (u64, u64)| after.saturating_sub(before);
        interval.steal_ns = before.stolen_ns.zip(after.stolen_ns).map(grown);
        interval.migrations = before.moves.zip(after.moves).map(grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_goes_to_the_interval_it_happened_in() {
        let look = |at_ns, stolen, moves| Look { at_ns, stolen_ns: Some(stolen), moves: Some(moves) };
        // Counters begin anywhere; between the looks at 1150 and 1200 a CPU was taken away, at 1350 a thread was moved.
        let looks = [
            look(900, 70, 5),
            look(1100, 70, 5),
            look(1150, 70, 5),
            look(1200, 80, 5),
            look(1250, 80, 5),
            look(1350, 80, 6),
            look(1400, 80, 6),
        ];
        let interval = |start_ns| Interval { start_ns, elapsed_ns: 100, ..Interval::default() };
        let mut timeline = [interval(0), interval(100), interval(200), interval(300)];
        tell(&mut timeline, 1000, &looks);
        let told = timeline.map(|interval| (interval.steal_ns.unwrap(), interval.migrations.unwrap()));
        assert_eq!(told, [(0, 0), (10, 0), (0, 0), (0, 1)]);
        // What the kernel does not count, and what nobody looked at, is absent and not 0.
        let mut timeline = [interval(0)];
        tell(
            &mut timeline,
            1000,
            &[Look { at_ns: 1000, ..Look::default() }, Look { at_ns: 1100, ..Look::default() }],
        );
        tell(&mut timeline, 1000, &[]);
        assert_eq!((timeline[0].steal_ns, timeline[0].migrations), (None, None));
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
            assert!(
                looks.len() >= 2 && looks[0].stolen_ns.is_some() && looks[0].moves.is_some(),
                "{looks:?}"
            );
        }
    }
}
