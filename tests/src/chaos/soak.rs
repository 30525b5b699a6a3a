//! For a long time: peers that come, talk and are killed, and memory that must not grow.

use std::time::{Duration, Instant};

use super::cell::{Cell, violated};
use super::kill;

/// Growth that is not looked at: an allocator keeps a few pages more than it had.
const SLACK_KIB: f64 = 64.0;

/// What memory may grow by on top of it in a minute.
const SLOPE_KIB: f64 = 1.0;

/// `seconds` of rounds as in `kill9`. The first tenth warms up.
pub fn run(cell: &mut Cell, seconds: u64) {
    let (began, all) = (Instant::now(), Duration::from_secs(seconds));
    let mut survivor = kill::Survivor::new(cell);
    let mut samples: Vec<(f64, f64)> = Vec::with_capacity(4096);
    let between = all / 2000;
    let mut next = all / 10;
    let mut rounds = 0_u64;
    while began.elapsed() < all {
        let outcome = survivor.one_round(cell);
        if outcome.is_err() {
            cell.count(outcome);
        }
        rounds += 1;
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
    cell.passed += seconds - u64::from(grown > SLACK_KIB + SLOPE_KIB * minutes);
    if grown > SLACK_KIB + SLOPE_KIB * minutes {
        cell.count(violated("I4", format!("memory grew by {grown:.0} KiB in {minutes:.1} minutes")));
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
fn resident_kib() -> f64 {
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
