//! The command line.

mod ab;
mod limits;
mod machine;
mod reading;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipc_results::text::Style;
use ipc_results::units::Charset;

use crate::logging::LogArgs;
pub(crate) use ab::{AbArgs, VerdictArgs};
pub(crate) use limits::LimitsArgs;
pub(crate) use machine::DoctorArgs;
pub(crate) use reading::{BaselineArgs, CompareArgs, Format, GateArgs, MergeArgs, ReportArgs, VerifyArgs};

/// Measures message transports between real processes on your own machine.
#[derive(Debug, Parser)]
#[command(name = "ipc-bench", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure a matrix of transports × sizes × modes
    Run(Box<MeasureArgs>),
    /// Show what run would do: the matrix, the time it takes, where each setting came from
    Plan(Box<RunArgs>),
    /// Alternate trials of two builds or two settings, then compare; with --gate exit code 3 on a regression
    Ab(Box<AbArgs>),
    /// Serve clients in other terminals, containers or hosts
    Server(ServerArgs),
    /// Measure against a server that is there already
    Client(Box<ClientArgs>),
    /// Render a saved run again, without measuring
    Report(ReportArgs),
    /// Put saved runs side by side, with verdicts
    Compare(CompareArgs),
    /// Join runs: more trials of the same cells, or more machines side by side
    Merge(MergeArgs),
    /// Compare a run with a baseline; exit code 3 on a regression
    Gate(GateArgs),
    /// Keep runs under names
    #[command(subcommand)]
    Baseline(BaselineArgs),
    /// Hold claims against measurements; exit code 3 on a missed target
    Verify(VerifyArgs),
    /// Measure the physical limits of this machine, ours beside each
    Limits(LimitsArgs),
    /// Check what disturbs numbers on this machine, and print what would change it
    Doctor(DoctorArgs),
    /// List live endpoints of this user
    Ls,
    /// List what there is: transports, presets, runs
    List {
        /// What to list
        what: Listed,
    },
    /// Print the JSON schema of a document
    Schema {
        /// Which document
        #[arg(default_value = "run")]
        what: Document,
    },
    /// Tell what a number, a word or a warning means; without a topic, list them
    Explain {
        /// A word of the output: p99, limit, verdict, W03
        topic: Option<String>,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, or print the main one
    Man {
        /// Directory for one page per command
        directory: Option<PathBuf>,
    },
}

/// What `list` can show.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Listed {
    /// Transports of this program and what they can do here
    Transports,
    /// Named sets of settings
    Presets,
    /// Runs saved under --dir, oldest first
    Runs,
    /// Settings of run: default, variable, what each means
    Settings,
    /// Figures that can be compared and gated
    Metrics,
    /// Runs kept under names
    Baselines,
    /// Encodings of mode codec
    Codecs,
    /// Workloads of --mode
    Scenarios,
}

/// Flags of `server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where to listen: uds:/run/b.sock, tcp:127.0.0.1:7777, shm:NAME; several at once
    #[arg(required = true)]
    pub(crate) address: Vec<String>,

    /// CPU to run on
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<u32>,

    /// End after one client
    #[arg(long)]
    pub(crate) once: bool,

    /// End when no client came for so long
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_timeout: Option<String>,
}

/// Flags of `client`.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Where the server listens
    pub(crate) address: String,

    /// How long to look for the server
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) retry: String,

    /// What listens there: bench, a server of ours, or echo, any program that sends back the bytes it gets. framing=raw in the
    /// address leaves out the hello that comes before the frames
    #[arg(long, value_name = "WHAT", default_value = "bench", hide_possible_values = true)]
    pub(crate) peer: Peer,

    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
}

/// What a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// A server of ours.
    Bench,
    /// Whatever sends back what it gets.
    Echo,
}

/// Flags of `run` and `client`: what to measure, and what becomes of it.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) kept: KeptArgs,
}

/// What becomes of a run beside its directory.
#[derive(Debug, Default, Args)]
pub(crate) struct KeptArgs {
    /// Write the page with charts there as well; without FILE to report.html in this directory
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "report.html")]
    pub(crate) html: Option<PathBuf>,

    /// Write the summary as Markdown there as well; without FILE to summary.md in this directory
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "summary.md")]
    pub(crate) md: Option<PathBuf>,

    /// Write a row per trial as CSV; without FILE to trials.csv in this directory
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "trials.csv")]
    pub(crate) csv: Option<PathBuf>,

    /// Compare with this baseline or run when everything is measured: a name, last, a file
    #[arg(long, value_name = "NAME")]
    pub(crate) baseline: Option<String>,

    /// Keep the run under a name, where it was measured to its end
    #[arg(id = "save-baseline", long, value_name = "NAME")]
    pub(crate) save_baseline: Option<String>,
}

