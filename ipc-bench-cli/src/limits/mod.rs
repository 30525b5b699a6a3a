//! `limits`: the bare loops of this machine, each with ours beside it in the same minute.
//!
//! A round makes one trial of each, two fresh processes, one right after the other and in turn the other way round; a
//! ratio is the median over the rounds of the ratio within a round.

mod carrier;
mod loops;
mod pair;
mod rows;

use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipc_limits::cost;
use ipc_results::statistics::median;
use ipc_results::{Environment, Estimate, units};

use crate::args::{Global, LimitsArgs};
use crate::command::{print, write};
use crate::error::{Exit, Failure};
use crate::hog::Hog;
use crate::lists;
use crate::pin::{self, Pin, Pins, Topology};
use crate::signals::Signals;
use loops::{Figures, Shape, Work};
use rows::{Bound, Figure, IdleRow, Row};

pub(crate) use pair::{COMMAND, main as side};

/// What the rounds of one row gave.
#[derive(Debug, Default)]
struct Rounds {
    ours: Vec<Figures>,
    limit: Vec<Figures>,
    /// Why there are no more.
    failed: Option<String>,
}

impl Rounds {
    fn estimates(&self, figure: Figure) -> Option<[Estimate; 3]> {
        let of =
            |figures: &[Figures]| figures.iter().map(|trial| figure.of(trial)).collect::<Option<Vec<f64>>>();
        let (ours, limit) = (of(&self.ours)?, of(&self.limit)?);
        let ratios: Vec<f64> = ours.iter().zip(&limit).map(|(ours, limit)| ours / limit).collect();
        Some([median(&ratios)?, median(&ours)?, median(&limit)?])
    }
}

/// Measures and prints.
pub(crate) fn limits(global: &Global, args: &LimitsArgs) -> Result<(), Failure> {
    if cfg!(debug_assertions) && !args.allow_debug {
        return Err(Failure::new(Exit::Refused, "this is a debug build; its numbers mean nothing")
            .why("without optimisation the program measures itself")
            .fix("use `cargo xtask bench -- limits`, or --allow-debug"));
    }
    let time = |name: &str, text: &str| {
        lists::duration(text).map_err(|error| Failure::usage(format!("{name}: not understood")).why(error))
    };
    let (length, idle) = (time("--duration", &args.duration)?, time("--idle", &args.idle)?);
    let environment = Environment::read();
    let topology =
        Topology::read(&environment.cpu).map_err(|error| Failure::failed("no CPUs to pin to").why(error))?;
    let pin: Pin = args.pin.parse().map_err(Failure::usage)?;
    let pins = topology.resolve(pin)?;
    let wanted =
        |name: &str| args.only.is_empty() || args.only.iter().any(|part| name.contains(part.as_str()));
    let rows: Vec<Row> = rows::rows(length).into_iter().filter(|row| wanted(&row.name)).collect();
    let idle_rows: Vec<IdleRow> =
        rows::idle_rows(idle).into_iter().filter(|row| !idle.is_zero() && wanted(&row.name)).collect();
    if rows.is_empty() && idle_rows.is_empty() {
        let names: Vec<String> = rows::rows(length).into_iter().map(|row| row.name).collect();
        return Err(Failure::usage("--only names no row")
            .why(format!("there are: {}", names.join(", ")))
            .fix("name a part of some of them, as in --only \"shm rtt\""));
    }
    let signals = Signals::catch().map_err(|error| Failure::failed("signals cannot be caught").why(error))?;
    let awake = environment.is_virtual_machine();
    if !global.quiet {
        let cpus: Vec<String> =
            pins.client.into_iter().chain(pins.server).map(|cpu| cpu.to_string()).collect();
        eprintln!(
            "limits  {} rows x {} rounds x 2 trials of {}, CPUs {}{}",
            rows.len(),
            args.rounds,
            args.duration,
            cpus.join(" and "),
            if awake { ", kept awake where a side sleeps" } else { "" }
        );
    }
    let measured = rounds(&rows, args.rounds, pins, awake, &signals, |round| {
        if !global.quiet && !global.no_progress {
            eprintln!("round {} of {}", round + 1, args.rounds);
        }
    })?;
    let waited = idle_all(&idle_rows, idle, pins, &signals);
    if let Some(signal) = signals.caught() {
        return Err(Failure::new(Exit::Interrupted(signal), "interrupted"));
    }
    let costs = costs();
    match &global.json {
        None => print(&global.charset().apply(&text(&costs, &rows, &measured, &idle_rows, &waited)))?,
        Some(path) => {
            let document = json(&costs, &rows, &measured, &idle_rows, &waited, args, pins);
            let document = format!("{document:#}\n");
            if global.json_to_stdout() { print(&document)? } else { write(path, &document)? }
        }
    }
    match measured.iter().filter(|rounds| rounds.failed.is_some()).count() {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{failed} of {} rows could not be measured", rows.len()))),
    }
}

