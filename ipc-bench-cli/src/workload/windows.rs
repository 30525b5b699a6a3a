//! The measured part of a trial in equal intervals.

use std::time::Duration;

use ipc_results::Recorder;

use super::{Length, Work};

/// Most intervals of a trial: a histogram of 30 KiB each.
pub(crate) const MOST: u128 = 1000;

/// How many intervals a trial of this length has.
///
/// # Errors
/// It has none, or too many, or no length in time.
pub(crate) fn count(length: Length, interval: Duration) -> Result<usize, String> {
    let Length::Time(time) = length else {
        return Err(
            "how long a number of messages takes is what is to be measured; use -d instead of -n".into()
        );
    };
    match time.as_nanos().div_ceil(interval.as_nanos().max(1)) {
        count @ 2..=MOST => Ok(count as usize),
        count => Err(format!(
            "trials of {time:?} have {count} intervals of {interval:?}; 2 to {MOST} say something"
        )),
    }
}

/// One histogram per interval, all of them made and written to before the first message: going on to the next is a
/// comparison and an addition.
#[derive(Debug)]
pub(crate) struct Windows {
    interval_ns: u64,
    /// Start of the measured part; before its first message none.
    start_ns: Option<u64>,
    /// End of the measured part, so far.
    end_ns: u64,
    current: usize,
    /// Where the current one ends; the last one takes whatever comes later.
    current_end_ns: u64,
    recorders: Vec<Recorder>,
}

impl Windows {
    /// `None` where none are asked for.
    pub(crate) fn new(work: &Work) -> Option<Windows> {
        let interval = work.interval?;
        // The plan has refused what has no count.
        let count = count(work.length, interval).ok()?;
        let mut windows = Windows {
            interval_ns: interval.as_nanos() as u64,
            start_ns: None,
            end_ns: 0,
            current: 0,
            current_end_ns: 0,
            recorders: (0..count).map(|_| Recorder::coarse()).collect(),
        };
        windows.clear();
        Some(windows)
    }

    /// Counts a message that took `latency_ns` until `now_ns`.
    #[inline]
    pub(crate) fn record(&mut self, now_ns: u64, latency_ns: u64) {
        if self.start_ns.is_none() {
            let start_ns = now_ns.saturating_sub(latency_ns);
            self.start_ns = Some(start_ns);
            self.current_end_ns = start_ns + self.interval_ns;
        }
        while now_ns >= self.current_end_ns && self.current + 1 < self.recorders.len() {
            self.current += 1;
            self.current_end_ns += self.interval_ns;
        }
        self.recorders[self.current].record(latency_ns);
        self.end_ns = now_ns;
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        (self.start_ns, self.end_ns, self.current) = (None, 0, 0);
        self.recorders.iter_mut().for_each(Recorder::clear);
    }

    /// Start since that of the measured part, length, and latencies of each interval up to the last message.
    pub(crate) fn into_intervals(self) -> Vec<(u64, u64, Recorder)> {
        let Some(start_ns) = self.start_ns else { return Vec::new() };
        let (last, whole_ns) = (self.current, self.end_ns - start_ns);
        let of = |(index, recorder): (usize, Recorder)| {
            let from_ns = index as u64 * self.interval_ns;
            let elapsed_ns = if index == last { whole_ns - from_ns } else { self.interval_ns };
            (from_ns, elapsed_ns, recorder)
        };
        self.recorders.into_iter().take(last + 1).enumerate().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::STANDARD_WORK;

    #[test]
    fn a_message_is_in_the_interval_in_which_it_ended_and_a_late_one_in_the_last() {
        let (length, interval) = (Length::Time(Duration::from_nanos(300)), Some(Duration::from_nanos(100)));
        let mut windows = Windows::new(&Work { length, interval, ..STANDARD_WORK }).unwrap();
        windows.record(500, 400);
        windows.clear();
        for (now, latency) in [(1010, 10), (1099, 5), (1100, 7), (1420, 9)] {
            windows.record(now, latency);
        }
        let told = windows.into_intervals().into_iter();
        let told: Vec<_> = told.map(|(from, elapsed, recorder)| (from, elapsed, recorder.len())).collect();
        assert_eq!(told, [(0, 100, 2), (100, 100, 1), (200, 220, 1)]);
    }

    #[test]
    fn intervals_that_say_nothing_are_refused() {
        let second = Length::Time(Duration::from_secs(1));
        assert_eq!(count(second, Duration::from_millis(300)), Ok(4));
        assert!(count(second, Duration::from_secs(1)).unwrap_err().contains("have 1 intervals"));
        assert!(count(second, Duration::from_micros(1)).unwrap_err().contains("2 to 1000"));
        assert!(
            count(Length::Messages(5), Duration::from_millis(1)).unwrap_err().contains("-d instead of -n")
        );
    }
}
