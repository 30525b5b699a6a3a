//! Trials made once more because something disturbed them.

use ipc_results::run::{CellStatus, Trial};

use super::Runner;
use crate::crew::Trouble;

impl Runner<'_> {
    /// Makes trials again that something disturbed, behind all others; the disturbed ones stay.
    pub(super) fn retry(&mut self) -> Result<(), Trouble> {
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
        }
        Ok(())
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
}
