//! The histogram a worker fills while it measures, and its form in the result file.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Longest time a recorder can tell apart: 100 s, in nanoseconds. Longer ones count as this and as saturated.
pub const MAX_NS: u64 = 100_000_000_000;

/// Decimal digits kept of every recorded time: an error of at most 0.1 %, exact below 2048 ns.
const DIGITS: u8 = 3;

/// Samples that must lie beyond a percentile before it is reported: with fewer, the figure is one stray event.
const TAIL_SAMPLES: f64 = 10.0;

/// Longest encoded histogram accepted by [`Recorder::from_bytes`], in bytes. The largest that 3 digits and 100 s can
/// need is a fifth of it.
const MAX_ENCODED_BYTES: usize = 2 << 20;

/// Times in nanoseconds, 1 ns to 100 s with three significant digits (an HDR histogram, about 300 KiB).
///
/// All memory is taken by [`new`](Self::new); [`record`](Self::record) writes two or three words of it and never allocates.
#[derive(Clone, PartialEq)]
pub struct Recorder {
    histogram: Histogram<u64>,
    saturated: u64,
}

impl Recorder {
    /// An empty recorder with room for every time it can hold.
    pub fn new() -> Self {
        // Fails only for a range or a precision outside the library's, and both are constants here.
        #[allow(clippy::unwrap_used, reason = "the bounds are constants")]
        let histogram = Histogram::new_with_bounds(1, MAX_NS, DIGITS).unwrap();
        Self { histogram, saturated: 0 }
    }

    /// The same with two digits instead of three, in about 30 KiB: for many of them at once.
    pub fn coarse() -> Self {
        // As above.
        #[allow(clippy::unwrap_used, reason = "the bounds are constants")]
        let histogram = Histogram::new_with_bounds(1, MAX_NS, 2).unwrap();
        Self { histogram, saturated: 0 }
    }

    /// Counts one time of `ns` nanoseconds; above [`MAX_NS`] it counts as [`MAX_NS`] and as [saturated](Self::saturated).
    #[inline]
    pub fn record(&mut self, ns: u64) {
        if ns > MAX_NS {
            self.saturated += 1;
        }
        self.histogram.saturating_record(ns);
    }

    /// Adds every sample of `other`.
    pub fn merge(&mut self, other: &Self) {
        // All recorders have the same bounds, and a decoded one is rejected when it exceeds them: nothing is out of range.
        #[allow(clippy::unwrap_used, reason = "equal bounds")]
        self.histogram.add(&other.histogram).unwrap();
        self.saturated += other.saturated;
    }

    /// Forgets every sample and keeps the memory.
    pub fn clear(&mut self) {
        self.histogram.reset();
        self.saturated = 0;
    }

