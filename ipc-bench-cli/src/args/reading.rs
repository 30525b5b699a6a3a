//! Flags of the commands that read saved runs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::VerdictArgs;

/// Flags of `report`. A run is a path, a directory, a baseline's name, `last` or `last~1`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run: a path, a directory, a baseline, last, last~1
    #[arg(default_value = "last")]
    pub(crate) run: String,

    /// How to render it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// With csv: one row per cell instead of one per trial
    #[arg(long)]
    pub(crate) summary: bool,

    /// File to write to [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What a run can be rendered as.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Tables for the terminal
    Text,
    /// One self-contained page with charts
    Html,
    /// Markdown for comments and summaries, at most 60 KB
    Md,
    /// One row per trial
    Csv,
    /// The document itself
    Json,
    /// Test cases
    Junit,
    /// HdrHistogram's log, every trial
    Hlog,
    /// HdrHistogram's percentile tables, one file per cell, into the directory of --output
    Hgrm,
    /// github-action-benchmark: NAME.smaller.json and NAME.bigger.json for the NAME of --output
    Gha,
    /// Bencher metric format
    Bmf,
}

/// Flags of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Two or more runs, the first is the reference; or one that ab made
    #[arg(required = true, num_args = 1.., value_name = "RUN")]
    pub(crate) run: Vec<String>,

    /// Show unchanged figures too
    #[arg(long)]
    pub(crate) all: bool,

    /// Write the comparison as a page with charts; two runs only
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the comparison as Markdown; two runs only
    #[arg(long, value_name = "FILE")]
    pub(crate) md: Option<PathBuf>,

    /// Compare across machines, without verdicts
    #[arg(long)]
    pub(crate) allow_different_host: bool,
}

/// Flags of `merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Two or more runs; environment and yardsticks are taken from the first
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub(crate) run: Vec<String>,

    /// File for the joined run [default: its tables on stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Flags of `gate`.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// The run to judge
    #[arg(default_value = "last")]
    pub(crate) run: String,

    /// What it is compared with [default: the baseline of [gate] in ipc-bench.toml]
    #[arg(long, value_name = "RUN")]
    pub(crate) baseline: Option<String>,

    #[command(flatten)]
    pub(crate) verdicts: VerdictArgs,

    /// Measure red cells again, with the settings of the run and twice the trials, and fail only on what is red again
    #[arg(long)]
    pub(crate) confirm: bool,

    /// With --confirm: measure although this is a debug build, whose numbers mean nothing
    #[arg(long, requires = "confirm")]
    pub(crate) allow_debug: bool,
}

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The targets: a TOML file such as targets/seeds.toml
    pub(crate) file: PathBuf,

    /// Runs to hold them against [default: the file's own are measured]
    #[arg(value_name = "RUN")]
    pub(crate) run: Vec<String>,

    /// A run beside those that are measured, as of `cargo xtask bench-actors --json FILE`
    #[arg(long, value_name = "RUN", conflicts_with = "run")]
    pub(crate) with: Vec<String>,

    /// Write the table as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) md: Option<PathBuf>,

    /// Measure although this is a debug build, whose numbers mean nothing
    #[arg(long)]
    pub(crate) allow_debug: bool,
}

/// What `baseline` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum BaselineArgs {
    /// Keep a run under a name
    Save {
        /// The name
        name: String,
        /// The run
        #[arg(default_value = "last")]
        run: String,
        /// Keep it in bench/baselines of the sources, for a commit, where cargo clean does not reach it
        #[arg(long)]
        commit_dir: bool,
        /// Measure it once more, and keep it only if no figure differs
        #[arg(long)]
        validate: bool,
        /// With --validate: measure although this is a debug build, whose numbers mean nothing
        #[arg(long, requires = "validate")]
        allow_debug: bool,
    },
    /// Names of all baselines
    List,
    /// Print the tables of a baseline
    Show {
        /// The name
        name: String,
    },
    /// Forget a baseline
    Rm {
        /// The name
        name: String,
    },
}
