//! From what was measured to the document and the text.

use std::collections::BTreeMap;
use std::env;
use std::time::{Instant, SystemTime};

use ipc_results::environment::Environment;
use ipc_results::run::{Cell, CellStatus, Manifest, Run, RunStatus, Tool, Warning};
use ipc_results::text::{Style, render};
use rustix::io::Errno;

use crate::doctor;
use crate::error::{Exit, Failure};
use crate::fit::huge_page;
use crate::plan::Plan;
use crate::runner::Measured;
use crate::worker::{LOCKED, PRIORITY};

/// A run from its first moment on.
#[derive(Debug)]
pub(crate) struct Report {
    run: Run,
    begun: Instant,
}

impl Report {
    /// A document that has measured nothing yet.
    pub(crate) fn begin(preset: &str) -> Report {
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let digits: String = started.chars().filter(char::is_ascii_digit).collect();
        let (date, time) = digits.split_at(8);
        let run_id = format!("{date}-{time}-{preset}-{:04x}", fastrand::u16(..));
        let mut run = Run::new(run_id, started, tool());
        run.manifest.argv = env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        run.label =
            option_env!("IPC_BENCH_BUILD_GIT_DESCRIBE").unwrap_or(env!("CARGO_PKG_VERSION")).to_owned();
        Report { run, begun: Instant::now() }
    }

    pub(crate) fn run_id(&self) -> &str {
        &self.run.run_id
    }

    /// Adds what was planned.
    pub(crate) fn plan(&mut self, plan: &Plan, environment: &Environment) {
        self.run.environment = environment.clone();
        self.run.doctor = doctor::findings(environment);
        self.run.manifest = Manifest {
            argv: std::mem::take(&mut self.run.manifest.argv),
            preset: plan.settings.text("preset").map(|(name, _)| name.to_owned()),
            config_toml: Some(plan.settings.to_toml()),
            seed: plan.seed,
            order: Some(plan.order.to_string()),
            reference: plan.reference.clone(),
        };
        if cfg!(debug_assertions) {
            self.warn("W05", "debug build: its numbers mean nothing; use `cargo xtask bench`", Vec::new());
        }
        if plan.topology.allowed.len() <= 2 {
            let cpus = plan.topology.allowed.len();
            let text = format!(
                "{cpus} cpu{} only: spinning transports share the machine with everything else; p99.9 is pessimistic",
                if cpus == 1 { "" } else { "s" }
            );
            self.warn("W07", &text, Vec::new());
        }
    }

    /// Adds what the user calls it.
    pub(crate) fn name(&mut self, label: Option<&str>, tags: &[(String, String)]) {
        if let Some(label) = label {
            self.run.label = label.to_owned();
        }
        self.run.tags.extend(tags.iter().cloned());
    }

    /// Adds what was measured.
    pub(crate) fn measured(&mut self, plan: &Plan, measured: &Measured) {
        self.run.cells.clone_from(&measured.cells);
        let values = plan.yardsticks.iter().enumerate();
        self.run.yardsticks =
            values.filter_map(|(index, y)| Some((y.name(), measured.yardstick(index)?))).collect();
        self.run.servers.clone_from(&measured.servers);
        for server in &measured.servers {
            self.run.doctor.extend(doctor::of_server(&self.run.environment, server));
        }
        for why in measured.broken_yardsticks.values() {
            self.warn("W08", &format!("a yardstick is missing, and with it some ratios: {why}"), Vec::new());
        }
        self.refused(plan);
        self.without_huge_pages();
        self.uncounted();
        self.label_what_is_not_kill_safe();
        self.label_what_is_one_process();
        self.run.elapsed_ns = self.begun.elapsed().as_nanos() as u64;
    }

    /// Tells which conditions the system did not grant.
    fn refused(&mut self, plan: &Plan) {
        let asked = [
            (plan.priority > 0, PRIORITY, "--sched", "ulimit -r 99, or setcap cap_sys_nice+ep"),
            (plan.locked, LOCKED, "--mlock", "ulimit -l unlimited, or setcap cap_ipc_lock+ep"),
        ];
        for (asked, name, flag, fix) in asked {
            let without = |cell: &&Cell| cell.effective.get(name).is_some_and(|granted| *granted == 0);
            let cells: Vec<String> =
                self.run.cells.iter().filter(without).map(|cell| cell.id.clone()).collect();
            if asked && !cells.is_empty() {
                let text =
                    format!("{flag} was refused by the system; these cells were measured without it ({fix})");
                self.warn("W11", &text, cells);
            }
        }
    }