    /// Samples recorded.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Samples that were longer than [`MAX_NS`].
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Shortest sample in nanoseconds, to the histogram's precision.
    pub fn min_ns(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram.min())
    }

    /// Longest sample in nanoseconds, to the histogram's precision, at most [`MAX_NS`].
    pub fn max_ns(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram.max().min(MAX_NS))
    }

    /// Mean in nanoseconds.
    pub fn mean_ns(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.histogram.mean())
    }

    /// Standard deviation in nanoseconds.
    pub fn stddev_ns(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.histogram.stdev())
    }

    /// The time in nanoseconds that `percent` of the samples do not exceed, `percent` in `0.0..=100.0`.
    ///
    /// `None` where fewer than ten samples lie beyond it: p50 needs 20 samples, p99 1,000, p99.9 10,000, p99.99 100,000.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        supports(self.len(), percent).then(|| self.histogram.value_at_percentile(percent).min(MAX_NS))
    }

    /// The share of samples, in `0.0..=1.0`, at or below each recorded time: `(ns, share)` in rising order, one per
    /// occupied bucket. For curves, which may go further into the tail than a percentile may.
    pub fn curve(&self) -> Vec<(u64, f64)> {
        let mut seen = 0u64;
        let total = self.len() as f64;
        let occupied = self.histogram.iter_recorded();
        occupied
            .map(|bucket| {
                seen += bucket.count_since_last_iteration();
                (bucket.value_iterated_to().min(MAX_NS), seen as f64 / total)
            })
            .collect()
    }

    /// The times in nanoseconds that these shares of the samples, rising within `0.0..=1.0`, do not exceed: many percentiles in
    /// one pass, without the check of [`percentile_ns`](Self::percentile_ns) that the samples support them.
    pub fn at_shares(&self, shares: &[f64]) -> Vec<u64> {
        let curve = self.curve();
        let mut from = 0;
        let at = |share: &f64| {
            from += curve[from..].iter().position(|(_, reached)| reached >= share)?;
            Some(curve[from].0)
        };
        shares.iter().map_while(at).collect()
    }

    /// Points of the distribution that are dense in the tail: `ticks` for each halving of what remains beyond, each as
    /// `(ns, share of the samples at or below, samples at or below)`; the last one has the share 1.
    pub fn tail(&self, ticks: u32) -> Vec<(u64, f64, u64)> {
        let mut seen = 0;
        self.histogram
            .iter_quantiles(ticks)
            .map(|step| {
                seen += step.count_since_last_iteration();
                (step.value_iterated_to().min(MAX_NS), step.quantile_iterated_to(), seen)
            })
            .collect()
    }

    /// The histogram in HdrHistogram's V2 format, compressed with deflate.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A vector takes every write, and a histogram of this size is far below the format's limit.
        #[allow(clippy::unwrap_used, reason = "writing to a vector")]
        V2DeflateSerializer::new().serialize(&self.histogram, &mut bytes).unwrap();
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `saturated` is the count that was kept beside it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no V2 histogram or hold a time above [`MAX_NS`].
    pub fn from_bytes(bytes: &[u8], saturated: u64) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ENCODED_BYTES {
            return Err(DecodeError(format!("{} bytes exceed {MAX_ENCODED_BYTES}", bytes.len())));
        }
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut &bytes[..])
            .map_err(|error| DecodeError(error.to_string()))?;
        let mut recorder = Self { saturated, ..Self::new() };
        recorder.histogram.add(&read).map_err(|_| DecodeError(format!("a time is above {MAX_NS} ns")))?;
        Ok(recorder)
    }

    /// [`to_bytes`](Self::to_bytes) in base64: `HISTFAAA…`, the form every HdrHistogram tool reads.
    pub fn encode(&self) -> String {
        STANDARD.encode(self.to_bytes())
    }

    /// Reads what [`encode`](Self::encode) wrote; `saturated` is the count that was kept beside it.
    ///
    /// # Errors
    /// [`DecodeError`] when the text is not base64 or not a histogram.
    pub fn decode(text: &str, saturated: u64) -> Result<Self, DecodeError> {
        let bytes = STANDARD.decode(text).map_err(|error| DecodeError(error.to_string()))?;
        Self::from_bytes(&bytes, saturated)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("len", &self.len()).field("saturated", &self.saturated).finish()
    }
}

/// Whether `samples` samples are enough to report `percent`: at least ten lie beyond it.
pub fn supports(samples: u64, percent: f64) -> bool {
    // The allowance covers 100 - 99.9 = 0.0999…943 in binary.
    samples as f64 * (100.0 - percent) / 100.0 + 1e-6 >= TAIL_SAMPLES
}

/// Samples needed to report `percent`.
pub fn samples_needed(percent: f64) -> u64 {
    (TAIL_SAMPLES * 100.0 / (100.0 - percent)).round() as u64
}

