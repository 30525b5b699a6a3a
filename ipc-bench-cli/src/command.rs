//! What each command does.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use ipc_results::metric::Metric;
use ipc_results::{Environment, file, schema};
use ipc_transports::Address;

use crate::ab;
use crate::args::{
    Cli, ClientArgs, Command, Document, Global, Listed, MeasureArgs, Peer, RunArgs, ServerArgs,
};
use crate::codec::{self, Codec};
use crate::config::Config;
use crate::doctor;
use crate::error::{Exit, Failure};
use crate::events::Events;
use crate::explain;
use crate::limits;
use crate::lists;
use crate::logging;
use crate::ls;
use crate::matrix::crowd::Crowd;
use crate::mechanism::Mechanism;
use crate::misread;
use crate::output::{self, Output};
use crate::pin::Topology;
use crate::plan::{Context, Plan, Remote};
use crate::presets;
use crate::reading::{self, Kept, baselines};
use crate::records::Files;
use crate::remote::Serving;
use crate::replay;
use crate::report::{self, Report};
use crate::session::Session;
use crate::settings::{self, Origin, Settings, unknown};
use crate::signals::Signals;
use crate::verify;
use crate::workload::Mode;

/// Parses the command line and does what it says.
pub(crate) fn main(mechanisms: &[Mechanism]) -> ExitCode {
    let (cli, settings) = match parse(env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return not_understood(&error),
    };
    // Those that measure say where their log goes, and a document tells of it when they cannot.
    if !matches!(cli.command, Command::Run(_) | Command::Ab(_) | Command::Client(_))
        && let Err(failure) = logging::start_quietly(&cli.global)
    {
        eprintln!("{failure}");
        return failure.exit.code();
    }
    let done = match cli.command {
        Command::Run(args) => run(mechanisms, &cli.global, &args, settings, None),
        Command::Ab(args) => ab::ab(mechanisms, &cli.global, &args, settings),
        Command::Server(args) => server(mechanisms, &cli.global, &args),
        Command::Client(args) => client(mechanisms, &cli.global, &args, settings),
        Command::Report(args) => reading::report(&cli.global, &args),
        Command::Compare(args) => reading::compare(&cli.global, &args),
        Command::Merge(args) => reading::merge(&cli.global, &args),
        Command::Gate(args) => reading::gate(mechanisms, &cli.global, &args),
        Command::Baseline(args) => reading::baseline(mechanisms, &cli.global, &args),
        Command::Verify(args) => verify::verify(mechanisms, &cli.global, &args),
        Command::Limits(args) => limits::limits(&cli.global, &args),
        Command::Doctor(args) => doctor::doctor(mechanisms, &cli.global, &args),
        Command::Ls => ls::ls(&cli.global),
        Command::Plan(args) => make_plan(mechanisms, &cli.global, &args, settings, &Environment::read())
            .and_then(|plan| show(&cli.global, &args, &plan)),
        Command::Schema { what } => {
            let schema = match what {
                Document::Run => schema::run(),
                Document::Compare => schema::compare(),
                Document::Doctor => schema::doctor(),
                Document::Events => schema::events(),
            };
            print(&schema::to_json(&schema))
        }
        Command::Explain { topic } => explain::explain(topic.as_deref()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ipc-bench", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Man { directory } => manual(directory.as_deref()),
        Command::List { what } => list(mechanisms, &cli.global, what),
    };
    match done {
        Ok(()) => Exit::Done.code(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.code()
        }
    }
}

/// What a command line says, and which of its settings it gives.
pub(crate) fn parse(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(Cli, BTreeMap<&'static str, String>), clap::Error> {
    let matches = Cli::command().try_get_matches_from(words)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let given = matches.subcommand().map(|(_, matches)| Settings::given(matches)).unwrap_or_default();
    Ok((cli, given))
}

/// Help and version are answers; everything else is a usage error, which a reader of `--json=-` gets as a document.
fn not_understood(error: &clap::Error) -> ExitCode {
    let answers = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
    if answers.contains(&error.kind()) || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        let _ = error.print();
        return if answers.contains(&error.kind()) { Exit::Done.code() } else { Exit::Usage.code() };
    }
    let words: Vec<String> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let failure = misread::failure(error, &Cli::command(), &words);
    eprintln!("{failure}");
    let asked_for_json = |argument: OsString| argument == "--json" || argument == "--json=-";
    if env::args_os().any(asked_for_json) {
        let mut report = Report::begin("none");
        report.fail(&failure);
        let _ = print_document(&report);
    }
    Exit::Usage.code()
}

/// Plans, measures, saves, reports.
fn run(
    mechanisms: &[Mechanism],
    global: &Global,
    args: &MeasureArgs,
    given: BTreeMap<&'static str, String>,
    remote: Option<Remote>,
) -> Result<(), Failure> {
    if is_only_shown(&args.run) {
        logging::start(&args.run.log, global)?;
        let plan = make_plan(mechanisms, global, &args.run, given, &Environment::read())?;
        return show(global, &args.run, &Plan { remote, ..plan });
    }
    let preset = given.get("preset").map_or(presets::DEFAULT, String::as_str);
    let mut report = Report::begin(if presets::find(preset).is_some() { preset } else { "none" });
    let done = measure(mechanisms, global, args, given, remote, &mut report);
    if let Err(failure) = &done
        && report.document().error.is_none()
    {
        report.fail(failure);
    }
    if global.json_to_stdout() {
        print_document(&report)?;
    }
    done
}

/// Plans, measures and saves; what was measured is in `report` whatever happens.
pub(crate) fn measure(
    mechanisms: &[Mechanism],
    global: &Global,
    MeasureArgs { run: args, kept }: &MeasureArgs,
    given: BTreeMap<&'static str, String>,
    remote: Option<Remote>,
    report: &mut Report,
) -> Result<(), Failure> {
    refuse_debug(args.allow_debug)?;
    logging::start(&args.log, global)?;
    let events = events(global, args)?;
    let environment = Environment::read();
    let plan = Plan { remote, ..make_plan(mechanisms, global, args, given, &environment)? };
    if plan.remote.is_some() && plan.cells.iter().any(|cell| matches!(cell.crowd, Some(Crowd::Pairs(_)))) {
        return Err(Failure::usage("--pairs has no place here")
            .why("the server is there already, and it is one")
            .fix("use --clients, which connects that many processes to it"));
    }
    if plan.remote.is_some() && plan.counter.is_some() {
        return Err(Failure::usage("--clock tsc has no place here")
            .why("the server is there already, and reads the clock of the kernel")
            .fix("leave it out: --clock monotonic"));
    }
    report.plan(&plan, &environment);
    report.name(args.label.as_deref(), &args.tag);
    let root = output::root(global.dir.as_deref());
    let file = global.json.as_deref().filter(|_| !global.json_to_stdout());
    let kept = Kept::prepare(kept, &root)?;
    let files = streams(&plan, args)?;
    let output = Output::prepare(&root, args.out.as_deref(), file, report.run_id())?;
    let signals = Signals::catch().map_err(|error| Failure::failed("signals cannot be caught").why(error))?;

    let session = Session { global, environment: &environment, signals: &signals };
    let failure = session.measure(&plan, report, &output, events, files);
    output.save(report.document(), !args.no_html)?;
    let talks = !global.quiet && !global.json_to_stdout() && !events_to_stdout(args);
    if talks {
        print(&report::text(report.document(), &global.style()))?;
    }
    if !global.quiet {
        eprint!("{}", global.charset().apply(&output.farewell()));
    }
    let done = kept.keep(report.document(), global, talks);
    failure.map_or(done, Err)
}

/// The files for one row per message.
pub(crate) fn streams(plan: &Plan, args: &RunArgs) -> Result<Files, Failure> {
    let (csv, json) = (args.stream_csv.as_deref(), args.stream_json.as_deref());
    let Some(asked) = csv.or(json) else { return Ok(Files::default()) };
    let timed = |mode: Mode| mode == Mode::Rtt || mode.needs_one_clock() && plan.remote.is_none();
    if asked.as_os_str() == "-" || json.is_some_and(|path| path.as_os_str() == "-") {
        return Err(Failure::usage("rows of messages do not go to stdout")
            .why("the result does, and there can be only one of them")
            .fix("name a file"));
    }
    if !plan.cells.iter().any(|cell| timed(cell.point.mode)) {
        return Err(Failure::usage(format!("nothing is to be written to {}", asked.display()))
            .why("no message is timed by itself: rtt, oneway and load do that, the last two on this machine only")
            .fix("add --mode rtt"));
    }
    Files::create(csv, json)
}

/// Where events go; stdout takes one writer.
pub(crate) fn events(global: &Global, args: &RunArgs) -> Result<Events, Failure> {
    if events_to_stdout(args) && global.json_to_stdout() {
        return Err(Failure::usage("--json and --events cannot both be on stdout")
            .why("whoever reads one would find the other in it")
            .fix("give one of them a file: --events=FILE"));
    }
    Events::open(args.events.as_deref())
}

/// Events are all there is on stdout.
pub(crate) fn events_to_stdout(args: &RunArgs) -> bool {
    args.events.as_ref().is_some_and(|path| path.as_os_str() == "-")
}

/// Refuses to measure without optimisation, unless that is asked for.
pub(crate) fn refuse_debug(allowed: bool) -> Result<(), Failure> {
    if cfg!(debug_assertions) && !allowed {
        return Err(Failure::new(Exit::Refused, "this is a debug build; its numbers mean nothing")
            .why("without optimisation the program measures itself")
            .fix("use `cargo xtask bench`, or --allow-debug (then warning W05)"));
    }
    Ok(())
}

/// Serves clients until a signal comes.
fn server(mechanisms: &[Mechanism], global: &Global, args: &ServerArgs) -> Result<(), Failure> {
    let idle = args.idle_timeout.as_deref().map(lists::duration).transpose();
    let idle = idle.map_err(|error| Failure::usage("--idle-timeout: not understood").why(error))?;
    let mut doors = Vec::new();
    for text in &args.address {
        doors.push(find(mechanisms, text)?);
    }
    if let Some(cpu) = args.pin {
        let topology = Topology::read(&Environment::read().cpu)
            .map_err(|error| Failure::failed("the CPUs of this process cannot be read").why(error))?;
        topology.require(cpu).map_err(|refused| refused.fix("choose from those, or leave --pin out"))?;
    }
    let signals = Signals::catch().map_err(|error| Failure::failed("signals cannot be caught").why(error))?;
    let serving = Arc::new(Serving {
        cpu: args.pin,
        once: args.once,
        idle,
        quiet: global.quiet,
        active: AtomicUsize::new(0),
        last: Mutex::new(Instant::now()),
        served: AtomicUsize::new(0),
        refused: AtomicBool::new(false),
    });
    let open = |(mechanism, address): &(&Mechanism, Address)| (mechanism.listen)(address, &serving, &signals);
    thread::scope(|scope| {
        let others: Vec<_> = doors[1..].iter().map(|door| scope.spawn(|| open(door))).collect();
        let first = open(&doors[0]);
        let joined = others.into_iter().map(|other| {
            other.join().unwrap_or_else(|_| Err(Failure::failed("a listening thread panicked")))
        });
        joined.fold(first, Result::and)
    })?;
    match signals.caught() {
        Some(signal) => Err(Failure::new(Exit::Interrupted(signal), format!("stopped by signal {signal}"))),
        None => Ok(()),
    }
}

/// A run against a server that is there already.
fn client(
    mechanisms: &[Mechanism],
    global: &Global,
    args: &ClientArgs,
    mut given: BTreeMap<&'static str, String>,
) -> Result<(), Failure> {
    let (mechanism, address) = find(mechanisms, &args.address)?;
    if given.contains_key("transport") {
        return Err(Failure::usage("-t has no place here")
            .why("the address names the transport")
            .fix(format!("leave -t out: ipc-bench client {address}")));
    }
    given.insert("transport", mechanism.name.to_owned());
    let patience =
        lists::duration(&args.retry).map_err(|error| Failure::usage("--retry: not understood").why(error))?;
    let echo = args.peer == Peer::Echo;
    if echo {
        // The one mode in which the other side does nothing but send back.
        match given.get("mode").map(String::as_str) {
            None => drop(given.insert("mode", Mode::Rtt.name().to_owned())),
            Some("rtt") => {}
            Some(other) => {
                return Err(Failure::usage(format!("--mode {other} needs a server of ours"))
                    .why("an echo sends back what it gets, and counts and times nothing")
                    .fix("use --mode rtt with --peer echo, or start ipc-bench server there"));
            }
        }
    }
    let remote = Remote { address: address.to_string(), patience, echo };
    run(mechanisms, global, &args.measure, given, Some(remote))
}

/// The transport that an address names.
pub(crate) fn find<'a>(mechanisms: &'a [Mechanism], text: &str) -> Result<(&'a Mechanism, Address), Failure> {
    let address: Address = text.parse().map_err(Failure::usage)?;
    let names = mechanisms.iter().map(|mechanism| mechanism.name);
    let found = mechanisms.iter().find(|mechanism| mechanism.name == address.scheme());
    let mechanism =
        found.ok_or_else(|| unknown("transport", address.scheme(), names, &Origin::CommandLine))?;
    if mechanism.inside.is_some() {
        return Err(Failure::usage(format!("{text} has no server and no client of its own"))
            .why(format!(
                "{} joins threads of one process, and its names are known there only",
                mechanism.name
            ))
            .fix(format!(
                "measure it with ipc-bench run -t {}, or use shm:NAME between processes",
                mechanism.name
            )));
    }
    Ok((mechanism, address))
}

