//! Lists and quantities as people write them on the command line.

use std::time::Duration;

use ipc_transports::parse_bytes;

use crate::payload::MIN_SIZE;

/// Most values a range may stand for: a step of one byte up to a megabyte is a slip, not a matrix.
const MAX_VALUES: usize = 1000;

/// Message sizes in bytes: `64,4K`, geometric `64..64K*4`, linear `1K..8K+1K`; in the order written, each once.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn sizes(text: &str) -> Result<Vec<usize>, String> {
    let mut sizes = Vec::new();
    for part in text.split(',') {
        for size in size_range(part.trim())? {
            if size < MIN_SIZE {
                return Err(format!(
                    "{size} is too small: a message begins with {MIN_SIZE} bytes of sequence and time"
                ));
            }
            if !sizes.contains(&size) {
                sizes.push(size);
            }
        }
    }
    Ok(sizes)
}

fn size_range(text: &str) -> Result<Vec<usize>, String> {
    let Some((first, rest)) = text.split_once("..") else { return parse_bytes(text).map(|size| vec![size]) };
    let (last, step, geometric) = match (rest.split_once('*'), rest.split_once('+')) {
        (Some((last, factor)), None) => (last, factor, true),
        (None, Some((last, step))) => (last, step, false),
        _ => return Err(format!("{text:?} is not a range; use 64..64K*4 (times 4) or 1K..8K+1K (plus 1K)")),
    };
    let (first, last, step) = (parse_bytes(first)?, parse_bytes(last)?, parse_bytes(step)?);
    if first == 0 || first > last || step < 1 + usize::from(geometric) {
        return Err(format!("{text:?} leads nowhere; a range rises from a size above 0"));
    }
    let next = |size: &usize| if geometric { size.checked_mul(step) } else { size.checked_add(step) };
    let sizes: Vec<usize> = std::iter::successors(Some(first), next)
        .take_while(|size| *size <= last)
        .take(MAX_VALUES + 1)
        .collect();
    if sizes.len() > MAX_VALUES {
        return Err(format!("{text:?} has more than {MAX_VALUES} sizes; use a larger step"));
    }
    Ok(sizes)
}

/// A duration with its unit: `200ms`, `1.5s` is not one, `1s 500ms` is.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= Duration::from_secs(24 * 3600) => Ok(duration),
        Ok(_) => Err(format!("{text:?} is longer than a day")),
        Err(_) => Err(format!("{text:?} is not a duration; use a number with a unit, as in 200ms, 2s or 1m")),
    }
}

/// A duration in which something can happen: above 0.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all; use more than 0, as in 200ms")),
        time => Ok(time),
    }
}

/// A whole number of at least 1.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{text:?} is not a whole number above 0")),
    }
}

/// Percentiles above 0 and below 100, each once, in the order written.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn percentiles(text: &str) -> Result<Vec<f64>, String> {
    let mut percentiles = Vec::new();
    for part in text.split(',') {
        match part.trim().trim_start_matches('p').parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent < 100.0 => percentiles.push(percent),
            _ => {
                return Err(format!(
                    "{part:?} is no percentile; use numbers above 0 and below 100, as in 75,99.5"
                ));
            }
        }
    }
    percentiles.dedup();
    Ok(percentiles)
}

/// Bytes as they are best read: `64 B`, `4 KiB`, `1 MiB`.
pub(crate) fn show_bytes(bytes: usize) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_single_or_in_ranges() {
        assert_eq!(sizes("64,4K,64K").unwrap(), [64, 4096, 65536]);
        assert_eq!(sizes("64..64K*4").unwrap(), [64, 256, 1024, 4096, 16384, 65536]);
        assert_eq!(sizes("1K..4K+1K,2K").unwrap(), [1024, 2048, 3072, 4096]);
        assert_eq!(sizes("16").unwrap(), [16]);
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_would_be() {
        for bad in
            ["0", "15", "", "abc", "64,", "4K..64*2", "64..64K", "64..64K*1", "64..64K+0", "16..1M+1", "-1"]
        {
            assert!(sizes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn percentiles_lie_between_0_and_100() {
        assert_eq!(percentiles("50, p99.5,99.999").unwrap(), [50.0, 99.5, 99.999]);
        assert!(["0", "100", "-1", "x", "", "50,", "NaN"].iter().all(|bad| percentiles(bad).is_err()));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert!(duration("200").is_err() && duration("2 weeks").is_err() && duration("-1s").is_err());
        assert!(some_time("0s").is_err() && duration("0s").is_ok() && some_time("1ns").is_ok());
        assert!(count("0").is_err() && count("5").is_ok() && count("1e3").is_err());
    }

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_is_whole() {
        assert_eq!([64, 4096, 5000, 1 << 20].map(show_bytes), ["64 B", "4 KiB", "5000 B", "1 MiB"]);
    }
}
