//! The shape of a load: what is sent when, known to both sides beforehand.

use std::time::Duration;

use ipc_transports::parse_bytes;
use serde::{Deserialize, Serialize};

use crate::lists;
use crate::payload::MIN_SIZE;
use crate::workload::Length;

/// What is sent when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// So many messages at once, then a pause.
    Burst { burst: u64, gap: Duration },
    /// Sizes with their weights, drawn for each message.
    Mixed(Vec<(usize, u32)>),
    /// One load after the other.
    Ramp(Vec<Leg>),
    /// As many as fit, looked at in windows.
    Stability { observe: Duration },
}

/// One load of a ramp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leg {
    /// As it was asked for: the key of its figures.
    pub(crate) name: String,
    pub(crate) pace: Pace,
    pub(crate) time: Duration,
}

/// When the next message may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// At once.
    Full,
    /// So many per second.
    PerSecond(u64),
    /// None but the one that ends the step.
    Silent,
    /// So many at once, then a pause from the last of them on.
    Bursts { burst: u64, gap: Duration },
}

/// A part of a load that ends with a marked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) pace: Pace,
    pub(crate) length: Length,
}

/// Messages per second of the named loads of a ramp.
const MEDIUM: u64 = 10_000;
const LOW: u64 = 1_000;

impl Shape {
    /// How long it takes, where that is part of the shape.
    pub(crate) fn takes(&self) -> Option<Duration> {
        match self {
            Shape::Burst { .. } | Shape::Mixed(_) => None,
            Shape::Ramp(legs) => Some(legs.iter().map(|leg| leg.time).sum()),
            Shape::Stability { observe } => Some(*observe),
        }
    }

    /// Its parts, where `length` is what was asked for as the length of a trial.
    pub(crate) fn steps(&self, length: Length) -> Vec<Step> {
        match self {
            Shape::Burst { burst, gap } => {
                vec![Step { pace: Pace::Bursts { burst: *burst, gap: *gap }, length }]
            }
            Shape::Mixed(_) => vec![Step { pace: Pace::Full, length }],
            Shape::Ramp(legs) => {
                legs.iter().map(|leg| Step { pace: leg.pace, length: Length::Time(leg.time) }).collect()
            }
            Shape::Stability { observe } => vec![Step { pace: Pace::Full, length: Length::Time(*observe) }],
        }
    }

    /// The sizes of its messages and their weights; `size` where it has none of its own.
    pub(crate) fn sizes(&self, size: usize) -> Vec<(usize, u32)> {
        match self {
            Shape::Mixed(sizes) => sizes.clone(),
            _ => vec![(size, 1)],
        }
    }

    /// The longest message it sends.
    pub(crate) fn longest(&self, size: usize) -> usize {
        self.sizes(size).iter().map(|(size, _)| *size).max().unwrap_or(size)
    }
}

/// `100:40,1K:30`: size and weight.
pub(crate) fn mixed(text: &str) -> Result<Vec<(usize, u32)>, String> {
    let mut sizes: Vec<(usize, u32)> = Vec::new();
    for part in text.split(',') {
        let Some((size, weight)) = part.trim().split_once(':') else {
            return Err(format!("{part:?} is not SIZE:WEIGHT, as in 1K:30"));
        };
        let size = parse_bytes(size)?;
        let weight = lists::count(weight)?;
        if size < MIN_SIZE || weight > 1_000_000 {
            return Err(format!("{part:?}: sizes begin at {MIN_SIZE} bytes and weights end at a million"));
        }
        if sizes.iter().any(|(known, _)| *known == size) {
            return Err(format!("{size} bytes have two weights"));
        }
        sizes.push((size, weight as u32));
    }
    Ok(sizes)
}