fn make_plan(
    mechanisms: &[Mechanism],
    global: &Global,
    args: &RunArgs,
    given: BTreeMap<&'static str, String>,
    environment: &Environment,
) -> Result<Plan, Failure> {
    let mut config = Config::load(global.config.as_deref())?;
    let mut seed = args.seed;
    if let Some(path) = &args.manifest {
        let (settings, its_seed) = replay::manifest(path)?;
        config.manifest = settings;
        seed = seed.or(Some(its_seed));
    }
    let settings = Settings::complete(given, &config)?;
    let directory = output::root(global.dir.as_deref());
    Plan::new(settings, &Context { mechanisms, environment, seed, directory: &directory })
}

/// Nothing is to be measured.
pub(crate) fn is_only_shown(args: &RunArgs) -> bool {
    args.dry_run || args.list || args.repro.is_some()
}

/// Shows what would be done: the command of one cell, the ids of all, or the plan.
pub(crate) fn show(global: &Global, args: &RunArgs, plan: &Plan) -> Result<(), Failure> {
    if let Some(cell) = &args.repro {
        return print(&(replay::command(plan, cell)? + "\n"));
    }
    if args.list {
        let possible = plan.cells.iter().filter(|cell| cell.impossible.is_none());
        return print(&possible.map(|cell| format!("{}\n", cell.point)).collect::<String>());
    }
    match &global.json {
        None => print(&global.charset().apply(&plan.to_text())),
        Some(path) => {
            let document = format!("{:#}\n", plan.to_json());
            if global.json_to_stdout() { print(&document) } else { write(path, &document) }
        }
    }
}