/// All rounds of all rows, the rows in turn.
fn rounds(
    rows: &[Row],
    rounds: u32,
    pins: Pins,
    awake: bool,
    signals: &Signals,
    mut between: impl FnMut(u32),
) -> Result<Vec<Rounds>, Failure> {
    let mut measured: Vec<Rounds> = rows.iter().map(|_| Rounds::default()).collect();
    for round in 0..rounds {
        between(round);
        for (row, into) in rows.iter().zip(&mut measured).filter(|(_, into)| into.failed.is_none()) {
            let same = pins.server.or(pins.client);
            let pins = if row.same_core { Pins { client: same, server: same } } else { pins };
            let made = if awake && row.sleeps {
                kept_awake(pins, || one_round(row, round, pins, signals))
            } else {
                one_round(row, round, pins, signals)
            };
            if let Some(signal) = signals.caught() {
                return Err(Failure::new(Exit::Interrupted(signal), "interrupted"));
            }
            match made {
                Ok((ours, limit)) => {
                    into.ours.push(ours);
                    into.limit.push(limit);
                }
                Err(error) => into.failed = Some(error.to_string()),
            }
        }
    }
    Ok(measured)
}

fn one_round(row: &Row, round: u32, pins: Pins, signals: &Signals) -> io::Result<(Figures, Figures)> {
    let ours = || pair::trial(&row.ours.0, &row.ours.1, pins, signals);
    let limit = || pair::trial(&row.limit.0, &row.limit.1, pins, signals);
    if round.is_multiple_of(2) {
        let limit = limit()?;
        Ok((ours()?, limit))
    } else {
        let ours = ours()?;
        Ok((ours, limit()?))
    }
}

/// Does `work` while a thread of idle priority keeps each CPU from halting.
fn kept_awake<T>(pins: Pins, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for cpu in pins.client.into_iter().chain(pins.server.filter(|server| Some(*server) != pins.client)) {
            let over = &over;
            scope.spawn(move || {
                // Without it the numbers are those of a machine that may halt: worse, not wrong.
                if pin::pin_this_thread(cpu).is_ok() && Hog::Awake.prepare().is_ok() {
                    // Relaxed: a thread that sees it late ends late.
                    while !over.load(Ordering::Relaxed) {}
                }
            });
        }
        let done = work();
        // Relaxed: as above.
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// Wake-ups per second of each idle receiver, all measured at once.
fn idle_all(rows: &[IdleRow], length: Duration, pins: Pins, signals: &Signals) -> Vec<io::Result<f64>> {
    let work = Work { shape: Shape::Idle, size: 16, length };
    thread::scope(|scope| {
        let trials: Vec<_> = rows
            .iter()
            .map(|row| scope.spawn(move || pair::trial(&row.through, &work, pins, signals)))
            .collect();
        trials
            .into_iter()
            .map(|trial| {
                let figures = trial.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))?;
                Ok(figures.wakeups_per_s)
            })
            .collect()
    })
}

/// What one thread pays for each, in its unit.
fn costs() -> Vec<(String, f64)> {
    const SAMPLES: usize = 101;
    let middle = |samples: &[f64]| median(samples).map_or(f64::NAN, |estimate| estimate.value);
    let mut costs = vec![
        ("clock_ns".to_owned(), middle(&cost::clock(SAMPLES))),
        ("syscall_ns".to_owned(), middle(&cost::syscall(SAMPLES))),
        ("futex_wake_ns".to_owned(), middle(&cost::futex_wake(SAMPLES))),
    ];
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        let ns = middle(&cost::memcpy(bytes, 21));
        costs.push((format!("memcpy_{}_gb_per_s", lists::show_bytes(bytes)), bytes as f64 / ns));
    }
    costs
}

/// How a ratio stands to its floor and its goal.
fn verdict(bound: &Bound, ratio: f64) -> &'static str {
    let reaches = |value: Option<f64>| value.map(|value| bound.figure.reaches(ratio, value));
    match (reaches(bound.floor), reaches(bound.goal)) {
        (Some(false), _) => "MISSED",
        (_, Some(true)) => "goal met",
        (Some(true), _) => "floor met",
        (None, Some(false)) => "goal missed",
        (None, None) => "",
    }
}

fn shown(figure: Figure, value: f64) -> String {
    if figure == Figure::Rate { units::rate(value) } else { units::time(value) }
}

