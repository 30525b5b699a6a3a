//! Several runs as one: more trials of the same cells, or cells of more machines side by side.

use crate::cell::CellStatus;
use crate::recorder::DecodeError;
use crate::run::{Run, RunStatus, Warning};
use crate::summary::summarise;

/// Joins `others` to `first`.
///
/// Cells of the same id and machine become one with all trials, numbered on; a cell that was skipped here and measured
/// there is taken from there. Cells of another machine keep to themselves under the dimension `host`: an average over
/// machines describes none of them. Environment, yardsticks and manifest stay those of the first run; a warning names every
/// run that went in.
///
/// # Errors
/// [`DecodeError`] when a histogram is damaged.
pub fn merge(first: Run, others: &[Run]) -> Result<Run, DecodeError> {
    let mut run = first;
    let mut names = vec![run.run_id.clone()];
    for other in others {
        // One for all cells, so that trials made one after the other stay neighbours: pairs of an ab.
        let orders = run.cells.iter().flat_map(|cell| &cell.trials).map(|trial| trial.order + 1);
        let order = orders.max().unwrap_or(0);
        let elsewhere = other.environment.host_fingerprint != run.environment.host_fingerprint;
        let host = other.environment.hostname.clone().unwrap_or_else(|| other.run_id.clone());
        for cell in &other.cells {
            let mut cell = cell.clone();
            if elsewhere {
                cell.id = with_dimension(&cell.id, &format!("host={host}"));
            }
            match run.cells.iter_mut().find(|known| known.id == cell.id) {
                Some(known) if known.status == CellStatus::Skipped => *known = cell,
                Some(_) if cell.status == CellStatus::Skipped => {}
                Some(known) => {
                    let index = known.trials.iter().map(|trial| trial.index + 1).max().unwrap_or(0);
                    for trial in &mut cell.trials {
                        trial.index += index;
                        trial.order += order;
                    }
                    known.trials.append(&mut cell.trials);
                    if cell.status == CellStatus::Failed && known.status == CellStatus::Ok {
                        (known.status, known.reason) = (cell.status, cell.reason);
                    }
                }
                None => run.cells.push(cell),
            }
        }
        for server in &other.servers {
            if !run.servers.contains(server) {
                run.servers.push(server.clone());
            }
        }
        run.elapsed_ns += other.elapsed_ns;
        run.warnings.extend(
            other
                .warnings
                .iter()
                .filter(|warning| !run.warnings.contains(warning))
                .cloned()
                .collect::<Vec<_>>(),
        );
        if run.status == RunStatus::Complete {
            run.status = other.status;
            run.error.clone_from(&other.error);
        }
        names.push(other.run_id.clone());
    }
    for cell in &mut run.cells {
        cell.summary = summarise(cell)?;
    }
    run.run_id = format!("{}+{}", names[0], names.len() - 1);
    let message =
        format!("merged from {}; environment and yardsticks are those of the first", names.join(", "));
    run.warnings.push(Warning { code: "W10".into(), message, cells: Vec::new() });
    Ok(run)
}

/// Adds a dimension to an id, in its place: dimensions are sorted.
fn with_dimension(id: &str, dimension: &str) -> String {
    let parts: Vec<&str> = id.split('/').collect();
    let (fixed, named): (Vec<&str>, Vec<&str>) = parts.into_iter().partition(|part| !part.contains('='));
    let mut named: Vec<&str> = named.into_iter().chain([dimension]).collect();
    named.sort_unstable();
    [fixed, named].concat().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Cell, Throughput, Trial};
    use crate::run::{Side, Tool};

    fn run(host: &str, ids: &[&str], trials: u32) -> Run {
        let mut run = Run::new(format!("run-{host}"), "2026-11-21T01:42:07Z", Tool::default());
        run.environment.host_fingerprint = format!("sha256:{host}");
        run.environment.hostname = Some(host.to_owned());
        for id in ids {
            let mut cell = Cell::new(*id, "shm", "stream", 64);
            cell.trials = (0..trials)
                .map(|index| Trial {
                    index,
                    order: index,
                    messages: 1_000,
                    throughput: Throughput::new(1_000, 64, 1_000_000),
                    ..Trial::default()
                })
                .collect();
            cell.summary = summarise(&cell).unwrap();
            run.cells.push(cell);
        }
        run
    }

    #[test]
    fn trials_of_one_machine_are_joined_and_machines_are_kept_apart() {
        let id = "shm/stream/64/wait=spin";
        let others = [run("one", &[id], 4), run("two", &[id, "shm/stream/64"], 2)];
        let merged = merge(run("one", &[id], 3), &others).unwrap();
        let counts: Vec<(&str, usize)> =
            merged.cells.iter().map(|cell| (cell.id.as_str(), cell.trials.len())).collect();
        assert_eq!(counts, [(id, 7), ("shm/stream/64/host=two/wait=spin", 2), ("shm/stream/64/host=two", 2)]);
        let indices: Vec<u32> = merged.cells[0].trials.iter().map(|trial| trial.index).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(merged.cells[0].summary.as_ref().unwrap().msgs_per_s.unwrap().trials, 7);
        assert!(merged.warnings[0].message.contains("run-one, run-one, run-two"));
    }

    #[test]
    fn servers_that_were_met_are_kept_each_once() {
        let met = |pids: &[u32]| {
            let mut run = run("one", &["uds/rtt/64"], 1);
            run.servers = pids.iter().map(|pid| Side { pid: *pid, ..Side::default() }).collect();
            run
        };
        let merged = merge(met(&[7]), &[met(&[7]), met(&[7, 9]), met(&[])]).unwrap();
        assert_eq!(merged.servers.iter().map(|server| server.pid).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn pairs_of_an_ab_are_still_pairs_when_runs_are_joined() {
        let sides = ["shm/stream/64/arm=a", "shm/stream/64/arm=b"];
        let mut ab = run("one", &sides, 2);
        // A B, B A.
        for (cell, orders) in ab.cells.iter_mut().zip([[0, 3], [1, 2]]) {
            cell.trials.iter_mut().zip(orders).for_each(|(trial, order)| trial.order = order);
        }
        let merged = merge(ab.clone(), &[ab.clone(), ab]).unwrap();
        let [a, b] = [0, 1].map(|cell: usize| -> Vec<u32> {
            merged.cells[cell].trials.iter().map(|trial| trial.order).collect()
        });
        assert_eq!(a, [0, 3, 4, 7, 8, 11]);
        assert_eq!(crate::statistics::pairs::twins(&a, &b), (0..6).map(|i| (i, i)).collect::<Vec<_>>());
    }
}
