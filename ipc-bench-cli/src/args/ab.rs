//! Flags of `ab`.

use std::path::PathBuf;

use clap::Args;

use super::RunArgs;

/// Flags of `ab`: the sides, what to do with the verdicts, and those of `run`.
#[derive(Debug, Args)]
pub(crate) struct AbArgs {
    /// What starts the workers of side A: another build of ipc-bench, with words before it if need be
    #[arg(long, value_name = "CMD", requires = "b", conflicts_with = "vary")]
    pub(crate) a: Option<String>,

    /// What starts the workers of side B
    #[arg(long, value_name = "CMD", requires = "a")]
    pub(crate) b: Option<String>,

    /// One setting and its two values: shm.wait=park,spin  io=sync,async  uds.sndbuf=64K,1M
    #[arg(long, value_name = "NAME=A,B")]
    pub(crate) vary: Option<String>,

    /// Hold every message of side B back on purpose, for a time, or for a share of what the latest trial of side A took, as in
    /// 10%: shows whether such a change would be seen here
    #[arg(long, value_name = "TIME")]
    pub(crate) inject: Option<String>,

    #[command(flatten)]
    pub(crate) verdicts: VerdictArgs,

    /// Exit with 3 on a regression
    #[arg(long)]
    pub(crate) gate: bool,

    /// Measure red cells again, with twice the trials, and fail only on what is red again
    #[arg(long)]
    pub(crate) confirm: bool,

    /// Show unchanged figures too
    #[arg(long)]
    pub(crate) all: bool,

    /// Write the comparison as a page with charts [default: report.html of the run]
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What counts, and who is told.
#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// Limits: p50=5%|50ns,p99=10%,@throughput=5% [default: those of [gate], else 2%, for times also 20ns]
    #[arg(long, value_name = "LIST")]
    pub(crate) limit: Option<String>,

    /// File with a [gate] table [default: ipc-bench.toml, looked for upward]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// What fails: regressed, inconclusive, missing [default: those of [gate], else regressed]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) fail_on: Vec<String>,

    /// Print each violation as an annotation of GitHub Actions
    #[arg(long)]
    pub(crate) github: bool,

    /// Write the comparison as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) md: Option<PathBuf>,
}
