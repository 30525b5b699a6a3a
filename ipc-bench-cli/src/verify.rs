//! `verify`: claims held against runs, which it makes itself unless they are given.

use std::fs;
use std::path::Path;

use ipc_results::targets::{self, Finding, Judged, Targets};
use ipc_results::{Run, export, text};

use crate::args::{Cli, Command, Global, VerifyArgs};
use crate::command::{measure, parse, print, write};
use crate::error::{Exit, Failure};
use crate::mechanism::Mechanism;
use crate::output;
use crate::reading::load;
use crate::report::Report;

/// Holds every target of the file against runs; a missed one is exit code 3.
pub(crate) fn verify(mechanisms: &[Mechanism], global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let file = read(&args.file)?;
    let root = output::root(global.dir.as_deref());
    // Before anything is measured: a name that is wrong would be found minutes later.
    let given = args.run.iter().chain(&args.with).map(|name| load(&root, name));
    let mut runs = given.collect::<Result<Vec<_>, _>>()?;
    if args.run.is_empty() {
        for line in &file.measure {
            runs.push(make(mechanisms, global, args, line)?);
        }
    }
    if runs.is_empty() {
        return Err(Failure::usage("there is nothing to hold the targets against")
            .why(format!("{} has no `measure` and no run is given", args.file.display()))
            .fix(format!("name a run: ipc-bench verify {} last", args.file.display())));
    }
    let judged = targets::judge(&file.targets, &runs);
    if let Some(path) = &args.md {
        write(path, &export::markdown_of_targets(&judged, &runs))?;
    }
    match &global.json {
        None => print(&text::targets(&judged, &global.style()))?,
        Some(path) => {
            let document = serde_json::to_string_pretty(&serde_json::json!({ "targets": judged }))
                .map_err(|error| Failure::failed("no JSON").why(error))?;
            let document = document + "\n";
            if global.json_to_stdout() { print(&document)? } else { write(path, &document)? }
        }
    }
    let missed = judged.iter().filter(|row| matches!(row.finding, Finding::Missed { .. })).count();
    if missed == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Regressed, format!("{missed} of {} targets missed", judged.len()))
        .why(names(&judged)))
}

fn names(judged: &[Judged]) -> String {
    let missed = judged.iter().filter_map(|row| match &row.finding {
        Finding::Missed { worst, .. } => Some(format!("{} ({worst})", row.target.claim)),
        _ => None,
    });
    missed.collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<Targets, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read", path.display()))
            .why(error)
            .fix("name a file of targets, such as targets/seeds.toml")
    })?;
    let file: Targets = toml::from_str(&text).map_err(|error| {
        Failure::usage(format!("{} is no file of targets", path.display()))
            .why(error)
            .fix("targets/seeds.toml is an example")
    })?;
    if file.schema != targets::SCHEMA {
        return Err(Failure::usage(format!("{}: schema {} is not known", path.display(), file.schema))
            .why(format!("this program reads schema {}", targets::SCHEMA))
            .fix("use a newer ipc-bench"));
    }
    Ok(file)
}

/// Makes one of the runs that the file asks for. A cell that fails leaves its targets without a figure.
fn make(mechanisms: &[Mechanism], global: &Global, args: &VerifyArgs, line: &str) -> Result<Run, Failure> {
    let words = ["ipc-bench", "run"].into_iter().chain(line.split_whitespace());
    let wrong = |why: String| {
        Failure::usage(format!("{}: measure = {line:?} is no run", args.file.display())).why(why)
    };
    let (cli, given) = parse(words).map_err(|error| wrong(error.to_string()))?;
    let Cli { command: Command::Run(mut run), global: own } = cli else {
        return Err(wrong("it must be what follows `ipc-bench run`".into()));
    };
    if !global.quiet {
        eprintln!("measuring  ipc-bench run {line}");
    }
    run.run.allow_debug |= args.allow_debug;
    // Only the verdicts are shown; the run is saved like any other.
    let own = Global { quiet: true, dir: global.dir.clone(), config: global.config.clone(), ..own };
    let mut report = Report::begin("verify");
    match measure(mechanisms, &own, &run, given, None, &mut report) {
        Err(failure) if failure.exit == Exit::Failed => eprintln!("{failure}"),
        other => other?,
    }
    Ok(report.document().clone())
}