    /// Tells which rings are not in huge pages that were to be, and why.
    fn without_huge_pages(&mut self) {
        let mut short: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for cell in &self.run.cells {
            if let Some(errno) = not_in_huge_pages(cell, huge_page() as u64) {
                short.entry(errno).or_default().push(cell.id.clone());
            }
        }
        for (errno, cells) in short {
            let text = match errno {
                AGREED => "--hugepages was granted, and a side of these cells maps a ring in small pages, in part or all of it \
                               (huge_bytes and peer_huge_bytes in the file; a server started by hand needs hugepages=true, too)"
                    .to_owned(),
                errno => {
                    let said = std::io::Error::from_raw_os_error(errno as i32);
                    let fix = huge_page_fix(&said);
                    format!(
                        "--hugepages was refused by the system ({said}); these cells were measured without it ({fix})"
                    )
                }
            };
            self.warn("W11", &text, cells);
        }
    }

    /// Tells that nothing of what was to be counted could be.
    fn uncounted(&mut self) {
        let nothing = |cell: &&Cell| {
            !cell.uncounted.is_empty() && cell.completed().all(|trial| trial.counters.is_empty())
        };
        let cells: Vec<&Cell> = self.run.cells.iter().filter(nothing).collect();
        let Some(reason) = cells.iter().flat_map(|cell| cell.uncounted.values()).next().cloned() else {
            return;
        };
        let cells = cells.iter().map(|cell| cell.id.clone()).collect();
        self.warn("W13", &format!("--perf counted nothing in these cells: {reason}"), cells);
    }

    /// Tells which cells have no boundary of a process in them.
    fn label_what_is_one_process(&mut self) {
        let inside =
            self.run.cells.iter().filter(|cell| cell.one_process && cell.status != CellStatus::Skipped);
        let cells: Vec<String> = inside.map(|cell| cell.id.clone()).collect();
        if !cells.is_empty() {
            let text =
                "one process, two threads: these cells leave out what the boundary between processes costs";
            self.warn("W14", text, cells);
        }
    }

    /// Tells which cells are there for comparison only.
    fn label_what_is_not_kill_safe(&mut self) {
        // What shm-direct with lock=condvar counts among its settings in force.
        let marked = |cell: &&Cell| cell.effective.contains_key("not kill-safe");
        let cells: Vec<String> = self.run.cells.iter().filter(marked).map(|cell| cell.id.clone()).collect();
        if !cells.is_empty() {
            let text =
                "not kill-safe: a process killed in pthread_cond_signal hangs the other side of these cells";
            self.warn("W12", text, cells);
        }
    }

    /// Closes the document; the failure to tell the user, if there is one.
    pub(crate) fn end(&mut self, measured: Measured, saved_in: &str) -> Option<Failure> {
        let restless: Vec<String> = unsteady(&self.run);
        if !restless.is_empty() {
            let text = format!(
                "{} cells did not reach a steady state while warming up for 1 s; their numbers vary",
                restless.len()
            );
            self.warn("W06", &text, restless);
        }
        if let Some((text, cells)) = disturbed(&self.run.cells) {
            self.warn("W03", &text, cells);
        }
        let done = self
            .run
            .cells
            .iter()
            .filter(|cell| cell.summary.is_some() && cell.status == CellStatus::Ok)
            .count();
        let kept = format!("{done} of {} cells saved in {saved_in}", self.run.cells.len());
        if let Some(signal) = measured.interrupted {
            self.run.status = RunStatus::Partial;
            let failure =
                Failure::new(Exit::Interrupted(signal), format!("interrupted by signal {signal}")).why(kept);
            self.run.error = Some(failure.to_run_error(None));
            return Some(failure);
        }
        if let Some((failure, cell)) = measured.failure {
            self.run.status = RunStatus::Failed;
            self.run.error = Some(failure.to_run_error(Some(cell)));
            return Some(Failure { what: format!("{}; {kept}", failure.what), ..failure });
        }
        self.run.status = RunStatus::Complete;
        None
    }

    /// Closes the document of a run that was stopped before its first trial.
    pub(crate) fn stop(&mut self, failure: &Failure) {
        self.fail(failure);
        if matches!(failure.exit, Exit::Interrupted(_)) {
            self.run.status = RunStatus::Partial;
        }
    }

    /// Closes the document of a run that never began.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.run.status = RunStatus::Failed;
        self.run.error = Some(failure.to_run_error(None));
    }

    /// Closes the document of a comparison that had nothing to compare with.
    pub(crate) fn nothing(&mut self, note: &str) {
        self.warn("W09", note, Vec::new());
    }

    fn warn(&mut self, code: &str, message: &str, cells: Vec<String>) {
        self.run.warnings.push(Warning { code: code.into(), message: message.into(), cells });
    }

    pub(crate) fn document(&self) -> &Run {
        &self.run
    }
}

