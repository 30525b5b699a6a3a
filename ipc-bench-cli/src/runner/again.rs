//! Trials made once more because something disturbed them.

use ipc_results::run::{CellStatus, CpuUse, Trial};

use super::Runner;
use super::outcomes::MIGRATIONS;
use crate::crew::Trouble;

impl Runner<'_> {
    /// Makes trials again that something disturbed, behind all others; the disturbed ones stay.
    pub(super) fn retry(&mut self) -> Result<(), Trouble> {
        self.measured.cells.iter_mut().for_each(|cell| mark_unusual(&mut cell.trials));
        let over =
            self.measured.interrupted.is_some() || self.plan.fail_fast && self.measured.failure.is_some();
        if over || self.plan.retry_flagged == 0 {
            return Ok(());
        }
        let mut order = self.plan.steps.len() as u32;
        for cell in 0..self.measured.cells.len() {
            let trials = &self.measured.cells[cell].trials;
            let next = trials.iter().map(|trial| trial.index + 1).max().unwrap_or(0);
            for index in next..next + retries(trials, self.plan.retry_flagged) {
                if self.measured.cells[cell].status == CellStatus::Failed {
                    break;
                }
                self.trial(cell, index, order)?;
                order += 1;
            }
            mark_unusual(&mut self.measured.cells[cell].trials);
        }
        Ok(())
    }
}

/// Flags trials that lost a CPU to others, or were moved between CPUs though nobody pinned them, more than five times as often
/// as the median trial of their cell (docs/adr/0011).
fn mark_unusual(trials: &mut [Trial]) {
    mark(trials, "involuntary_switches", |cpu| Some(cpu.ivcsw));
    mark(trials, MIGRATIONS, |cpu| cpu.migrations);
}

fn mark(trials: &mut [Trial], flag: &str, count: impl Fn(CpuUse) -> Option<u64>) {
    /// What a quiet machine has in a trial or two is no disturbance, however seldom it is in the others.
    const USUAL: u64 = 10;
    let of = |trial: &Trial| trial.cpu.and_then(&count);
    let mut counts: Vec<u64> = trials.iter().filter_map(of).collect();
    counts.sort_unstable();
    let Some(median) = counts.get(counts.len().saturating_sub(1) / 2).filter(|_| counts.len() >= 3) else {
        return;
    };
    let most = 5 * USUAL.max(*median);
    for trial in trials {
        if of(trial).is_some_and(|count| count > most) && !trial.flags.iter().any(|known| known == flag) {
            trial.flags.push(flag.to_owned());
        }
    }
}

/// How many trials are made again: as many as were disturbed, within what was asked for.
fn retries(trials: &[Trial], most: u32) -> u32 {
    let flagged = trials.iter().filter(|trial| trial.error.is_none() && !trial.flags.is_empty()).count();
    most.min(flagged as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disturbed_trials_are_made_again_and_no_others() {
        let trial = |flags: &[&str], error: Option<&str>| Trial {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            error: error.map(str::to_owned),
            ..Trial::default()
        };
        let trials = [
            trial(&[], None),
            trial(&["steal"], None),
            trial(&["steal", "major_faults"], None),
            trial(&["steal"], Some("died")),
        ];
        assert_eq!([0, 1, 5].map(|most| retries(&trials, most)), [0, 1, 2]);
        assert_eq!(retries(&trials[..1], 5), 0);
    }

    #[test]
    fn a_trial_that_lost_its_cpu_far_more_often_than_the_others_is_disturbed() {
        let marked = |switches: &[u64]| {
            let trial = |ivcsw: &u64| Trial {
                cpu: Some(CpuUse { ivcsw: *ivcsw, ..CpuUse::default() }),
                ..Trial::default()
            };
            let mut trials: Vec<Trial> = switches.iter().map(trial).collect();
            mark_unusual(&mut trials);
            mark_unusual(&mut trials);
            trials.iter().map(|trial| trial.flags.len()).collect::<Vec<_>>()
        };
        assert_eq!(marked(&[20, 101, 20, 100, 19]), [0, 1, 0, 0, 0]);
        assert_eq!(marked(&[0, 50, 0, 51]), [0, 0, 0, 1], "a few are no disturbance");
        assert_eq!(marked(&[0, 1000]), [0, 0], "two trials have no usual one");
    }

    #[test]
    fn a_trial_that_was_free_to_move_and_moved_far_more_often_than_the_others_is_disturbed() {
        let trial = |migrations: &Option<u64>| Trial {
            cpu: Some(CpuUse { migrations: *migrations, ..CpuUse::default() }),
            ..Trial::default()
        };
        let mut trials: Vec<Trial> =
            [Some(40), Some(200), Some(201), Some(30), None].iter().map(trial).collect();
        mark_unusual(&mut trials);
        let flags: Vec<&[String]> = trials.iter().map(|trial| &trial.flags[..]).collect();
        assert_eq!(flags, [&[][..], &[], &[MIGRATIONS.to_owned()], &[], &[]]);
    }
}
