//! Measuring what a saved run measured once more.

use std::collections::BTreeMap;
use std::path::Path;

use ipc_results::{Environment, Run};

use crate::args::Global;
use crate::command::refuse_debug;
use crate::config::Config;
use crate::error::Failure;
use crate::events::Events;
use crate::mechanism::Mechanism;
use crate::output::Output;
use crate::plan::{Context, Plan};
use crate::records::Files;
use crate::replay;
use crate::report::Report;
use crate::session::Session;
use crate::settings::Settings;
use crate::signals::Signals;

use super::find;

/// Which cells of a run, and how often.
pub(super) struct Again<'a> {
    /// The run, as the user named it.
    pub(super) run: &'a str,
    /// Ids of the cells; all of them without.
    pub(super) cells: Option<&'a [&'a str]>,
    /// Times its trials.
    pub(super) times: u32,
    pub(super) allow_debug: bool,
}

/// The cells of a run measured again with its settings, saved as a run of its own.
pub(super) fn again(
    mechanisms: &[Mechanism],
    global: &Global,
    root: &Path,
    what: &Again<'_>,
) -> Result<Run, Failure> {
    refuse_debug(what.allow_debug)?;
    let environment = Environment::read();
    let (settings, _) = replay::manifest(&find(root, what.run)?)?;
    let mut config = Config::load(global.config.as_deref())?;
    config.manifest = settings;
    let mut settings = Settings::complete(BTreeMap::new(), &config)?;
    if settings.text("messages").is_some() {
        // That of a preset says nothing about a number of messages.
        settings = settings.without("time-budget");
    }
    let context = Context { mechanisms, environment: &environment, seed: None, directory: root };
    let mut plan = Plan::new(settings, &context)?;
    if let Some(ids) = what.cells {
        plan.keep(|cell| ids.contains(&cell.point.to_string().as_str()));
    }
    if plan.cells.is_empty() {
        return Err(Failure::usage(format!("{} cannot be measured again", what.run))
            .why("its settings give none of the cells that are wanted")
            .fix("measure them with ipc-bench run, and name that run"));
    }
    plan.trials *= what.times;
    plan.order_steps();
    let signals = Signals::catch().map_err(|error| Failure::failed("signals cannot be caught").why(error))?;
    let session = Session { global, environment: &environment, signals: &signals };
    let mut report = Report::begin("again");
    report.plan(&plan, &environment);
    let output = Output::prepare(root, None, None, report.run_id())?;
    let failure = session.measure(&plan, &mut report, &output, Events::open(None)?, Files::default());
    output.save(report.document(), true)?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(report.document().clone()),
    }
}