/// `high:2s,idle:1s,500:2s`: a load, by name or in messages per second, and how long.
pub(crate) fn profile(text: &str) -> Result<Vec<Leg>, String> {
    let leg = |part: &str| {
        let Some((name, time)) = part.trim().split_once(':') else {
            return Err(format!("{part:?} is not LOAD:TIME, as in high:2s"));
        };
        let pace = match name {
            "high" => Pace::Full,
            "med" => Pace::PerSecond(MEDIUM),
            "low" => Pace::PerSecond(LOW),
            "idle" => Pace::Silent,
            rate => Pace::PerSecond(lists::count(rate).map_err(|_| {
                format!(
                    "{rate:?} is no load; there are high, med, low, idle, and a number of messages per second"
                )
            })?),
        };
        Ok(Leg { name: name.to_owned(), pace, time: lists::duration(time)? })
    };
    text.split(',').map(leg).collect()
}

/// Share of messages that are too long to be sent, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Oversize(u32);

impl Oversize {
    /// `10%`
    pub(crate) fn parse(text: &str) -> Result<Oversize, String> {
        let share = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
        let share = share.map(|share| (share * 100.0).round()).filter(|share| (1.0..=9000.0).contains(share));
        let share = share.ok_or_else(|| format!("{text:?} is not a share from 0.01% to 90%"))?;
        Ok(Oversize(share as u32))
    }

    /// How many of them there are after `sent` others, so that their share of all is the one asked for.
    pub(crate) fn due(self, sent: u64) -> u64 {
        let share = u64::from(self.0);
        sent * share / (10_000 - share)
    }
}

/// Draws the sizes of the messages, the same on both sides.
#[derive(Debug)]
pub(crate) struct Draw {
    /// Running sums of the weights.
    bounds: Vec<u32>,
    random: fastrand::Rng,
}

impl Draw {
    pub(crate) fn new(sizes: &[(usize, u32)], seed: u64) -> Draw {
        let bounds = sizes.iter().scan(0, |sum, (_, weight)| {
            *sum += weight;
            Some(*sum)
        });
        Draw { bounds: bounds.collect(), random: fastrand::Rng::with_seed(seed) }
    }

    /// Index of the size of the next message.
    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        let Some(all) = self.bounds.last().copied().filter(|_| self.bounds.len() > 1) else { return 0 };
        let drawn = self.random.u32(0..all);
        self.bounds.partition_point(|bound| *bound <= drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_drawn_by_their_weights_and_alike_on_both_sides() {
        let sizes = mixed("100:40,1K:30,10K:20,50K:7,100K:3").unwrap();
        let (mut one, mut other) = (Draw::new(&sizes, 7), Draw::new(&sizes, 7));
        let mut counts = [0u32; 5];
        for _ in 0..100_000 {
            let index = one.next();
            assert_eq!(index, other.next());
            counts[index] += 1;
        }
        for (count, (_, weight)) in counts.iter().zip(&sizes) {
            let share = f64::from(*count) / 1000.0;
            assert!((share - f64::from(*weight)).abs() < 1.0, "{counts:?}");
        }
    }

    #[test]
    fn a_share_of_oversize_messages_is_a_share_of_all() {
        let tenth = Oversize::parse("10%").unwrap();
        assert_eq!([0, 8, 9, 90, 900].map(|sent| tenth.due(sent)), [0, 0, 1, 10, 100]);
        let half = Oversize::parse("50%").unwrap();
        assert_eq!(half.due(7), 7);
        assert!(Oversize::parse("10").is_err() && Oversize::parse("0%").is_err());
    }

    #[test]
    fn what_does_not_parse_says_what_does() {
        assert!(mixed("100").unwrap_err().contains("1K:30"));
        assert!(mixed("100:0").is_err() && mixed("100:1,100:2").is_err() && mixed("8:1").is_err());
        assert!(profile("fast:1s").unwrap_err().contains("high, med, low, idle"));
        let legs = profile("high:2s,500:1s").unwrap();
        assert_eq!(legs[1].pace, Pace::PerSecond(500));
        assert_eq!(Shape::Ramp(legs).takes(), Some(Duration::from_secs(3)));
    }
}
