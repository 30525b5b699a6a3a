//! Rates of an open loop as people write them: `1k/s,10k/s`, `10%..95%+10%`, `100Hz`.

use crate::workload::Arrivals;

/// Most rates one range may stand for: more are a slip.
const MAX_RATES: usize = 200;

/// One rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Messages per second.
    PerSecond(f64),
    /// The same, of something that happens periodically.
    Hertz(f64),
    /// Percent of what the link was measured to carry.
    Share(f64),
}

impl Rate {
    fn of(self, value: f64) -> Rate {
        match self {
            Rate::PerSecond(_) => Rate::PerSecond(value),
            Rate::Hertz(_) => Rate::Hertz(value),
            Rate::Share(_) => Rate::Share(value),
        }
    }

    fn value(self) -> f64 {
        match self {
            Rate::PerSecond(value) | Rate::Hertz(value) | Rate::Share(value) => value,
        }
    }

    /// As it is written: `10k/s`, `100Hz`, `50%`.
    pub(crate) fn label(self) -> String {
        match self {
            Rate::PerSecond(value) => format!("{}/s", short(value)),
            Rate::Hertz(value) => format!("{}Hz", short(value)),
            Rate::Share(value) => format!("{value}%"),
        }
    }

    /// Its part of a cell's id, in which a slash would end the part: `r10k`, `r100Hz`, `r50%`.
    pub(crate) fn id(self) -> String {
        format!("r{}", self.label().trim_end_matches("/s"))
    }

    /// Messages per second, of a link that carries `ceiling`.
    pub(crate) fn per_s(self, ceiling: Option<f64>) -> Option<f64> {
        match self {
            Rate::PerSecond(value) | Rate::Hertz(value) => Some(value),
            Rate::Share(percent) => ceiling.map(|ceiling| ceiling * percent / 100.0),
        }
    }
}

fn short(value: f64) -> String {
    [(1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(unit, _)| value >= *unit && (value / unit * 1e3).fract() == 0.0)
        .map_or_else(|| value.to_string(), |(unit, name)| format!("{}{name}", value / unit))
}

/// A list of rates and ranges of them, in the order written, each once.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn rates(text: &str) -> Result<Vec<Rate>, String> {
    let mut rates: Vec<Rate> = Vec::new();
    for part in text.split(',') {
        for rate in range(part.trim())? {
            if !rates.contains(&rate) {
                rates.push(rate);
            }
        }
    }
    Ok(rates)
}

fn range(text: &str) -> Result<Vec<Rate>, String> {
    let Some((first, rest)) = text.split_once("..") else { return rate(text).map(|rate| vec![rate]) };
    let leads_nowhere = || format!("{text:?} leads nowhere; use 10%..95%+10% or 1k/s..64k/s*2");
    let (last, step, geometric) = match (rest.split_once('*'), rest.split_once('+')) {
        (Some((last, factor)), None) => (last, factor.parse().map_err(|_| leads_nowhere())?, true),
        (None, Some((last, step))) => (last, rate(step)?.value(), false),
        _ => return Err(leads_nowhere()),
    };
    let (first, last) = (rate(first)?, rate(last)?);
    if std::mem::discriminant(&first) != std::mem::discriminant(&last)
        || first.value() > last.value()
        || (geometric && step <= 1.0)
    {
        return Err(leads_nowhere());
    }
    let value = |n: usize| match geometric {
        true => first.value() * step.powi(n as i32),
        false => first.value() + step * n as f64,
    };
    let values: Vec<f64> =
        (0..=MAX_RATES).map(value).take_while(|value| *value <= last.value() * (1.0 + 1e-9)).collect();
    if values.len() > MAX_RATES {
        return Err(format!("{text:?} has more than {MAX_RATES} rates; use a larger step"));
    }
    Ok(values.into_iter().map(|value| first.of(value)).collect())
}

fn rate(text: &str) -> Result<Rate, String> {
    let bad = || format!("{text:?} is not a rate; use 1k/s, 100Hz or 50%");
    let number = |text: &str| -> Result<f64, String> {
        let (digits, unit) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (&text[..at], 1e3),
            Some((at, 'M')) => (&text[..at], 1e6),
            _ => (text, 1.0),
        };
        let value: f64 = digits.parse().map_err(|_| bad())?;
        let value = value * unit;
        if value.is_finite() && value > 0.0 { Ok(value) } else { Err(bad()) }
    };
    if let Some(text) = text.strip_suffix("/s") {
        number(text).map(Rate::PerSecond)
    } else if let Some(text) = text.strip_suffix("Hz") {
        number(text).map(Rate::Hertz)
    } else if let Some(text) = text.strip_suffix('%') {
        number(text).map(Rate::Share)
    } else {
        Err(bad())
    }
}

/// How the intended send times lie: `constant`, `poisson`.
///
/// # Errors
/// A sentence saying what there is.
pub(crate) fn arrivals(text: &str) -> Result<Arrivals, String> {
    let found = Arrivals::ALL.into_iter().find(|arrivals| arrivals.name() == text);
    found.ok_or_else(|| format!("{text:?} is not a way to arrive; there are constant, poisson"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        rates(text).unwrap().into_iter().map(Rate::label).collect()
    }

    #[test]
    fn rates_are_single_or_in_ranges_and_written_as_they_were_read() {
        assert_eq!(labels("1k/s,10k/s,1500/s,2.5M/s"), ["1k/s", "10k/s", "1.5k/s", "2.5M/s"]);
        assert_eq!(labels("100Hz,1kHz"), ["100Hz", "1kHz"]);
        let tens = ["10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%"];
        assert_eq!(labels("10%..95%+10%"), tens);
        assert_eq!(labels("1k/s..8k/s*2"), ["1k/s", "2k/s", "4k/s", "8k/s"]);
        let ids: Vec<String> = rates("10k/s,100Hz,50%").unwrap().into_iter().map(Rate::id).collect();
        assert_eq!(ids, ["r10k", "r100Hz", "r50%"]);
    }

    #[test]
    fn what_is_no_rate_is_refused_with_what_would_be() {
        for bad in ["", "10", "0/s", "-1/s", "x%", "10%..20%", "20%..10%+1%", "1/s..9Hz+1Hz", "1%..9%*1"] {
            assert!(rates(bad).is_err(), "{bad:?}");
        }
        assert!(rates("1%..99%+0.1%").unwrap_err().contains("more than 200"));
    }

    #[test]
    fn a_share_needs_what_it_is_a_share_of() {
        assert_eq!(Rate::Share(50.0).per_s(None), None);
        assert_eq!(Rate::Share(50.0).per_s(Some(3e6)), Some(1.5e6));
        assert_eq!(Rate::Hertz(100.0).per_s(None), Some(100.0));
    }
}