fn text(
    costs: &[(String, f64)],
    rows: &[Row],
    measured: &[Rounds],
    idle_rows: &[IdleRow],
    waited: &[io::Result<f64>],
) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    for (name, value) in costs {
        let _ = writeln!(text, "{name:<24} {value:.1}");
    }
    let _ = writeln!(
        text,
        "\n{:<33} {:<21} {:>9} {:>9}  {:<19} {:>5} {:>5}",
        "ours", "limit", "ours", "limit", "ratio", "floor", "goal"
    );
    for (row, rounds) in rows.iter().zip(measured) {
        for bound in &row.bounds {
            let name = match bound.figure {
                Figure::P99 => format!("{}, p99", row.name),
                _ => row.name.clone(),
            };
            let Some([ratio, ours, limit]) = rounds.estimates(bound.figure) else {
                let why = rounds.failed.as_deref().unwrap_or("the trials were too short");
                let _ = writeln!(text, "{name:<33} {:<21} not measured: {why}", row.against);
                continue;
            };
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
            let _ = writeln!(
                text,
                "{name:<33} {:<21} {:>9} {:>9}  {:<19} {:>5} {:>5}  {}",
                row.against,
                shown(bound.figure, ours.value),
                shown(bound.figure, limit.value),
                format!("{:.2} [{:.2}–{:.2}]", ratio.value, ratio.lo, ratio.hi),
                number(bound.floor),
                number(bound.goal),
                verdict(bound, ratio.value)
            );
        }
    }
    for (row, rate) in idle_rows.iter().zip(waited) {
        let _ = match rate {
            Ok(rate) => {
                let verdict = if *rate <= row.most_per_s { "floor met" } else { "MISSED" };
                writeln!(text, "{:<33} {rate:.1} wake-ups/s, at most {}  {verdict}", row.name, row.most_per_s)
            }
            Err(error) => writeln!(text, "{:<33} not measured: {error}", row.name),
        };
    }
    let rounds = measured.iter().map(|rounds| rounds.ours.len()).max().unwrap_or(0);
    if rounds > 0 {
        let _ = writeln!(
            text,
            "ratio: median over {rounds} rounds of ours ÷ limit within a round, and the interval of that median"
        );
    }
    text
}

fn json(
    costs: &[(String, f64)],
    rows: &[Row],
    measured: &[Rounds],
    idle_rows: &[IdleRow],
    waited: &[io::Result<f64>],
    args: &LimitsArgs,
    pins: Pins,
) -> serde_json::Value {
    let rows = rows.iter().zip(measured).flat_map(|(row, rounds)| {
        row.bounds.iter().map(move |bound| {
            let estimates = rounds.estimates(bound.figure);
            serde_json::json!({
                "name": row.name, "against": row.against, "figure": bound.figure.name(),
                "ratio": estimates.map(|[ratio, ..]| ratio),
                "ours": estimates.map(|[_, ours, _]| ours),
                "limit": estimates.map(|[.., limit]| limit),
                "floor": bound.floor, "goal": bound.goal,
                "verdict": estimates.map(|[ratio, ..]| verdict(bound, ratio.value)),
                "reason": rounds.failed,
            })
        })
    });
    let idle = idle_rows.iter().zip(waited).map(|(row, rate)| {
        serde_json::json!({
            "name": row.name, "wakeups_per_s": rate.as_ref().ok(), "floor": row.most_per_s,
            "reason": rate.as_ref().err().map(ToString::to_string),
        })
    });
    serde_json::json!({
        "schema": "ipc-bench/limits", "version": 1, "rounds": args.rounds, "duration": args.duration,
        "pin": { "client": pins.client, "server": pins.server },
        "costs": costs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "rows": rows.collect::<Vec<_>>(),
        "idle": idle.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_by_the_direction_of_its_figure() {
        let latency = Bound { figure: Figure::P50, floor: Some(1.35), goal: Some(1.25) };
        assert_eq!(verdict(&latency, 1.2), "goal met");
        assert_eq!(verdict(&latency, 1.3), "floor met");
        assert_eq!(verdict(&latency, 1.4), "MISSED");
        let rate = Bound { figure: Figure::Rate, floor: Some(0.8), goal: Some(0.9) };
        assert_eq!(verdict(&rate, 0.95), "goal met");
        assert_eq!(verdict(&rate, 0.85), "floor met");
        assert_eq!(verdict(&rate, 0.7), "MISSED");
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let trial = |p50_ns| Figures { p50_ns, ..Figures::default() };
        let rounds = Rounds {
            ours: [10.0, 300.0, 20.0].map(trial).into(),
            limit: [10.0, 100.0, 10.0].map(trial).into(),
            failed: None,
        };
        let [ratio, ours, limit] = rounds.estimates(Figure::P50).unwrap();
        assert_eq!((ratio.value, ours.value, limit.value), (2.0, 20.0, 10.0));
    }
}
