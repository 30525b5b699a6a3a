//! Watching the clock on the measuring CPUs: every jump of it is time that somebody else took.

use std::thread;
use std::time::{Duration, Instant};

use ipc_results::doctor::Probe;

use super::line;
use crate::error::Failure;
use crate::pin;

/// A pause between two readings of the clock that no instruction of ours explains.
const GAP: Duration = Duration::from_micros(10);

/// Spins on each of `cpus` at once, then sends a cache line between the first two of them; `time` for both.
pub(super) fn probe(cpus: &[u32], time: Duration) -> Result<Probe, Failure> {
    let pair = match *cpus {
        [near, far, ..] if near != far => Some((near, far)),
        _ => None,
    };
    let watching = if pair.is_some() { time * 9 / 10 } else { time };
    let watch = |cpu: u32| -> Result<(u64, Duration, Duration), Failure> {
        pin::pin_this_thread(cpu)
            .map_err(|error| Failure::failed(format!("cannot run on cpu {cpu}")).why(error))?;
        let begin = Instant::now();
        let (mut before, mut gaps, mut lost, mut worst) = (begin, 0, Duration::ZERO, Duration::ZERO);
        loop {
            let now = Instant::now();
            let gap = now - before;
            if gap > GAP {
                gaps += 1;
                lost += gap;
                worst = worst.max(gap);
            }
            if now - begin >= watching {
                return Ok((gaps, lost, worst));
            }
            before = now;
        }
    };
    let seen = thread::scope(|scope| {
        let watchers: Vec<_> = cpus.iter().map(|cpu| scope.spawn(|| watch(*cpu))).collect();
        let seen = watchers.into_iter().map(|watcher| {
            watcher.join().unwrap_or_else(|_| Err(Failure::failed("a watching thread panicked")))
        });
        seen.collect::<Result<Vec<_>, _>>()
    })?;
    let watched = watching.as_secs_f64() * cpus.len().max(1) as f64;
    let lost: Duration = seen.iter().map(|(_, lost, _)| *lost).sum();
    let share = lost.as_secs_f64() / watched;
    let cache_line =
        pair.map(|(near, far)| line::cache_line(near, far, time - watching)).transpose()?.flatten();
    Ok(Probe {
        cpus: cpus.to_vec(),
        elapsed_ns: time.as_nanos() as u64,
        gaps_per_s: seen.iter().map(|(gaps, ..)| *gaps as f64).sum::<f64>() / watched,
        worst_gap_ns: seen.iter().map(|(.., worst)| worst.as_nanos() as u64).max().unwrap_or(0),
        lost_share: share,
        usable_percentile: usable(share),
        cache_line,
    })
}

/// The highest percentile of short messages that is still about the code: as many of them as the share of time lost are hit.
fn usable(share: f64) -> Option<f64> {
    [99.99, 99.9, 99.0, 50.0].into_iter().find(|percent| share < (100.0 - percent) / 100.0 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_time_lost_bounds_the_percentile() {
        assert_eq!(usable(0.0), Some(99.99));
        assert_eq!(usable(0.0002), Some(99.9));
        assert_eq!(usable(0.004), Some(99.0));
        assert_eq!(usable(0.1), Some(50.0));
        assert_eq!(usable(0.9), None);
    }

    #[test]
    fn a_probe_watches_for_as_long_as_asked() {
        let allowed = pin::allowed_cpus().unwrap();
        let seen = probe(&allowed[..1], Duration::from_millis(20)).unwrap();
        assert_eq!((seen.cpus.as_slice(), seen.elapsed_ns), (&allowed[..1], 20_000_000));
        assert!(seen.lost_share >= 0.0 && seen.gaps_per_s.is_finite());
        assert_eq!(seen.cache_line, None, "one CPU has nobody to send to");
        assert!(probe(&[allowed[0]; 2], Duration::from_millis(1)).unwrap().cache_line.is_none());
        if allowed.len() > 1 {
            assert!(probe(&allowed[..2], Duration::from_millis(20)).unwrap().cache_line.is_some());
        }
    }
}
