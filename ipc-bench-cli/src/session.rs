//! Measuring a plan and telling of it: what `run`, `client` and `ab` have in common.

use std::time::Duration;

use ipc_results::Environment;
use ipc_results::run::Side;
use ipc_results::text::{machine, yardsticks};
use ipc_results::units::Charset;

use crate::args::Global;
use crate::doctor;
use crate::error::Failure;
use crate::events::Events;
use crate::hooks;
use crate::output::Output;
use crate::pin;
use crate::plan::{Plan, Step};
use crate::progress::Progress;
use crate::records::Files;
use crate::report::Report;
use crate::runner::{Measured, Runner, explain};
use crate::signals::Signals;
use crate::yardstick::Yardstick;

/// What does not depend on the plan.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) global: &'a Global,
    pub(crate) environment: &'a Environment,
    pub(crate) signals: &'a Signals,
}

impl Session<'_> {
    /// Makes every trial and closes the document; the failure to tell the user, if there is one. What was measured is
    /// in `report` whatever happens.
    pub(crate) fn measure(
        &self,
        plan: &Plan,
        report: &mut Report,
        output: &Output,
        mut events: Events,
        files: Files,
    ) -> Option<Failure> {
        let global = self.global;
        events.plan(plan, report.run_id());
        if !global.quiet {
            eprintln!("{}", global.charset().apply(&headline(plan)));
            eprintln!("{}", global.charset().apply(&machine_line(plan, self.environment)));
            if let Some(cut) = &plan.cut {
                eprintln!("time budget  {cut}");
            }
        }
        log::info!("{}", headline(plan));
        let progress = Progress::new(plan, !global.quiet && !global.no_progress);
        let mut before = None;
        let around = self.around(plan, || {
            let runner = Runner::new(plan, self.signals).recording(files);
            runner.run(|number, step, measured| {
                if let Some(done) = before.replace(step) {
                    log_step(plan, done, measured);
                    events.done(done, measured);
                }
                progress.step(number, step);
            })
        });
        drop(progress);
        let (measured, cleaned) = match around {
            Ok(done) => done,
            Err(failure) => {
                report.stop(&failure);
                events.end(report.document());
                return Some(failure);
            }
        };
        if let Some(done) = before {
            log_step(plan, done, &measured);
            events.done(done, &measured);
        }
        report.measured(plan, &measured);
        if !global.quiet {
            for server in &report.document().servers {
                eprintln!("{}", global.charset().apply(&server_line(server, self.environment)));
            }
            let standard: Vec<String> = Yardstick::standard().into_iter().map(Yardstick::name).collect();
            let mut shown = report.document().yardsticks.clone();
            shown.retain(|name, _| standard.contains(name));
            eprintln!("yardstick  {}", yardsticks(&shown, global.charset()));
            eprintln!("doctor     {}\n", doctor::headline(&report.document().doctor));
        }
        let failure = report.end(measured, &output.directory.join("run.json").display().to_string());
        let failure = failure.or_else(|| cleaned.inspect(|failure| report.fail(failure)));
        events.end(report.document());
        failure
    }

    /// Measures between the commands that the user wants run before and after; what was measured and what the last of them
    /// failed with. It runs whatever happened before, and a signal does not cut it short.
    ///
    /// # Errors
    /// The first one failed, and nothing was measured.
    pub(crate) fn around<T>(
        &self,
        plan: &Plan,
        measure: impl FnOnce() -> T,
    ) -> Result<(T, Option<Failure>), Failure> {
        let told = |trouble| explain("the run", trouble);
        let begin = plan.hooks.setup.as_deref();
        let ready = begin.map_or(Ok(()), |line| hooks::run("setup", line, &[], Some(self.signals)));
        let measured = ready.map(|()| measure());
        let end = plan.hooks.cleanup.as_deref();
        let cleaned = end.and_then(|line| hooks::run("cleanup", line, &[], None).err()).map(told);
        measured.map(|measured| (measured, cleaned)).map_err(told)
    }
}

