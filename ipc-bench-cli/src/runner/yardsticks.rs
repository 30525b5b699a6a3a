//! What cells are held against: limits of the machine, and how much an open loop can carry at most.

use ipc_results::run::CellStatus;
use ipc_results::statistics::median;

use super::{Runner, STANDARD_WORK, explain, recorder};
use crate::crew::{Crew, Trouble};
use crate::plan::{CEILING_LENGTH, CEILING_TRIALS, CEILING_WARMUP};
use crate::protocol::{Link, Role};
use crate::workload::{Arrivals, OpenLoop, Work};
use crate::yardstick::Yardstick;

impl Runner<'_> {
    /// Whether a cell is still held against this limit, or it is one that every run shows.
    pub(super) fn is_wanted(&self, yardstick: usize) -> bool {
        let mut users = (0..self.plan.cells.len())
            .filter(|cell| self.plan.cells[*cell].limit == Some(yardstick))
            .peekable();
        users.peek().is_none() || users.any(|cell| !self.is_done(cell))
    }

    /// Measures a limit once more. Without it the run goes on: the ratio of the cells it serves is then missing.
    pub(super) fn yardstick(&mut self, index: usize) -> Result<(), Trouble> {
        match self.measure_yardstick(self.plan.yardsticks[index]) {
            Ok(value) => self.measured.yardsticks[index].extend(value),
            Err(Trouble::Interrupted(signal)) => return Err(Trouble::Interrupted(signal)),
            Err(trouble) => {
                let failure = explain(&self.plan.yardsticks[index].name(), trouble);
                let text = failure.why.map_or(failure.what.clone(), |why| format!("{}: {why}", failure.what));
                self.measured.broken_yardsticks.entry(index).or_insert(text);
            }
        }
        Ok(())
    }

    fn measure_yardstick(&self, yardstick: Yardstick) -> Result<Option<f64>, Trouble> {
        let mut crew = Crew::new(self.signals);
        let name = yardstick.name();
        let Some(params) = yardstick.params() else {
            let Yardstick::Alone(alone) = yardstick else { return Ok(None) };
            crew.start(Role::Client, &name, None)?;
            let work = Work { counter: self.plan.counter, ..STANDARD_WORK };
            let outcomes = self.converse(&mut crew, |_, _| Link::Alone(alone), work, None, &[])?;
            crew.dismiss();
            return Ok(outcomes.client.cost);
        };
        let size = params.size;
        let hogs: Vec<_> = if yardstick.spins() { Vec::new() } else { self.awake().collect() };
        crew.start_hogs(hogs.len(), &name)?;
        let (near, far) = ipc_limits::create(&params)?;
        crew.start(Role::Server, &name, Some(&far))?;
        crew.start(Role::Client, &name, Some(&near))?;
        let (server, client) = (far.to_string(), near.to_string());
        // The peer's death shows only when nobody else holds the descriptors.
        drop((near, far));
        let link = |role: Role, _: Option<&str>| Link::Bare {
            end: if role == Role::Server { server.clone() } else { client.clone() },
            size,
        };
        // Under the same conditions as the cells that are held against it.
        let plan = self.plan;
        let (priority, locked, counter) = (plan.priority, plan.locked, plan.counter);
        let work = Work { size, priority, locked, counter, ..STANDARD_WORK };
        let outcomes = self.converse(&mut crew, link, work, None, &hogs)?;
        crew.dismiss();
        let p50 = outcomes.client.latency.as_ref().and_then(recorder).and_then(|r| r.percentile_ns(50.0));
        Ok(p50.map(|ns| ns as f64))
    }

    /// Measures what an open loop can carry at most: the same loop, every message of which is due at once. Where that
    /// fails, so do the cells that ask for a share of it.
    pub(super) fn ceiling(&mut self, index: usize) -> Result<(), Trouble> {
        let planned = &self.plan.cells[self.plan.ceilings[index]];
        let mut rates = Vec::new();
        for trial in 0..CEILING_TRIALS {
            let all_at_once = OpenLoop { per_s: 0.0, arrivals: Arrivals::Constant };
            let work = Work {
                open_loop: Some(all_at_once),
                records: 0,
                length: CEILING_LENGTH,
                warmup: CEILING_WARMUP,
                ..self.work(planned, trial)
            };
            match self.measure_work(planned, work) {
                Ok(outcomes) => rates.extend(outcomes.msgs_per_s()),
                Err(Trouble::Interrupted(signal)) => return Err(Trouble::Interrupted(signal)),
                Err(trouble) => {
                    let failure = explain(&planned.point.to_string(), trouble);
                    for (number, other) in self.plan.cells.iter().enumerate() {
                        if other.ceiling == Some(index) {
                            self.measured.cells[number].status = CellStatus::Failed;
                            self.measured.cells[number].reason = Some(failure.what.clone());
                        }
                    }
                    self.measured.failure.get_or_insert((failure, planned.point.to_string()));
                    return Ok(());
                }
            }
        }
        self.measured.ceilings[index] = median(&rates).map(|rate| rate.value);
        Ok(())
    }
}
