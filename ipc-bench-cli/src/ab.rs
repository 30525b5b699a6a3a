//! `ab`: two builds or two settings, trial against trial, A B B A, in one session: what drifts on the machine drifts
//! through both.

mod plan;

use std::collections::BTreeMap;

use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::{Outcome, Policy};
use ipc_results::report::Report as Rendered;
use ipc_results::run::RunStatus;
use ipc_results::{Environment, Run, arms, export, file, html, text};

use crate::args::{AbArgs, Global};
use crate::arm::{Arm, Hold};
use crate::command::{
    events, events_to_stdout, is_only_shown, print, print_document, refuse_debug, show, streams, write,
};
use crate::crew::{Crew, Trouble};
use crate::error::{Exit, Failure};
use crate::lists;
use crate::logging;
use crate::mechanism::Mechanism;
use crate::output::{self, Output};
use crate::plan::Plan;
use crate::protocol::{PROTOCOL, Reply, Role};
use crate::reading::{annotations, judged, policy, repro};
use crate::report::Report;
use crate::runner::{Runner, SETUP_PATIENCE};
use crate::session::Session as Measuring;
use crate::signals::Signals;

use plan::{Pair, pair};

/// Measures both sides, compares them, and fails where `--gate` says so.
pub(crate) fn ab(
    mechanisms: &[Mechanism],
    global: &Global,
    args: &AbArgs,
    given: BTreeMap<&'static str, String>,
) -> Result<(), Failure> {
    refuse_what_is_of_one_run(args)?;
    if is_only_shown(&args.run) {
        logging::start(&args.run.log, global)?;
        let plan = pair(args)?.plan(mechanisms, global, &args.run, given, &Environment::read())?;
        return show(global, &args.run, &plan);
    }
    let mut report = Report::begin("ab");
    let done = measure(mechanisms, global, args, given, &mut report);
    if let Err(failure) = &done
        && report.document().error.is_none()
        && !matches!(failure.exit, Exit::Regressed | Exit::Undecided)
    {
        report.fail(failure);
    }
    if global.json_to_stdout() {
        print_document(&report)?;
    }
    done
}

/// Flags of `run` that say nothing of two sides.
fn refuse_what_is_of_one_run(args: &AbArgs) -> Result<(), Failure> {
    let flag = match &args.run {
        run if run.manifest.is_some() => "--manifest",
        run if run.repro.is_some() => "--repro",
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("{flag} has no place in ab"))
        .why("it is about one run, and ab makes trials of two sides")
        .fix("use it with ipc-bench run"))
}

