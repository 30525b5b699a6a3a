//! A trial whose sides are threads of one worker.

use super::{Outcomes, Runner, with_options};
use crate::crew::{Crew, Trouble};
use crate::lookout::Look;
use crate::matrix::PlannedCell;
use crate::protocol::{Link, Role};
use crate::workload::Work;

impl Runner<'_> {
    /// One trial.
    pub(super) fn inside(&self, planned: &PlannedCell, work: Work) -> Result<Outcomes, Trouble> {
        let mut crew = Crew::of(planned.arm.as_ref(), self.signals);
        let (id, hogs) = (planned.point.to_string(), self.hogs(planned));
        crew.start_hogs(hogs.len(), &id)?;
        crew.start(Role::Client, &id, None)?;
        let name = &planned.point.transport;
        let link = |_: Role, _: Option<&str>| Link::Inside {
            name: name.clone(),
            // Nobody outside of the process knows the name.
            address: with_options(&format!("{name}:both"), planned),
            far_cpu: self.plan.pins.server,
        };
        let mut outcomes = self.converse(&mut crew, link, work, None, &hogs)?;
        crew.dismiss();
        outcomes.looks = outcomes.looks.into_iter().map(Look::without_moves).collect();
        outcomes.server = outcomes.client.peer.take().map(|peer| *peer).unwrap_or_default();
        outcomes.server_ready.cpus = std::mem::take(&mut outcomes.client_ready.far_cpus);
        outcomes.server_ready.effective.clone_from(&outcomes.client_ready.effective);
        outcomes.check_pins(self.plan)?;
        outcomes.check_count(&work)?;
        Ok(outcomes)
    }
}