/// What to say when more than one trial in twenty was disturbed, and in which cells; below that the marks say it.
fn disturbed(cells: &[Cell]) -> Option<(String, Vec<String>)> {
    let marked = |cell: &Cell| cell.completed().filter(|trial| !trial.flags.is_empty()).count();
    let (trials, flagged): (usize, usize) =
        cells.iter().fold((0, 0), |(all, some), cell| (all + cell.completed().count(), some + marked(cell)));
    if flagged * 20 <= trials {
        return None;
    }
    let mut reasons = BTreeMap::<&str, usize>::new();
    for flag in cells.iter().flat_map(Cell::completed).flat_map(|trial| &trial.flags) {
        *reasons.entry(flag).or_default() += 1;
    }
    let reasons: Vec<String> = reasons.iter().map(|(flag, count)| format!("{flag} {count}")).collect();
    let text = format!(
        "{flagged} of {trials} trials were disturbed ({}); they are marked ◦ and kept. --retry-flagged N makes more",
        reasons.join(", ")
    );
    Some((text, cells.iter().filter(|cell| marked(cell) > 0).map(|cell| cell.id.clone()).collect()))
}

/// Cells with trials whose warm-up never settled.
fn unsteady(run: &Run) -> Vec<String> {
    let is = |cell: &&ipc_results::Cell| cell.trials.iter().any(|trial| trial.warmup.steady == Some(false));
    run.cells.iter().filter(is).map(|cell| cell.id.clone()).collect()
}

/// This program, as its build recorded it.
fn tool() -> Tool {
    let own = |value: Option<&str>| value.map(str::to_owned);
    Tool {
        version: env!("CARGO_PKG_VERSION").into(),
        git: own(option_env!("IPC_BENCH_BUILD_GIT")),
        dirty: option_env!("IPC_BENCH_BUILD_GIT_DIRTY").map(|dirty| dirty == "true"),
        profile: own(option_env!("IPC_BENCH_BUILD_PROFILE")),
        rustc: own(option_env!("IPC_BENCH_BUILD_RUSTC_VERSION")),
        target: own(option_env!("IPC_BENCH_BUILD_TARGET")),
        target_cpu: own(option_env!("IPC_BENCH_BUILD_TARGET_CPU")),
        lto: None,
        features: cfg!(feature = "codecs").then(|| "codecs".to_owned()).into_iter().collect(),
    }
}

/// Which program this is: what a report of a fault needs.
pub(crate) fn version() -> String {
    let tool = tool();
    let known = [
        tool.git.map(|git| if tool.dirty == Some(true) { format!("{git}, with changes") } else { git }),
        tool.profile.map(|profile| format!("profile {profile}")),
        tool.rustc,
        (!tool.features.is_empty()).then(|| format!("with {}", tool.features.join(", "))),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    format!("ipc-bench {} ({})", tool.version, known.join(" · "))
}

/// Stands for the reason where the kernel gave none.
const AGREED: u64 = 0;

/// The kernel's reason why a ring of this cell is not in huge pages of `page` bytes that was to be, or [`AGREED`]: each side says
/// how much of both rings it reaches through such pages.
fn not_in_huge_pages(cell: &Cell, page: u64) -> Option<u64> {
    let value = |name: String| cell.effective.get(&name).and_then(serde_json::Value::as_u64);
    // What the server says is there where it differs from what the client says.
    let of = |side: &str, name: &str| value(format!("{side}{name}")).or_else(|| value(name.to_owned()));
    let is_short = |side: &str, bytes: &str, capacity: &str| {
        let capacity = of(side, capacity).unwrap_or(1);
        // What is left over at the end is no huge page of its own.
        let whole = capacity - capacity.checked_rem(page).unwrap_or(0);
        value(format!("{side}{bytes}")).is_some_and(|bytes| bytes < whole.max(1))
    };
    let errno = ["", "server."].into_iter().find_map(|side| value(format!("{side}huge_errno")));
    let is_short = ["", "server."].into_iter().any(|side| {
        is_short(side, "huge_bytes", "capacity") || is_short(side, "peer_huge_bytes", "peer_capacity")
    });
    errno.or_else(|| is_short.then_some(AGREED))
}

/// What the reasons of `MADV_COLLAPSE` mean (`madvise_collapse_errno` in mm/khugepaged.c).
fn huge_page_fix(said: &std::io::Error) -> &'static str {
    match Errno::from_io_error(said) {
        Some(Errno::NOMEM) => "no huge page is free; sysctl vm.compact_memory=1 makes some",
        Some(Errno::BUSY) => "the memory cgroup has no room for one; raise its memory.max",
        Some(Errno::AGAIN) => "a page was locked or busy; try again",
        _ => "needs Linux 6.1, and shmem_enabled that is not deny: doctor S5",
    }
}

/// Tables, ranking, warnings and notes, as `style` wants them.
pub(crate) fn text(run: &Run, style: &Style) -> String {
    // Our own histograms decode.
    ipc_results::report::Report::new(run)
        .map_or_else(|error| format!("{error}\n"), |report| render(&report, style))
}

