//! Commands of the user's around a run: `--setup` before it, `--prepare` before each trial, `--cleanup` after it. Each is a
//! line of `sh`, and never runs while something is measured.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::crew::Trouble;
use crate::error::Failure;
use crate::settings::{Origin, Settings};
use crate::signals::Signals;

/// Names of the settings.
pub(crate) const NAMES: [&str; 3] = ["setup", "prepare", "cleanup"];

/// The commands of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    pub(crate) setup: Option<String>,
    pub(crate) prepare: Option<String>,
    pub(crate) cleanup: Option<String>,
}

impl Hooks {
    /// The commands that the settings name.
    ///
    /// # Errors
    /// One comes from a run that is replayed: a file of results is no program until somebody says so.
    pub(crate) fn of(settings: &Settings) -> Result<Hooks, Failure> {
        for name in NAMES {
            if let Some((command, Origin::Manifest(path))) = settings.text(name) {
                return Err(Failure::usage(format!("{} would run a command of its own", path.display()))
                    .why(format!("its --{name} is {command:?}, and a file of results may be anybody's"))
                    .fix(format!(
                        "read it; if it is what you want: --{name} {command:?}, or else --{name} true"
                    )));
            }
        }
        let [setup, prepare, cleanup] =
            NAMES.map(|name| settings.text(name).map(|(command, _)| command.to_owned()));
        Ok(Hooks { setup, prepare, cleanup })
    }
}

/// Runs a command to its end. What it prints goes to stderr, because stdout is for data. A signal ends it and everything
/// it started; without `signals` it is left to finish.
///
/// # Errors
/// A signal came, or it did not end with 0.
pub(crate) fn run(
    name: &'static str,
    command: &str,
    environment: &[(&str, String)],
    signals: Option<&Signals>,
) -> Result<(), Trouble> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .process_group(0)
        .spawn()?;
    match wait(&mut child, signals) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::Hook { name, command: command.to_owned(), how: status.to_string() }),
        Err(trouble) => {
            // The group is ours, and its leader is not reaped yet.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
            Err(trouble)
        }
    }
}

fn wait(child: &mut Child, signals: Option<&Signals>) -> Result<ExitStatus, Trouble> {
    let Some(signals) = signals else { return Ok(child.wait()?) };
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        if let Some(signal) = signals.caught() {
            return Err(Trouble::Interrupted(signal));
        }
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return Ok(child.wait()?),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_command_of_a_replayed_run_is_refused_until_it_is_said_again() {
        let mut config = Config::default();
        config.manifest.insert("prepare", ("rm -r x".into(), Origin::Manifest("run.json".into())));
        let hooks = |given: &[(&'static str, &str)]| {
            let given =
                given.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<BTreeMap<_, _>>();
            Hooks::of(&Settings::complete(given, &config).unwrap())
        };
        let failure = hooks(&[]).unwrap_err();
        assert!(failure.why.unwrap().contains("rm -r x") && failure.fix.unwrap().contains("--prepare"));
        assert_eq!(hooks(&[("prepare", "true")]).unwrap().prepare.as_deref(), Some("true"));
    }
}
