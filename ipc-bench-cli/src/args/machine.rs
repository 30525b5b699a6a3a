//! Flags of the commands that look at the machine.

use clap::Args;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look only at what matters to this preset
    #[arg(long = "for", value_name = "PRESET")]
    pub(crate) preset: Option<String>,

    /// Exit with 5 when there is a warning
    #[arg(long)]
    pub(crate) strict: bool,

    /// Watch the measuring CPUs for so long and tell what others took of them
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s")]
    pub(crate) probe: Option<String>,

    /// Print a shell script that makes the changes, and its undo
    #[arg(long)]
    pub(crate) fix_script: bool,

    /// Remove names of this user that nobody listens at
    #[arg(long)]
    pub(crate) clean: bool,

    /// A process on this machine, or the address of an ipc-bench server: whether it shares namespaces and boot with us
    #[arg(long, value_name = "PID|ADDRESS")]
    pub(crate) peer: Option<String>,
}