/// Documents with a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Document {
    /// What `run` writes
    Run,
    /// What `compare` writes
    Compare,
    /// What `doctor` writes
    Doctor,
    /// One line of what `run --events` writes
    Events,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Tell more: which program and files, what is measured; twice: every process and what it was told
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Do not show progress between trials
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,

    /// Colours in text: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub(crate) color: Color,

    /// Text in plain ASCII
    #[arg(long, global = true)]
    pub(crate) ascii: bool,

    /// Settings file [default: ipc-bench.toml, looked for upward]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Write the result as JSON to FILE, or as the only thing to stdout (without FILE, or with -)
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,

    /// Where runs are kept [default: target/ipc-bench in a Cargo workspace, else ./.ipc-bench]
    #[arg(long, global = true, value_name = "DIR", env = "IPC_BENCH_DIR", hide_env_values = true)]
    pub(crate) dir: Option<PathBuf>,
}

/// When text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Global {
    /// How text on stdout is to look.
    pub(crate) fn style(&self) -> Style {
        let color = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Style { charset: self.charset(), color, ..Style::default() }
    }

    /// Plain where asked for, or where the locale cannot show anything else.
    pub(crate) fn charset(&self) -> Charset {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
        let foreign = locale.is_some_and(|locale| {
            let name = locale.to_ascii_lowercase();
            // C and POSIX say nothing about the terminal; a named charset that is not UTF-8 does.
            name.contains('.') && !name.contains("utf-8") && !name.contains("utf8")
        });
        if self.ascii || foreign { Charset::Ascii } else { Charset::Unicode }
    }

    /// The document goes to stdout and nothing else does.
    pub(crate) fn json_to_stdout(&self) -> bool {
        self.json.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }
}