/// A histogram that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the histogram cannot be decoded: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(times: impl IntoIterator<Item = u64>) -> Recorder {
        let mut recorder = Recorder::new();
        times.into_iter().for_each(|ns| recorder.record(ns));
        recorder
    }

    #[test]
    fn recording_merging_and_clearing_never_allocate() {
        let (mut recorder, other) = (Recorder::new(), filled([5, 5_000_000]));
        let memory = allocation_counter::measure(|| {
            for ns in (0..64).map(|shift| 1u64 << shift) {
                recorder.record(ns);
            }
            recorder.merge(&other);
            recorder.clear();
        });
        assert_eq!(memory.count_total, 0);
    }

    #[test]
    fn percentiles_are_exact_below_two_microseconds() {
        let recorder = filled(1..=1000);
        assert_eq!(recorder.percentile_ns(50.0), Some(500));
        assert_eq!(recorder.percentile_ns(99.0), Some(990));
        assert_eq!((recorder.min_ns(), recorder.max_ns()), (Some(1), Some(1000)));
        assert!((recorder.mean_ns().unwrap() - 500.5).abs() < 1e-9);
    }

    #[test]
    fn a_percentile_with_fewer_than_ten_samples_beyond_it_is_absent() {
        for percent in [50.0, 90.0, 95.0, 99.0, 99.9, 99.99] {
            let needed = samples_needed(percent);
            assert!(supports(needed, percent), "{percent} with {needed}");
            assert!(!supports(needed - 1, percent), "{percent} with {}", needed - 1);
        }
        assert_eq!(samples_needed(99.9), 10_000);
        assert_eq!(filled(std::iter::repeat_n(7, 9_999)).percentile_ns(99.9), None);
        assert_eq!(filled(std::iter::repeat_n(7, 10_000)).percentile_ns(99.9), Some(7));
    }

    #[test]
    fn an_empty_recorder_has_no_statistics() {
        let empty = Recorder::new();
        assert_eq!((empty.min_ns(), empty.max_ns(), empty.percentile_ns(50.0)), (None, None, None));
        assert_eq!((empty.mean_ns(), empty.stddev_ns()), (None, None));
        assert!(empty.curve().is_empty() && empty.at_shares(&[0.5]).is_empty());
    }

    #[test]
    fn times_above_the_range_saturate_and_are_counted() {
        let recorder = filled([1, MAX_NS, MAX_NS + 1, u64::MAX]);
        assert_eq!((recorder.len(), recorder.saturated(), recorder.max_ns()), (4, 2, Some(MAX_NS)));
    }

    #[test]
    fn encoding_keeps_every_bucket() {
        let recorder = filled((0..50_000u64).map(|i| i * i % 7_000_003 + 1).chain([u64::MAX]));
        let text = recorder.encode();
        assert!(text.starts_with("HISTFAAA"), "{text:.12}");
        assert_eq!(Recorder::decode(&text, recorder.saturated()).unwrap(), recorder);
    }

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let mut left = filled([3, 1_000_000, u64::MAX]);
        left.merge(&filled([4, 90_000_000_000]));
        assert_eq!(left, filled([3, 4, 1_000_000, 90_000_000_000, u64::MAX]));
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        for text in ["", "not base64!", "aGVsbG8=", "HISTFAAAAA=="] {
            let message = Recorder::decode(text, 0).unwrap_err().to_string();
            assert!(message.starts_with("the histogram cannot be decoded: "), "{message}");
        }
    }

    #[test]
    fn the_tail_is_dense_at_its_end_and_ends_at_the_whole() {
        let recorder = filled(1..=1000);
        let tail = recorder.tail(1);
        let shares: Vec<f64> = tail.iter().map(|(_, share, _)| *share).collect();
        assert_eq!(shares[..4], [0.0, 0.5, 0.75, 0.875]);
        assert_eq!(tail.last(), Some(&(1000, 1.0, 1000)));
        assert!(Recorder::new().tail(5).is_empty());
    }

    #[test]
    fn the_curve_ends_at_the_whole() {
        let curve = filled([10, 10, 20, 40]).curve();
        assert_eq!(curve, [(10, 0.5), (20, 0.75), (40, 1.0)]);
        assert_eq!(filled([10, 10, 20, 40]).at_shares(&[0.0, 0.5, 0.51, 0.9, 1.0]), [10, 10, 20, 40, 40]);
    }
}
