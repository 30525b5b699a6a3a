//! How evenly a cache line travels between two CPUs: the bare loop of the yardstick, slice by slice.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use ipc_limits::{Bare, Driver, Kind, Params};
use ipc_results::Recorder;
use ipc_results::doctor::CacheLine;
use ipc_results::recorder::samples_needed;

use crate::error::Failure;
use crate::pin;

/// Enough to see two speeds, of which one is there for a twentieth of the time.
const SLICES: u32 = 20;

/// Sends a cache line between `near` and `far` for `time`, or as long as each slice needs for its median: where others take the
/// CPUs away, or the time is short, a slice without one would be missing. `None` without slices.
pub(super) fn cache_line(near: u32, far: u32, time: Duration) -> Result<Option<CacheLine>, Failure> {
    let failed = |error: io::Error| Failure::failed("the cache line cannot be measured").why(error);
    let (here, there) = ipc_limits::create(&Params::new(Kind::Cacheline, 8)).map_err(failed)?;
    let (here, there) = (here.open().map_err(failed)?, there.open().map_err(failed)?);
    let medians = thread::scope(|scope| {
        let echo = scope.spawn(move || {
            pin::pin_this_thread(far)?;
            there.drive(Echo)
        });
        // A thread of its own, so that the caller stays where it may run.
        let slices = scope.spawn(move || {
            pin::pin_this_thread(near)?;
            // The link ends with this, and the echo with the link.
            here.drive(Slices { slice: time / SLICES })
        });
        let joined = |side: thread::Result<io::Result<_>>| side.unwrap_or_else(|_| Err(panicked()));
        let medians = joined(slices.join());
        echo.join().unwrap_or_else(|_| Err(panicked())).and(medians)
    });
    Ok(spread(medians.map_err(failed)?))
}

fn panicked() -> io::Error {
    io::Error::other("a thread of the cache line panicked")
}

/// What the medians of all slices say.
fn spread(mut medians: Vec<u64>) -> Option<CacheLine> {
    medians.sort_unstable();
    let (least, most) = (*medians.first()?, *medians.last()?);
    let middle = ipc_results::statistics::median(&medians.iter().map(|ns| *ns as f64).collect::<Vec<_>>())?;
    let jitter_share = (most - least) as f64 / middle.value.max(1.0);
    Some(CacheLine { rtt_ns: middle.value, jitter_share, slices: medians.len() as u32 })
}

/// Sends back what comes, until the other side is gone.
struct Echo;

impl Driver for Echo {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<()> {
        let mut word = [0; 8];
        loop {
            match link.recv(&mut word) {
                Ok(_) => link.send(&word)?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The side that takes the time: the median of each slice.
struct Slices {
    slice: Duration,
}

impl Driver for Slices {
    type Output = io::Result<Vec<u64>>;

    fn drive<B: Bare>(self, mut link: B) -> io::Result<Vec<u64>> {
        let (mut medians, mut recorder) = (Vec::new(), Recorder::new());
        let fewest = samples_needed(50.0);
        let (mut number, mut word) = (0_u64, [0; 8]);
        for _ in 0..SLICES {
            recorder.clear();
            let begin = Instant::now();
            let mut before = begin;
            while before - begin < self.slice || recorder.len() < fewest {
                link.send(&number.to_le_bytes())?;
                link.recv(&mut word)?;
                number += 1;
                let now = Instant::now();
                recorder.record((now - before).as_nanos() as u64);
                before = now;
            }
            medians.extend(recorder.percentile_ns(50.0));
        }
        Ok(medians)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_is_how_far_the_slices_lie_apart() {
        let of = |medians: &[u64]| spread(medians.to_vec());
        assert_eq!(of(&[]), None);
        let even = of(&[200; 20]).unwrap();
        assert_eq!((even.rtt_ns, even.jitter_share, even.slices), (200.0, 0.0, 20));
        // One slow slice shows, wherever it is, and does not move the middle.
        let mut slow = [200; 20];
        slow[7] = 300;
        let slow = of(&slow).unwrap();
        assert_eq!((slow.rtt_ns, slow.jitter_share), (200.0, 0.5));
    }

    #[test]
    fn a_line_comes_back_in_every_slice() {
        let allowed = pin::allowed_cpus().unwrap();
        let [near, far, ..] = allowed[..] else { return };
        // In no time, too: what is missing is missing for want of a second CPU.
        for time in [Duration::from_millis(40), Duration::ZERO] {
            let seen = cache_line(near, far, time).unwrap().unwrap();
            assert_eq!(seen.slices, SLICES);
            assert!(seen.rtt_ns > 0.0 && seen.jitter_share >= 0.0, "{seen:?}");
        }
    }
}
