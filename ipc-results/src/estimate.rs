//! A number and the interval it is known within.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A value with the interval `lo..=hi` that covers it; the unit is the name of the field that holds it.
///
/// Always finite: what could not be computed is an absent `Estimate`, not a special number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The median over the trials.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub value: f64,
    /// Lower end of the interval, at most `value`.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub lo: f64,
    /// Upper end of the interval, at least `value`.
    #[serde(serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub hi: f64,
    /// Trials behind the value; 0 when the writer did not say.
    #[serde(default)]
    pub trials: u32,
    /// Probability, in `0.0..1.0`, that `lo..=hi` contains the median a machine in this state would give
    /// over endless trials; 0 for a single trial, whose interval is the value itself.
    #[serde(default, serialize_with = "short")]
    #[schemars(schema_with = "number")]
    pub coverage: f64,
}

impl Estimate {
    /// A single observation: the interval is the value, and covers nothing.
    pub fn single(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self { value, lo: value, hi: value, trials: 1, coverage: 0.0 })
    }

    /// The larger distance from the value to an end of the interval, as a fraction of the value.
    /// `None` when there is no interval (one trial) or the value is zero.
    pub fn relative_error(&self) -> Option<f64> {
        let half = (self.hi - self.value).max(self.value - self.lo);
        (self.trials > 1 && self.value != 0.0).then(|| half / self.value.abs())
    }

    /// The ratio of this to `other`, with both intervals at their far ends: no narrower than that of the ratio. `None` when
    /// it is not finite.
    pub(crate) fn over(&self, other: &Estimate) -> Option<Estimate> {
        let ratio = Estimate {
            value: self.value / other.value,
            lo: self.lo / other.hi,
            hi: self.hi / other.lo,
            trials: self.trials.min(other.trials),
            coverage: self.coverage.min(other.coverage),
        };
        [ratio.value, ratio.lo, ratio.hi].iter().all(|number| number.is_finite()).then_some(ratio)
    }

    /// The estimate with its three numbers rounded to whole units, as times in nanoseconds are stored.
    pub fn rounded(self) -> Self {
        Self { value: self.value.round(), lo: self.lo.round(), hi: self.hi.round(), ..self }
    }
}

/// Writes a number as an integer when it is one, and with at most six significant decimals otherwise, so that
/// nanoseconds stay integers in the file and no digit pretends to a precision that no clock has.
pub(crate) fn short<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // 2^53: above it a double no longer holds every integer, and an integer would look more exact than it is.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !value.is_finite() {
        return Err(serde::ser::Error::custom("a result holds a number that is not finite"));
    }
    if value.abs() >= EXACT {
        return serializer.serialize_f64(*value);
    }
    if value.fract() == 0.0 {
        return serializer.serialize_i64(*value as i64);
    }
    let digits = 6 - 1 - value.abs().log10().floor().clamp(-12.0, 5.0) as i32;
    let scale = 10f64.powi(digits);
    let rounded = (value * scale).round() / scale;
    if rounded.fract() == 0.0 { short(&rounded, serializer) } else { serializer.serialize_f64(rounded) }
}

/// [`short`] for a number that may be absent.
pub(crate) fn short_option<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => short(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// [`short`] for each of several named numbers.
pub(crate) fn short_map<S: Serializer>(
    values: &BTreeMap<String, f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Short(f64);
    impl Serialize for Short {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            short(&self.0, serializer)
        }
    }
    serializer.collect_map(values.iter().map(|(name, value)| (name, Short(*value))))
}

/// Schema of a field written by [`short_map`].
pub(crate) fn numbers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": "number" } })
}

/// Schema of a field written by [`short`]: any JSON number.
pub(crate) fn number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "number" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64) -> String {
        serde_json::to_string(&Estimate { value, lo: value, hi: value, trials: 1, coverage: 0.0 }).unwrap()
    }

    #[test]
    fn a_number_too_large_to_be_exact_is_written_as_it_is() {
        for value in [9_007_199_254_740_992.0, 18_446_744_073_709_551_616.0, -1e300, f64::MAX] {
            let read: Estimate = serde_json::from_str(&written(value)).unwrap();
            assert_eq!(read.value, value);
        }
    }

    #[test]
    fn whole_numbers_are_written_as_integers_and_others_with_six_digits() {
        assert!(written(380.0).starts_with(r#"{"value":380,"#));
        assert!(written(1.283_333_333_3).starts_with(r#"{"value":1.28333,"#));
        assert!(written(31_234_567.8).starts_with(r#"{"value":31234568,"#));
        assert!(written(0.000_123_456_789).starts_with(r#"{"value":0.000123457,"#));
    }

    #[test]
    fn a_number_that_is_not_finite_is_never_written() {
        assert!(Estimate::single(f64::NAN).is_none());
        let infinite = Estimate { value: f64::INFINITY, lo: 0.0, hi: 0.0, trials: 2, coverage: 0.5 };
        assert!(serde_json::to_string(&infinite).is_err());
    }

    #[test]
    fn the_relative_error_is_the_longer_side() {
        let estimate = Estimate { value: 100.0, lo: 98.0, hi: 105.0, trials: 7, coverage: 0.984 };
        assert_eq!(estimate.relative_error(), Some(0.05));
        assert_eq!(Estimate::single(100.0).and_then(|one| one.relative_error()), None);
    }
}