fn measure(
    mechanisms: &[Mechanism],
    global: &Global,
    args: &AbArgs,
    given: BTreeMap<&'static str, String>,
    report: &mut Report,
) -> Result<(), Failure> {
    refuse_debug(args.run.allow_debug)?;
    logging::start(&args.run.log, global)?;
    let events = events(global, &args.run)?;
    let (policy, _) = policy(global, &args.verdicts)?;
    for (flag, file) in [("--html", &args.html), ("--md", &args.verdicts.md)] {
        file.iter()
            .try_for_each(|file| output::writable(file, &format!("choose another file with {flag} FILE")))?;
    }
    let signals = Signals::catch().map_err(|error| Failure::failed("signals cannot be caught").why(error))?;
    let pair = pair(args)?;
    if let Some(why) = nothing_to_compare_with(&pair, &signals)? {
        return without_a_base(global, args, &why, report);
    }
    let environment = Environment::read();
    let plan = pair.plan(mechanisms, global, &args.run, given, &environment)?;
    let tags = [("a", &pair.a), ("b", &pair.b)].map(|(side, half)| (arms::tag(side), half.name.clone()));
    report.plan(&plan, &environment);
    report.name(args.run.label.as_deref(), &args.run.tag);
    report.name(None, &tags);
    let root = output::root(global.dir.as_deref());
    let file = global.json.as_deref().filter(|_| !global.json_to_stdout());
    let output = Output::prepare(&root, args.run.out.as_deref(), file, report.run_id())?;
    let session = Measuring { global, environment: &environment, signals: &signals };
    let failure = session.measure(&plan, report, &output, events, streams(&plan, &args.run)?);
    output.save(report.document(), false)?;
    let Some((comparison, pages)) = compare(report.document(), &policy)? else {
        return Err(failure.unwrap_or_else(|| Failure::failed("no cell was measured on both sides")));
    };
    write(&output.directory.join("summary.md"), &pages.md)?;
    for path in args.verdicts.md.iter() {
        write(path, &pages.md)?;
    }
    let own = (!args.run.no_html).then(|| output.directory.join("report.html"));
    for path in own.iter().chain(&args.html) {
        write(path, &pages.html)?;
    }
    let stdout_is_taken = global.json_to_stdout() || events_to_stdout(&args.run);
    if !stdout_is_taken {
        print(&text::comparison(&comparison, args.all, &global.style()))?;
    }
    if !global.quiet {
        eprint!("{}", global.charset().apply(&output.farewell()));
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let mut gate = policy.gate(&comparison);
    let again;
    if args.confirm && gate.outcome == Outcome::Regressed {
        let red: Vec<&str> = gate.regressed.iter().map(|row| row.cell.as_str()).collect();
        again = confirm(&session, plan, &red, &policy, &output, &tags)?;
        let verdict = policy.gate(&again);
        if !global.quiet {
            let count = verdict.regressed.len();
            eprintln!("confirm    {count} of {} red figures are red again", gate.regressed.len());
        }
        gate = verdict;
    }
    if !args.gate && !args.verdicts.github {
        return Ok(());
    }
    let lines = annotations(&gate, args.verdicts.github) + &text::gate(&gate, repro, &global.style());
    if stdout_is_taken {
        eprint!("{lines}")
    } else {
        print(&lines)?
    }
    if args.gate { judged(&gate) } else { Ok(()) }
}

/// Both sides of a run side by side, and as pages; `None` when nothing was measured on both.
fn compare(run: &Run, policy: &Policy) -> Result<Option<(Comparison, Pages)>, Failure> {
    let Some([(a_name, a), (b_name, b)]) = arms::split(run) else { return Ok(None) };
    let Ok(comparison) = Comparison::new((&a_name, &a), (&b_name, &b), policy, Session::Alternating, false)
    else {
        return Ok(None);
    };
    let damaged = |error| Failure::failed("a histogram is damaged").why(error);
    let sides = [Rendered::new(&a).map_err(damaged)?, Rendered::new(&b).map_err(damaged)?];
    let pages = Pages {
        md: export::markdown_of_comparison(&comparison),
        html: html::comparison(&comparison, &sides[0], &sides[1]),
    };
    Ok(Some((comparison, pages)))
}

struct Pages {
    md: String,
    html: String,
}

/// The red cells once more, with twice the trials, in a file of their own beside the first.
fn confirm(
    session: &Measuring<'_>,
    mut plan: Plan,
    red: &[&str],
    policy: &Policy,
    output: &Output,
    tags: &[(String, String)],
) -> Result<Comparison, Failure> {
    plan.keep(|cell| {
        let mut point = cell.point.clone();
        point.dimensions.remove("arm");
        red.contains(&point.to_string().as_str())
    });
    plan.trials *= 2;
    plan.order_steps();
    let mut report = Report::begin("ab-confirm");
    report.plan(&plan, session.environment);
    report.name(None, tags);
    let (measured, cleaned) =
        session.around(&plan, || Runner::new(&plan, session.signals).run(|_, _, _| {}))?;
    report.measured(&plan, &measured);
    let path = output.directory.join("confirm.json");
    let failure = report.end(measured, &path.display().to_string()).or(cleaned);
    file::write_run(&path, report.document())
        .map_err(|error| Failure::failed("the results cannot be saved").why(error))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let compared = compare(report.document(), policy)?;
    compared.map(|(comparison, _)| comparison).ok_or_else(|| Failure::failed("nothing could be confirmed"))
}

/// Why side A cannot be measured at all, if it is so: the base of a change may be older than this program. That side B
/// cannot be is an error of the caller.
fn nothing_to_compare_with(pair: &Pair, signals: &Signals) -> Result<Option<String>, Failure> {
    if let Some(why) = not_ours(&pair.b.arm, signals)? {
        return Err(Failure::usage(format!("--b {}: cannot be measured", pair.b.name))
            .why(why)
            .fix("--b is the newer side: build it from the same sources as the program you started"));
    }
    not_ours(&pair.a.arm, signals)
}

/// Starts one worker of this side and hears whether it speaks our protocol.
fn not_ours(arm: &Arm, signals: &Signals) -> Result<Option<String>, Failure> {
    let Some(program) = &arm.program else { return Ok(None) };
    let name = program.join(" ");
    let mut crew = Crew::of(Some(arm), signals);
    let said = crew.start(Role::Client, "hello", None).and_then(|()| crew.next(SETUP_PATIENCE));
    match said {
        Ok((_, Reply::Hello { protocol: PROTOCOL, .. })) => Ok(None),
        Ok((_, Reply::Hello { protocol, version })) => Ok(Some(format!(
            "{name} is ipc-bench {version} with worker protocol {protocol}, this one has {PROTOCOL}"
        ))),
        Err(Trouble::Interrupted(signal)) => {
            Err(Failure::new(Exit::Interrupted(signal), format!("interrupted by signal {signal}")))
        }
        Err(Trouble::Io(error)) => Ok(Some(format!("{name} cannot be started: {error}"))),
        Ok(_) | Err(_) => Ok(Some(format!("{name} is no ipc-bench"))),
    }
}

/// Nothing to compare with is no regression: it is said, in every place where verdicts would have been.
fn without_a_base(global: &Global, args: &AbArgs, why: &str, report: &mut Report) -> Result<(), Failure> {
    let note = format!("nothing to compare with: {why}");
    report.nothing(&note);
    if let Some(path) = &args.verdicts.md {
        write(path, &format!("## ipc-bench\n\nNo comparison, {note}.\n"))?;
    }
    if let Some(path) = global.json.as_deref().filter(|_| !global.json_to_stdout()) {
        file::write_run(path, report.document())
            .map_err(|error| Failure::usage(format!("{} cannot be written", path.display())).why(error))?;
    }
    debug_assert_eq!(report.document().status, RunStatus::Partial);
    eprintln!("note: {note}");
    if args.verdicts.github {
        print(&format!("::notice title=ipc-bench::{note}\n"))?;
    }
    let fails = args.gate && args.verdicts.fail_on.iter().any(|what| what == "missing");
    if fails { Err(Failure::new(Exit::Undecided, note)) } else { Ok(()) }
}

/// A delay of `--inject`: a time, or a share of what a message takes.
fn injected(text: Option<&str>) -> Result<Hold, Failure> {
    let Some(text) = text else { return Ok(Hold::Time(0)) };
    let wrong = |why: String| {
        Failure::usage(format!("--inject {text}: not understood"))
            .why(why)
            .fix("as in --inject 1us, or --inject 10% of what a message of side A took")
    };
    if let Some(percent) = text.strip_suffix('%') {
        let share = percent.parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent <= 1000.0);
        let share = share.ok_or_else(|| wrong(format!("{percent:?} is not above 0 % and at most 1000 %")))?;
        return Ok(Hold::Share(share / 100.0));
    }
    let time = lists::duration(text).map_err(wrong)?;
    Ok(Hold::Time(time.as_nanos() as u64))
}
