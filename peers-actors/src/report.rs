//! The run, its table and its result file.

use crate::rows::{Floor, Measure, Row};
use crate::{Library, Plan, trial_of};
use ipc_results::run::{Run, RunStatus, Throughput, Tool};
use ipc_results::statistics::median;
use ipc_results::{Cell, Environment, Estimate, Trial, file, summarise};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

/// Runs the plan; fails when a floor is missed or a trial of ours broke.
pub fn run(plan: &Plan) -> ExitCode {
    let started = Instant::now();
    let mut run = document();
    let mut missed = 0;
    for row in &plan.rows {
        let mut cells: Vec<(&Library, Cell)> = plan
            .libraries
            .iter()
            .filter(|library| library.takes(row))
            .map(|library| {
                (*library, Cell::new(format!("{}/{}", library.name, row.name), library.name, row.name, 8))
            })
            .collect();
        for index in 0..plan.trials {
            for (library, cell) in &mut cells {
                if cell.trials.iter().any(|trial| trial.error.is_some()) {
                    // It is told above; more of the same would only take their time.
                    continue;
                }
                cell.trials.push(measured(library, row, index));
            }
        }
        missed += print(row, &cells);
        for (_, mut cell) in cells {
            cell.summary = summarise(&cell).ok().flatten();
            run.cells.push(cell);
        }
    }
    run.status = RunStatus::Complete;
    run.elapsed_ns = started.elapsed().as_nanos() as u64;
    println!("{missed} floors missed; {:.0} s", started.elapsed().as_secs_f64());
    if let Some(path) = &plan.json
        && let Err(error) = file::write_run(path.as_ref(), &run)
    {
        eprintln!("error: {path}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(missed > 0))
}

fn document() -> Run {
    let seconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()) as i64;
    let utc = rfc3339(seconds);
    let tool = Tool {
        version: env!("CARGO_PKG_VERSION").into(),
        profile: Some("bench".into()),
        lto: Some("fat".into()),
        ..Tool::default()
    };
    let id = format!("{}-actors-{:04x}", utc.replace([':', '-', 'T', 'Z'], ""), std::process::id() & 0xFFFF);
    let mut run = Run::new(id, utc, tool);
    run.environment = Environment::read();
    run.tags.insert("threads".into(), "2".into());
    run.tags.insert("allocator".into(), "glibc".into());
    run
}

/// Seconds since 1970 as date and time (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn measured(library: &Library, row: &Row, index: u32) -> Trial {
    let mut trial = Trial { index, ..Trial::default() };
    match trial_of(library, row) {
        Ok((messages, elapsed_ns, values)) => {
            trial.messages = messages;
            trial.elapsed_ns = elapsed_ns;
            trial.throughput = Throughput::new(messages, 8, elapsed_ns);
            let known = row.measures.iter().zip(values).filter(|(_, value)| value.is_finite());
            trial.measures.extend(known.map(|(measure, value)| (measure.name.into(), value)));
        }
        Err(error) => {
            eprintln!("{} {}: {error}", library.name, row.name);
            trial.error = Some(error);
        }
    }
    trial
}

fn value_of(measure: &Measure, cell: &Cell) -> Option<Estimate> {
    let values: Vec<f64> =
        cell.completed().filter_map(|trial| trial.measures.get(measure.name).copied()).collect();
    median(&values)
}

/// Prints the row's part of the table and answers how many floors ours misses in it.
fn print(row: &Row, cells: &[(&Library, Cell)]) -> u32 {
    println!("\n{} – {}", row.name, row.what);
    row.measures.iter().map(|measure| u32::from(!print_measure(measure, cells))).sum()
}

/// Prints one measure; false: ours misses its floor.
fn print_measure(measure: &Measure, cells: &[(&Library, Cell)]) -> bool {
    println!("  {}", measure.name);
    let (mut ours, mut best): (Option<f64>, Option<(f64, &str)>) = (None, None);
    let higher = measure.higher_is_better();
    for (library, cell) in cells {
        let Some(estimate) = value_of(measure, cell) else {
            let why = if cell.completed().next().is_some() { "n/a" } else { "no trial ended" };
            println!("    {:12} {why:>12}", library.name);
            continue;
        };
        let value = estimate.value;
        let reference = if library.peer || library.name == "ipc-actors" { "" } else { "  (reference)" };
        println!(
            "    {:12} {:>12}   [{} … {}]{reference}",
            library.name,
            short(value),
            short(estimate.lo),
            short(estimate.hi)
        );
        if library.name == "ipc-actors" {
            ours = Some(value);
        }
        let better = |best: f64| if higher { value > best } else { value < best };
        if library.peer && best.is_none_or(|(known, _)| better(known)) {
            best = Some((value, library.name));
        }
    }
    let Some(ours) = ours else { return !cells.iter().any(|(library, _)| library.name == "ipc-actors") };
    let ratio = best.map(|(best, name)| (times_better(ours, best, higher), name));
    let beside = ratio.map_or(String::new(), |(times, name)| match times {
        Some(times) => format!("{times:.2} × {name}, "),
        None => format!("as {name}, "),
    });
    let (floor, met) = match measure.floor {
        Floor::Ratio(floor) => {
            let reached = |(times, _): (Option<f64>, _)| times.is_none_or(|times| times >= floor);
            (format!("floor ≥ {floor} ×"), ratio.is_none_or(reached))
        }
        Floor::AtLeast(bound) => (format!("floor ≥ {}", short(bound)), ours >= bound),
        Floor::AtMost(bound) => (format!("floor ≤ {}", short(bound)), ours <= bound),
        Floor::None => (String::from("no floor"), true),
    };
    println!("    {} {beside}{floor}: {}", if met { "✓" } else { "✗" }, if met { "met" } else { "missed" });
    met
}

/// How many times as good as another value; `None`: both are zero.
fn times_better(ours: f64, best: f64, higher_is_better: bool) -> Option<f64> {
    if ours == best {
        return (ours != 0.0).then_some(1.0);
    }
    Some(if higher_is_better { ours / best } else { best / ours })
}

fn short(value: f64) -> String {
    match value.abs() {
        big if big >= 1e6 => format!("{:.2} M", value / 1e6),
        big if big >= 1e4 => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::times_better;

    #[test]
    fn nothing_beside_nothing_has_no_ratio() {
        assert_eq!(times_better(0.0, 0.0, false), None);
        assert_eq!(times_better(2.0, 2.0, true), Some(1.0));
        assert_eq!((times_better(3.0, 2.0, true), times_better(2.0, 3.0, false)), (Some(1.5), Some(1.5)));
    }
}
