//! For a long time: peers that come, talk and are killed, and memory that must not grow.

use std::time::{Duration, Instant};

use super::cell::{Cell, Durations, got_on, violated};
use super::kill;

/// Growth that is not looked at: an allocator keeps a few pages more than it had.
const SLACK_KIB: f64 = 64.0;

/// What memory may grow by on top of it in a minute.
const SLOPE_KIB: f64 = 1.0;

/// From here on the slope alone is judged: one page more or less no longer makes one.
const LONG: u64 = 600;

/// `seconds` of rounds as in `kill9`. The first tenth warms up.
pub fn run(cell: &mut Cell, seconds: u64) {
    let (began, all) = (Instant::now(), Duration::from_secs(seconds));
    let mut survivor = kill::Survivor::new(cell);
    // Written to, so that looking at memory does not take any more of it.
    let mut samples: Vec<(f64, f64)> = vec![(f64::MAX, f64::MAX); 4096];
    samples.clear();
    let mut tenths = [Tenth::new(), Tenth::new()];
    let between = all / 2000;
    let mut next = all / 10;
    let mut rounds = 0_u64;
    while began.elapsed() < all {
        let at = began.elapsed();
        let tenth = tenths.iter_mut().zip([at < all / 10, at >= all / 10 * 9]).find(|(_, is_now)| *is_now);
        // Buffers of long messages come and go in the allocator, which would be the growth that is looked for.
        let seed = cell.seed_of_short();
        let outcome = match tenth {
            Some((tenth, _)) => tenth.of(cell, |cell| survivor.one_round(cell, seed)),
            None => survivor.one_round(cell, seed),
        };
        if outcome.is_err() {
            cell.count(outcome);
        }
        rounds += 1;
        got_on();
        // Lists that grow would be the growth that is looked for.
        cell.notices.clear();
        cell.reconnects.clear();
        if began.elapsed() >= next && samples.len() < samples.capacity() {
            samples.push((began.elapsed().as_secs_f64() / 60.0, resident_kib()));
            next = began.elapsed() + between;
        }
    }
    survivor.end(cell);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        cell.missed = seconds;
        cell.notes.push("too short for two looks at memory".into());
        return;
    };
    let (minutes, grown, slope) = (last.0 - first.0, last.1 - first.1, slope(&samples));
    cell.notes.push(format!(
        "{rounds} peers in {seconds} s; memory of the survivor {:.0} KiB, {grown:+.0} KiB since the first tenth, {slope:+.1} KiB/min",
        last.1
    ));
    let [early, late] = &tenths;
    let ratio = late.p99().as_secs_f64() / early.p99().as_secs_f64().max(1e-9);
    cell.notes.push(format!(
        "99 % of its calls took at most {:.1?} in the first tenth, {:.1?} in the last ({ratio:.2} times)",
        early.p99(),
        late.p99()
    ));
    let leaks = grown > SLACK_KIB + SLOPE_KIB * minutes || (seconds >= LONG && slope > SLOPE_KIB);
    cell.passed += seconds - u64::from(leaks);
    if leaks {
        let what = format!("memory grew by {grown:.0} KiB in {minutes:.1} minutes, {slope:+.1} KiB/min");
        cell.count(violated("I4", what));
    }
}

/// The calls of a tenth of the time.
#[derive(Debug)]
struct Tenth {
    calls: Option<Durations>,
}

impl Tenth {
    fn new() -> Tenth {
        Tenth { calls: Some(Durations::new()) }
    }

    /// Has the calls of this round counted here.
    fn of<T>(&mut self, cell: &mut Cell, round: impl FnOnce(&mut Cell) -> T) -> T {
        cell.calls = self.calls.take();
        let outcome = round(cell);
        self.calls = cell.calls.take();
        outcome
    }

    fn p99(&self) -> Duration {
        self.calls.as_ref().map_or(Duration::ZERO, |calls| calls.quantile(0.99))
    }
}

/// Slope of the least-squares line through the points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if below == 0.0 { 0.0 } else { above / below }
}

/// Memory of this process that is its own, in KiB.
pub(super) fn resident_kib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("procfs");
    let anonymous = text.lines().find_map(|line| line.strip_prefix("Anonymous:")?.split_whitespace().next());
    anonymous.and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_has_its_slope() {
        assert!((super::slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 2.0).abs() < 1e-9);
        assert_eq!(super::slope(&[(1.0, 3.0)]), 0.0);
        assert!(super::resident_kib() > 0.0);
    }
}