/// What a step brought.
fn log_step(plan: &Plan, step: Step, measured: &Measured) {
    match step {
        Step::Yardstick(index) => {
            let name = plan.yardsticks[index].name();
            match (measured.broken_yardsticks.get(&index), measured.yardsticks[index].last()) {
                (Some(why), _) => log::warn!("{name}: {why}"),
                (None, Some(value)) => log::info!("{name}: {value:.1}"),
                // No cell needs it any more.
                (None, None) => {}
            }
        }
        Step::Ceiling(index) => {
            let point = &plan.cells[plan.ceilings[index]].point;
            let most = measured.ceilings[index].unwrap_or_default();
            log::info!("{point}: can carry {most:.0} messages per second");
        }
        Step::Trial { cell, index } => {
            let id = &plan.cells[cell].point;
            let Some(trial) = measured.cells[cell].trials.iter().find(|trial| trial.index == index) else {
                return;
            };
            let (messages, took) = (trial.messages, Duration::from_nanos(trial.elapsed_ns));
            let flags: String = trial.flags.iter().map(|flag| format!(", {flag}")).collect();
            match &trial.error {
                Some(error) => log::warn!("{id} trial {index}: {error}"),
                None => log::info!("{id} trial {index}: {messages} messages in {took:?}{flags}"),
            }
        }
    }
}

/// `ipc-bench 0.1.0 · preset quick · 36 cells, 2 not possible here · 34 × 5 trials · ≈ 69 s · seed 4711`
fn headline(plan: &Plan) -> String {
    let impossible = plan.cells.iter().filter(|cell| cell.impossible.is_some()).count();
    let mut parts = vec![format!("ipc-bench {}", env!("CARGO_PKG_VERSION"))];
    parts.extend(plan.settings.text("preset").map(|(name, _)| format!("preset {name}")));
    let cells = format!("{} cells", plan.cells.len());
    parts.push(if impossible == 0 { cells } else { format!("{cells}, {impossible} not possible here") });
    parts.push(format!("{} trials", plan.trial_count()));
    parts.extend(plan.estimate().map(|time| format!("≈ {} s", time.as_secs().max(1))));
    parts.push(format!("seed {}", plan.seed));
    parts.join(" · ")
}

/// `server     ipc-bench 0.1.0, process 812, cpu 3 · K1 namespaces: server process 812 has other namespaces: ipc (no common mq)`
fn server_line(server: &Side, environment: &Environment) -> String {
    let remarks = doctor::of_server(environment, server).into_iter();
    let remarks: String = remarks.map(|finding| format!(" · {} {}", finding.id, finding.message)).collect();
    let Side { version, pid, cpus, .. } = server;
    format!("server     ipc-bench {version}, process {pid}, cpu {}{remarks}", pin::list(cpus))
}

/// `machine  AMD EPYC (kvm), 2 cpus, … · client cpu 0, server cpu 1`
fn machine_line(plan: &Plan, environment: &Environment) -> String {
    let place = |role: &str, cpu: Option<u32>| {
        cpu.map_or(format!("{role} not pinned"), |cpu| format!("{role} cpu {cpu}"))
    };
    let (client, server) = (place("client", plan.pins.client), place("server", plan.pins.server));
    let awake = match &plan.awake[..] {
        [] => String::new(),
        _ => " · kept from halting while a side sleeps".to_owned(),
    };
    format!("machine  {} · {client}, {server}{awake}", machine(environment, Charset::Unicode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_its_process_its_place_and_what_stands_between_in_one_line() {
        let named = |ipc: &str| [("ipc".to_owned(), ipc.to_owned())].into_iter().collect();
        let boot_id = Some("here".to_owned());
        let environment =
            Environment { boot_id: boot_id.clone(), namespaces: named("ipc:[1]"), ..Environment::default() };
        let server =
            Side { version: "0.1.0".into(), boot_id, namespaces: named("ipc:[2]"), pid: 812, cpus: vec![3] };
        assert_eq!(
            server_line(&server, &environment),
            "server     ipc-bench 0.1.0, process 812, cpu 3 · K1 namespaces: server process 812 has other namespaces: ipc (no \
             common mq)"
        );
    }
}
