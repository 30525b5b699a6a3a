//! Scales and their ticks.

use crate::units::{bytes_rate, rate, size, time};

/// One axis of a plot.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    label: String,
    scale: Scale,
    lo: f64,
    hi: f64,
    ticks: Vec<(f64, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Log,
}

impl Axis {
    /// A logarithmic axis around positive `values`, with a tick at every decade and, where there are few, between.
    pub(super) fn log(
        label: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        text: fn(f64) -> String,
    ) -> Option<Self> {
        let (lo, hi) = range(values.into_iter().filter(|value| *value > 0.0))?;
        // A margin of a twentieth of the span, and at least a tenth of a decade so that a single value has an axis.
        let margin = ((hi / lo).log10() / 20.0).max(0.1);
        let (lo, hi) = (lo / 10f64.powf(margin), hi * 10f64.powf(margin));
        let decades = (lo.log10().floor() as i32)..=(hi.log10().ceil() as i32);
        let steps: &[f64] = match (hi / lo).log10() {
            span if span > 3.0 => &[1.0],
            span if span > 1.2 => &[1.0, 3.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        };
        let ticks = decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|tick| (lo..=hi).contains(tick))
            .map(|tick| (tick, text(tick)))
            .collect();
        Some(Self { label: label.into(), scale: Scale::Log, lo, hi, ticks })
    }

    /// A linear axis from 0 to the largest of the values.
    pub(super) fn linear(
        label: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        text: fn(f64) -> String,
    ) -> Option<Self> {
        let (_, hi) = range(values)?;
        let hi = if hi > 0.0 { hi * 1.06 } else { 1.0 };
        let step = nice_step(hi / 4.5);
        let ticks = (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= hi);
        let ticks = ticks.map(|tick| (tick, if tick == 0.0 { "0".into() } else { text(tick) })).collect();
        Some(Self { label: label.into(), scale: Scale::Linear, lo: 0.0, hi, ticks })
    }

    /// A linear axis from `-reach` to `reach`, of shares shown as percentages.
    pub(super) fn around_zero(label: impl Into<String>, reach: f64) -> Self {
        let step = nice_step(reach / 2.2);
        let count = (reach / step) as i32;
        let ticks =
            (-count..=count).map(|tick| (f64::from(tick) * step, signed_percent(f64::from(tick) * step)));
        Self { label: label.into(), scale: Scale::Linear, lo: -reach, hi: reach, ticks: ticks.collect() }
    }

    /// A logarithmic axis of payload sizes with a tick at each of them.
    pub(super) fn sizes(sizes: &[u64]) -> Option<Self> {
        let axis = Self::log("message size", sizes.iter().map(|bytes| *bytes as f64), |_| String::new())?;
        Some(Self { ticks: sizes.iter().map(|bytes| (*bytes as f64, size(*bytes))).collect(), ..axis })
    }

    /// The axis of a percentile curve: the logarithm of 1/(1-p), on which every nine takes the same room; up to `share`.
    pub(super) fn percentiles(share: f64) -> Self {
        let hi = tail(share).max(2.0);
        let known = [
            (0.0, "0"),
            (50.0, "50"),
            (90.0, "90"),
            (99.0, "99"),
            (99.9, "99.9"),
            (99.99, "99.99"),
            (99.999, "99.999"),
        ];
        let ticks = known.into_iter().map(|(percent, text)| (tail(percent / 100.0), text.to_owned()));
        let ticks = ticks.filter(|(at, _)| *at <= hi * 1.001).collect();
        Self { label: "percentile".into(), scale: Scale::Log, lo: 1.0, hi, ticks }
    }

    /// The same axis with other ticks left out or moved is never needed; its texts are read by the plot.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }

    /// Where a value lies, in `0.0..=1.0` for values on the axis.
    pub(super) fn at(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.lo) / (self.hi - self.lo),
            Scale::Log => (value.max(f64::MIN_POSITIVE) / self.lo).ln() / (self.hi / self.lo).ln(),
        }
    }
}

/// `1/(1-share)`: 2 for the median, 100 for the 99th percentile.
pub(super) fn tail(share: f64) -> f64 {
    1.0 / (1.0 - share)
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|step| *step >= least)
        .unwrap_or(decade * 10.0)
}

fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let fold = |range: Option<(f64, f64)>, value: f64| {
        let (lo, hi) = range.unwrap_or((value, value));
        Some((lo.min(value), hi.max(value)))
    };
    values.into_iter().filter(|value| value.is_finite()).fold(None, fold)
}

/// A tick of nanoseconds, without decimals that are zero.
pub(super) fn time_tick(ns: f64) -> String {
    short(time(ns))
}

/// A tick of messages per second.
pub(super) fn rate_tick(per_s: f64) -> String {
    short(rate(per_s))
}

/// A tick of bytes per second.
pub(super) fn bytes_tick(per_s: f64) -> String {
    short(bytes_rate(per_s))
}

fn short(text: String) -> String {
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A share as a signed percentage for a tick.
fn signed_percent(share: f64) -> String {
    match (share * 100.0).round() {
        0.0 => "0".to_owned(),
        percent => format!("{percent:+} %").replace('-', "−"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks().iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn a_log_axis_has_a_tick_per_decade_or_more_when_short() {
        let wide = Axis::log("", [300.0, 2_000_000.0], time_tick).unwrap();
        assert_eq!(texts(&wide), ["1 µs", "10 µs", "100 µs", "1 ms"]);
        let short = Axis::log("", [8_000.0, 15_000.0], time_tick).unwrap();
        assert_eq!(texts(&short), ["7 µs", "10 µs", "15 µs"]);
        assert!(Axis::log("", [], time_tick).is_none());
    }

    #[test]
    fn a_linear_axis_starts_at_zero_and_has_round_steps() {
        let axis = Axis::linear("", [37_000.0], time_tick).unwrap();
        assert_eq!(texts(&axis), ["0", "10 µs", "20 µs", "30 µs"]);
        assert_eq!((axis.at(0.0), axis.at(37_000.0 * 1.06)), (0.0, 1.0));
    }

    #[test]
    fn every_nine_takes_the_same_room() {
        let axis = Axis::percentiles(0.999);
        assert_eq!(texts(&axis), ["0", "50", "90", "99", "99.9"]);
        let (nine, two_nines) = (axis.at(tail(0.9)), axis.at(tail(0.99)));
        assert!((nine * 2.0 - two_nines).abs() < 1e-9);
    }

    #[test]
    fn deviations_are_symmetric() {
        assert_eq!(texts(&Axis::around_zero("", 0.11)), ["−10 %", "−5 %", "0", "+5 %", "+10 %"]);
    }
}
