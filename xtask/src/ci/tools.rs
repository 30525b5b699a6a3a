//! Programs that some checks can use and a fresh machine may lack.

use super::Run;
use super::process::Ended;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// The tests that use one of these say `skipped` when it is missing.
const OPTIONAL: &[Tool] = &[
    Tool { program: "strace", package: "strace" },
    Tool { program: "valgrind", package: "valgrind" },
    Tool { program: "chromium", package: "chromium" },
    Tool { program: "setpriv", package: "util-linux" },
];

/// Installs what is missing, as root on Debian; elsewhere, or when apt fails, says what is missing and goes on: a
/// missing tool skips checks, it does not fail them.
pub(super) fn install(run: &Run) -> Result<()> {
    let missing: Vec<&Tool> = OPTIONAL.iter().filter(|tool| find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let packages = packages.join(" ");
    let on_debian = std::path::Path::new("/etc/debian_version").exists();
    if !on_debian || !rustix::process::geteuid().is_root() {
        println!("– tools not installed: needs root on Debian (apt-get install {packages})");
        return Ok(());
    }
    let log = run.log("tools");
    std::fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    let script = format!("apt-get update && apt-get install --yes --no-install-recommends {packages}");
    let mut apt = Command::new("sh");
    apt.args(["-c", &script]).env("DEBIAN_FRONTEND", "noninteractive");
    match run.supervisor.run(&mut apt, &log)? {
        Ended::Exited(status) if status.success() => println!("✓ tools installed: {packages}"),
        Ended::Exited(_) => println!("– tools not installed: apt-get failed, see {}", log.display()),
        Ended::Killed(why) => println!("– tools not installed: {why}"),
    }
    Ok(())
}

/// Looks a program up in `PATH`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