#[cfg(test)]
mod tests {
    use ipc_results::run::Trial;

    use super::*;

    #[test]
    fn a_ring_that_got_no_huge_pages_is_told_of_with_the_reason_of_the_kernel() {
        let warned = |granted: &[(&str, u64)]| {
            let mut report = Report::begin("none");
            let effective =
                granted.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            report.run.cells = vec![Cell { effective, ..Cell::new("shm/rtt/64", "shm", "rtt", 64) }];
            report.without_huge_pages();
            let mut told = report.run.warnings.into_iter();
            assert!(told.len() <= 1);
            told.next().map(|warning| {
                assert_eq!(
                    (warning.code.as_str(), &warning.cells[..]),
                    ("W11", &["shm/rtt/64".to_owned()][..])
                );
                warning.message
            })
        };
        assert_eq!(warned(&[("capacity", 1 << 20)]), None, "nobody asked");
        let denied = warned(&[("huge_bytes", 0), ("huge_errno", 22)]).unwrap();
        assert!(denied.contains("Invalid argument") && denied.contains("doctor S5"), "{denied}");
        let scarce = warned(&[("huge_bytes", 64 << 20), ("server.huge_errno", 12)]).unwrap();
        assert!(scarce.contains("compact_memory"), "{scarce}");
        assert!(warned(&[("huge_bytes", 0), ("capacity", 1 << 20)]).unwrap().contains("was granted, and"));
    }

    #[test]
    fn every_mapping_of_both_rings_is_held_against_its_capacity() {
        const MIB: u64 = 1 << 20;
        let short = |granted: &[(&str, u64)]| {
            let rings = [("capacity", 5 * MIB), ("peer_capacity", 8 * MIB)];
            let effective =
                rings.iter().chain(granted).map(|(name, value)| ((*name).to_owned(), (*value).into()));
            let cell = Cell { effective: effective.collect(), ..Cell::new("shm/rtt/64", "shm", "rtt", 64) };
            not_in_huge_pages(&cell, 2 * MIB)
        };
        let (ours, theirs) = (("huge_bytes", 4 * MIB), ("peer_huge_bytes", 8 * MIB));
        assert_eq!(short(&[]), None, "nobody asked");
        assert_eq!(short(&[ours, theirs]), None, "half a page more is none");
        assert_eq!(short(&[("huge_bytes", 2 * MIB), theirs]), Some(0), "in part");
        assert_eq!(
            short(&[ours, ("peer_huge_bytes", 6 * MIB)]),
            Some(0),
            "what the client maps of the other"
        );
        assert_eq!(short(&[ours, theirs, ("server.huge_bytes", 0)]), Some(0));
        assert_eq!(short(&[ours, theirs, ("server.peer_huge_bytes", 0)]), Some(0));
        // The rings of the server are the other way round.
        let server = [("server.capacity", 8 * MIB), ("server.peer_capacity", 5 * MIB)];
        let swapped = [("server.huge_bytes", 8 * MIB), ("server.peer_huge_bytes", 4 * MIB)];
        assert_eq!(short(&[&[ours, theirs][..], &server, &swapped].concat()), None);
        assert_eq!(short(&[ours, ("peer_huge_bytes", 0), ("server.huge_errno", 16)]), Some(16));
    }

    #[test]
    fn each_reason_of_the_kernel_has_its_own_way_out() {
        for (errno, fix) in [
            (11, "try again"),
            (12, "compact_memory"),
            (16, "memory.max"),
            (22, "doctor S5"),
            (95, "doctor S5"),
        ] {
            let said = std::io::Error::from_raw_os_error(errno);
            assert!(huge_page_fix(&said).contains(fix), "{said}");
        }
    }

    #[test]
    fn disturbed_trials_are_warned_of_above_one_in_twenty() {
        let cell = |trials: usize, flagged: &[&str]| {
            let trial = |index: usize| Trial {
                messages: 1,
                flags: flagged.get(index).map(|flag| (*flag).to_owned()).into_iter().collect(),
                ..Trial::default()
            };
            Cell { trials: (0..trials).map(trial).collect(), ..Cell::new("uds/rtt/64", "uds", "rtt", 64) }
        };
        assert_eq!(disturbed(&[]), None);
        assert_eq!(disturbed(&[cell(20, &["steal"]), cell(20, &["migrations"])]), None, "one in twenty");
        let quiet = Cell { id: "tcp/rtt/64".into(), ..cell(19, &[]) };
        let (text, cells) = disturbed(&[cell(20, &["steal", "migrations", "steal"]), quiet]).unwrap();
        assert!(text.starts_with("3 of 39 trials were disturbed (migrations 1, steal 2);"), "{text}");
        assert_eq!(cells, ["uds/rtt/64"]);
    }
}