/// The manual: one page per command into a directory, or the main page to stdout.
fn manual(directory: Option<&Path>) -> Result<(), Failure> {
    let command = Cli::command();
    match directory {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .map_err(|error| {
                Failure::usage(format!("{} cannot be written to", directory.display())).why(error)
            }),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(|error| Failure::failed("the manual cannot be written").why(error))?;
            print(&String::from_utf8_lossy(&page))
        }
    }
}

fn list(mechanisms: &[Mechanism], global: &Global, what: Listed) -> Result<(), Failure> {
    let (text, json) = match what {
        Listed::Transports => {
            let none = BTreeMap::new();
            let rows: Vec<_> = mechanisms.iter().map(|m| (m.name, (m.can)(&none))).collect();
            let text: String = rows
                .iter()
                .map(|(name, can)| match can {
                    Ok(can) => {
                        let clients =
                            can.max_clients.map_or_else(|| "many".to_owned(), |clients| clients.to_string());
                        let longest = crate::lists::show_bytes(can.max_message);
                        format!("{name:<14} messages up to {longest:<10} clients {clients}\n")
                    }
                    Err(error) => format!("{name:<14} not available here: {error}\n"),
                })
                .collect();
            let json = rows.iter().map(|(name, can)| match can {
                Ok(can) => serde_json::json!({ "name": name, "available": true, "max_message_bytes": can.max_message,
                    "max_clients": can.max_clients, "loan": can.loan, "peek": can.peek, "pollable": can.pollable,
                    "priorities": can.priorities }),
                Err(error) => {
                    serde_json::json!({ "name": name, "available": false, "reason": error.to_string() })
                }
            });
            (text, json.collect())
        }
        Listed::Presets => {
            let text =
                presets::ALL.iter().map(|preset| format!("{:<14} {}\n", preset.name, preset.about)).collect();
            let json = presets::ALL.iter().map(|preset| {
                let values: BTreeMap<_, _> = preset.values.iter().copied().collect();
                serde_json::json!({ "name": preset.name, "about": preset.about, "settings": values })
            });
            (text, json.collect())
        }
        Listed::Settings => {
            let rows: Vec<_> = settings::told(&Cli::command()).collect();
            let text = rows
                .iter()
                .map(|row| format!("{:<14} {:<22} {}\n", row.name, row.default.unwrap_or("–"), row.help))
                .collect();
            let json = rows.iter().map(|row| {
                serde_json::json!({ "name": row.name, "default": row.default, "variable": row.variable,
                    "value": row.value, "help": row.help })
            });
            (text, json.collect())
        }
        Listed::Metrics => {
            let direction =
                |metric: &Metric| if metric.higher_is_better() { "more is better" } else { "less is better" };
            let text = Metric::ALL
                .iter()
                .map(|metric| {
                    format!("{:<14} {:<14} {}\n", metric.to_string(), metric.group(), direction(metric))
                })
                .collect();
            let json = Metric::ALL.iter().map(|metric| {
                serde_json::json!({ "name": metric.to_string(), "group": metric.group(),
                    "higher_is_better": metric.higher_is_better() })
            });
            (text, json.collect())
        }
        Listed::Baselines => {
            let names = baselines(&output::root(global.dir.as_deref()));
            let text = names.iter().map(|name| format!("{name}\n")).collect();
            (text, names.iter().map(|name| serde_json::json!({ "name": name })).collect())
        }
        Listed::Codecs => {
            let built =
                if codec::BUILT { "" } else { "   not in this program: build it with --features codecs" };
            let text = Codec::ALL.iter().map(|codec| format!("{:<22}{built}\n", codec.label())).collect();
            let json = Codec::ALL.iter().map(|codec| {
                serde_json::json!({ "name": codec.name(), "label": codec.label(), "available": codec::BUILT })
            });
            (text, json.collect())
        }
        Listed::Scenarios => {
            let text = Mode::all().map(|mode| format!("{:<14} {}\n", mode.name(), mode.about())).collect();
            let json =
                Mode::all().map(|mode| serde_json::json!({ "name": mode.name(), "about": mode.about() }));
            (text, json.collect())
        }
        Listed::Runs => {
            let root = output::root(global.dir.as_deref());
            let runs = output::saved_runs(&root)
                .map_err(|error| Failure::failed(format!("{} cannot be read", root.display())).why(error))?;
            let text = runs.iter().map(|run| format!("{}\n", run.display())).collect();
            (text, runs.iter().map(|run| serde_json::json!({ "path": run })).collect::<Vec<_>>())
        }
    };
    let text: String = text;
    match &global.json {
        None => print(&text),
        Some(path) => {
            let document = format!("{:#}\n", serde_json::Value::Array(json));
            if global.json_to_stdout() { print(&document) } else { write(path, &document) }
        }
    }
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    file::write_atomic(path, text.as_bytes())
        .map_err(|error| Failure::usage(format!("{} cannot be written", path.display())).why(error.why))
}

pub(crate) fn print_document(report: &Report) -> Result<(), Failure> {
    let json = file::to_json(report.document())
        .map_err(|error| Failure::failed("the document cannot be written").why(error))?;
    print(&json)
}

/// Prints to stdout; a reader that has gone away is no failure of ours.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed("stdout cannot be written").why(error))
        }
        _ => Ok(()),
    }
}