/// Flags of `run`. Those that decide what is measured are text here; the plan parses them.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Named set of settings [default: quick]
    #[arg(short, long, value_name = "NAME")]
    preset: Option<String>,

    /// Transports, comma-separated; `all` (uds-seqpacket and inproc go by name), and `-NAME` to leave one out: all,-tcp
    /// [default: all]
    #[arg(short, long, value_name = "LIST", visible_short_alias = 'm', allow_hyphen_values = true)]
    transport: Vec<String>,

    /// Message sizes in bytes: 64,4K  64..64K*4  1K..8K+1K [default: 64,4K,64K]
    #[arg(short, long, value_name = "LIST", allow_hyphen_values = true)]
    size: Vec<String>,

    /// Workloads: rtt (ping-pong), oneway (timed by the receiver), stream (throughput one way), load (open loop); between
    /// many processes fan-out, fan-in, pipeline, broadcast, mesh; what an endpoint costs: idle, leak; other loads: burst,
    /// mixed, ramp, stability; durable logging by one process: events; values encoded and carried: codec [default:
    /// rtt,stream]
    #[arg(long, value_name = "LIST")]
    mode: Vec<String>,

    /// How the calls wait: sync (in the call), async (in a reactor driven by the caller) [default: sync]
    #[arg(long, value_name = "LIST")]
    io: Vec<String>,

    /// Rates of load: 1k/s  100Hz  10%..95%+10% of what the link was measured to carry
    #[arg(long, value_name = "LIST")]
    rate: Vec<String>,

    /// Send times of load: constant (at equal distances), poisson (as from many senders) [default: constant]
    #[arg(long, value_name = "LIST")]
    arrivals: Vec<String>,

    /// Pause between two messages of rtt and oneway, outside the timed region [default: none; in oneway 100us]
    #[arg(long, value_name = "TIME", alias = "send-delay")]
    pace: Option<String>,

    /// Messages per call of stream, on both sides [default: 1]
    #[arg(long, value_name = "LIST")]
    batch: Vec<String>,

    /// How bytes get into the link and out of it: copy, or loan: written and read where they lie [default: copy]
    #[arg(long, value_name = "LIST")]
    access: Vec<String>,

    /// Let the first message of a connection count like any other [default: no]
    #[arg(id = "include-first", long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    include_first: Option<String>,

    /// Independent pairs at once, of rtt, oneway, stream and load: a server and a client process each, not pinned
    /// [default: 1]
    #[arg(long, value_name = "LIST")]
    pairs: Vec<String>,

    /// Clients at once of one server, of rtt, oneway, stream and load: a process each, not pinned; the server has a thread
    /// for each [default: 1]
    #[arg(long, value_name = "LIST")]
    clients: Vec<String>,

    /// Sizes of the patterns: processes beside the first, in a mesh all of them [default: 1]
    #[arg(long, value_name = "LIST")]
    peers: Vec<String>,

    /// Length of the measured part of a trial [default: 200ms]
    #[arg(short, long, value_name = "TIME", conflicts_with = "messages")]
    duration: Option<String>,

    /// Messages per trial, instead of a duration
    #[arg(short = 'n', long, value_name = "N", short_alias = 'i')]
    messages: Option<String>,

    /// Trials per cell, each with fresh processes: N, or MIN..MAX until the interval is narrow [default: the preset's; 7 without one]
    #[arg(long, value_name = "N")]
    trials: Option<String>,

    /// How narrow: half of the interval of the median, with --trials MIN..MAX [default: 5%]
    #[arg(long, value_name = "SHARE")]
    ci: Option<String>,

    /// Warm-up on the measured connection: a time, or auto: until three windows agree, 1 s at most [default: auto]
    #[arg(long, value_name = "TIME")]
    warmup: Option<String>,

    /// Fit trials and their length into this time, and say what was cut
    #[arg(id = "time-budget", long, value_name = "TIME")]
    time_budget: Option<String>,

    /// CPUs: auto, none, CLIENT:SERVER, same-core, smt, same-llc, cross-llc, cross-node [default: auto]
    #[arg(long, value_name = "WHERE")]
    pin: Option<String>,

    /// Waiting policies: spin, park, adaptive [default: adaptive for shared memory, park for the rest]
    #[arg(long, value_name = "LIST")]
    wait: Vec<String>,

    /// Options of transports, every value measured: uds.sndbuf=64K,1M
    #[arg(short = 'L', long, value_name = "NAME=VALUES")]
    buffer: Vec<String>,

    /// Mode fan-in: peers that send, while the others are connected and silent [default: all]
    #[arg(long, value_name = "N")]
    hot: Option<String>,

    /// Mode idle: endpoints that are open at once [default: 8, or as many as there is room for]
    #[arg(long, value_name = "N")]
    endpoints: Option<String>,

    /// Modes idle and stability: how long to look [default: 5s]
    #[arg(long, value_name = "TIME")]
    observe: Option<String>,

    /// Mode leak: connections opened and closed, and a tenth of the messages sent after them [default: 1000]
    #[arg(long, value_name = "N")]
    cycles: Option<String>,

    /// Mode burst: messages at once [default: 100]
    #[arg(long, value_name = "N")]
    burst: Option<String>,

    /// Mode burst: pause between bursts [default: 100ms]
    #[arg(long, value_name = "TIME")]
    gap: Option<String>,

    /// Mode mixed: sizes and their weights, instead of --size [default: 100:40,1K:30,10K:20,50K:7,100K:3]
    #[arg(long, value_name = "SIZE:WEIGHT,…")]
    sizes: Option<String>,

    /// Mode ramp: loads in turn: high (all that fits), med (10,000/s), low (1,000/s), idle, or messages per second
    /// [default: high:2s,idle:1s,med:2s,low:2s]
    #[arg(long, value_name = "LOAD:TIME,…")]
    profile: Option<String>,

    /// Mode codec: raw, json, json+lz4, json+zstd, postcard, messagepack, bincode (unmaintained), bitcode, rkyv [default:
    /// all]
    #[arg(long, value_name = "LIST")]
    codec: Vec<String>,

    /// Mode events: records per second of each of --peers producers [default: 1000]
    #[arg(id = "event-rate", long, value_name = "N")]
    event_rate: Option<String>,

    /// Mode events: directory on a disk for the file that is appended to, and removed after it was read back
    /// [default: --dir]
    #[arg(id = "event-log", long, value_name = "DIR")]
    event_log: Option<String>,

    /// Modes burst, mixed, ramp, stability: share of messages that are too long, each of which must be refused
    #[arg(long, value_name = "SHARE")]
    oversize: Option<String>,

    /// Load beside the measurement: none, cpu:N or mem:N processes, on one CPU with cpu:N@CPU [default: none]
    #[arg(long, value_name = "LIST")]
    background: Vec<String>,

    /// Keep pinned CPUs from halting while a side sleeps: yes, no, or auto: on virtual machines [default: auto]
    #[arg(id = "keep-awake", long, value_name = "WHEN")]
    keep_awake: Option<String>,

    /// Real-time priority of the measuring threads, 1 to 99: fifo:10. What the system granted is in the result
    /// [default: none]
    #[arg(long, value_name = "POLICY")]
    sched: Option<String>,

    /// Lock the memory of the measuring processes. What the system granted is in the result [default: no]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    mlock: Option<String>,

    /// Ask the kernel for huge pages under the rings of shm and inproc, which are then as large as one at least. What it granted is
    /// in the result [default: no]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    hugepages: Option<String>,

    /// Count what the kernel and the processor count, per message: instructions, cycles, misses, switches, faults, system calls.
    /// What is not permitted or not there is – with the reason [default: no]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    perf: Option<String>,

    /// Percentiles to report beside the usual ones 50,90,95,99,99.9,99.99: 75,99.5
    #[arg(long, value_name = "LIST")]
    percentiles: Option<String>,

    /// What the sides read: monotonic, tsc (the counter of the processor, without the kernel's conversion), auto: tsc where the
    /// kernel trusts it [default: monotonic]
    #[arg(long, value_name = "CLOCK")]
    clock: Option<String>,

    /// Tell the trials of rtt, oneway and load in intervals as well: timeline of the report, --format hlog [default: none]
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,

    /// Cell that the ratios of the summary are taken against: uds/rtt/64 [default: the fastest at the smallest size]
    #[arg(long, value_name = "CELL")]
    reference: Option<String>,

    /// Transports of which at least one cell must be possible here, else exit code 6: a list, or all of -t [default: none]
    #[arg(long, value_name = "LIST")]
    require: Vec<String>,

    /// End the run with the first cell that fails [default: no]
    #[arg(id = "fail-fast", long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    fail_fast: Option<String>,

    /// Go on after a cell that failed, whatever a file or a variable says
    #[arg(id = "keep-going", long, conflicts_with = "fail-fast")]
    keep_going: bool,

    /// Make up to N trials more of each cell for those that were disturbed; both are kept [default: 0]
    #[arg(id = "retry-flagged", long, value_name = "N")]
    retry_flagged: Option<String>,

    /// Line of sh to run before anything is measured; if it fails, nothing is
    #[arg(long, value_name = "CMD")]
    setup: Option<String>,

    /// Line of sh to run before each trial, with IPC_BENCH_CELL and IPC_BENCH_TRIAL; if it fails, so does its cell
    #[arg(long, value_name = "CMD")]
    prepare: Option<String>,

    /// Line of sh to run when everything was measured, also after a failure or an interrupt
    #[arg(long, value_name = "CMD")]
    cleanup: Option<String>,

    /// Order of the trials: interleave, shuffle, grouped [default: interleave]
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,

    /// Seed of payloads and of --order shuffle [default: random, printed]
    #[arg(long, value_name = "N", value_parser = seed)]
    pub(crate) seed: Option<u64>,

    /// Directory for this run's files [default: runs/<id> under --dir]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Name of this run [default: the version of the measured code]
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,

    /// Fact to keep with the run, repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) tag: Vec<(String, String)>,

    /// Write a row per message of rtt, oneway and load as CSV, between trials
    #[arg(id = "stream-csv", long, value_name = "FILE")]
    pub(crate) stream_csv: Option<PathBuf>,

    /// Write a line of JSON per message of rtt, oneway and load, between trials
    #[arg(id = "stream-json", long, value_name = "FILE")]
    pub(crate) stream_json: Option<PathBuf>,

    /// Write no report.html
    #[arg(long)]
    pub(crate) no_html: bool,

    /// Tell what happens as JSON lines, to FILE or to stdout (without FILE, or with -)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) events: Option<PathBuf>,

    /// Do what an earlier run did: its settings and its seed, unless flags say otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,

    /// Print the command that measures this cell alone, and measure nothing
    #[arg(long, value_name = "CELL")]
    pub(crate) repro: Option<String>,

    /// Print the ids of the cells that would be measured, and measure nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Show the plan and measure nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Measure although this is a debug build, whose numbers mean nothing
    #[arg(long)]
    pub(crate) allow_debug: bool,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}
