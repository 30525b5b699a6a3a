//! Flags of `limits`.

use clap::Args;

/// Flags of `limits`.
#[derive(Debug, Args)]
pub(crate) struct LimitsArgs {
    /// Rounds: one trial of ours and one of its limit each, in fresh processes
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Length of the measured part of a trial
    #[arg(short, long, value_name = "TIME", default_value = "60ms")]
    pub(crate) duration: String,

    /// Only rows whose name contains one of these: "shm rtt", mq, idle
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// How long an idle receiver is watched; 0 leaves it out
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) idle: String,

    /// CPUs, as in run
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub(crate) pin: String,

    /// Measure although this is a debug build, whose numbers mean nothing
    #[arg(long)]
    pub(crate) allow_debug: bool,
}
