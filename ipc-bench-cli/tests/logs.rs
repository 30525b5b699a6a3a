//! What is told while measuring: logs, and what a terminal shows.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use common::{Place, assert_refused, stderr};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const TRIALS: &str = "-t uds -s 64 --mode rtt --trials 2 -n 50 --no-html";

#[test]
fn a_log_tells_what_happened_with_a_file_for_each_kind_of_worker() {
    let place = Place::new();
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap_or_default();
    let output = place.measure(&format!("{TRIALS} --log-file all.log --log-level debug"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("DEBUG"), "{}", stderr(&output));
    let (runner, client, server) = (read("all.log"), read("all.log.client"), read("all.log.server"));
    for words in [
        " INFO  runner ",
        "preset quick",
        "uds/rtt/64 trial 1: 50 messages",
        "to server: Job",
        "from client: Done",
    ] {
        assert!(runner.contains(words), "no {words:?} in {runner}");
    }
    assert!(
        server.contains(" listens at uds:") && client.contains(" connected, on cpus "),
        "{server}{client}"
    );
    // Each trial has workers of its own, whose process stands in every line.
    let of_trials = client.lines().filter(|line| line.contains("Transport { name: \"uds\"")).count();
    assert_eq!(of_trials, 2, "{client}");
    let stamp = runner.split(' ').next().unwrap();
    assert!(humantime::parse_rfc3339(stamp).is_ok(), "{stamp}");
    // Less is told on a higher level, and a file is appended to.
    place.measure(&format!("{TRIALS} --log-file all.log --log-level info"));
    assert_eq!(read("all.log").matches("uds/rtt/64 trial 1: ").count(), 2);
    assert_eq!(read("all.log.client"), client, "a worker that is well has nothing to tell on this level");
}

#[test]
fn the_log_goes_to_stderr_unless_told_otherwise_and_tells_no_more_than_warnings() {
    let place = Place::new();
    let said = |line: &str| stderr(&place.measure(line)).to_owned();
    assert!(!said(TRIALS).contains(" runner "));
    let more = said(&format!("{TRIALS} -v"));
    assert!(more.contains(" INFO  runner ") && !more.contains(" DEBUG "), "{more}");
    let most = said(&format!("{TRIALS} -vv --log-file stderr"));
    // Workers tell the runner, which hands it on.
    assert!(most.contains(" DEBUG client ") && most.contains(" DEBUG server "), "{most}");
    // What should be looked at is told when it happens, unless nobody wants to hear.
    let fails = format!("{TRIALS} --prepare false");
    assert!(said(&fails).contains(" WARN  runner "), "{}", said(&fails));
    for silent in ["--log-level off", "--log-level error", "--quiet"] {
        assert!(!said(&format!("{fails} {silent}")).contains(" WARN "), "{silent}");
    }
    let from_outside = |level: &str, flag: &str| {
        let mut command = place.command(&common::measuring(&format!("{TRIALS} {flag}")));
        place.finish(command.env("IPC_BENCH_LOG_LEVEL", level).spawn().unwrap())
    };
    for (level, flag) in [("info", ""), ("off", "-v"), ("off", "--log-level info")] {
        let output = from_outside(level, flag);
        assert!(stderr(&output).contains(" INFO  runner "), "{level} {flag}: {}", stderr(&output));
    }
    assert_refused(&from_outside("loud", ""), 2, ["IPC_BENCH_LOG_LEVEL=loud", "there are off", "unset"]);

    let refused = place.measure(&format!("{TRIALS} --log-file nowhere/all.log"));
    assert_refused(
        &refused,
        2,
        ["nowhere/all.log cannot be written", "No such file", "directory that is there"],
    );
    let refused = place.measure(&format!("{TRIALS} --log-level loud"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("debug"), "{}", stderr(&refused));
    assert_eq!(place.measure(&format!("{TRIALS} -v --log-level debug")).status.code(), Some(2));
}

/// Runs with a terminal for stdout and stderr; all that was shown there.
fn on_a_terminal(place: &Place, line: &str, variables: &[(&str, &str)]) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut command = place.command(line);
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(variables.iter().copied());
    command.stdout(OwnedFd::from(theirs.try_clone().unwrap())).stderr(OwnedFd::from(theirs));
    let mut child = command.spawn().unwrap();
    // It holds the other end as long as it lives.
    drop(command);
    let (mut shown, mut master, mut piece) = (Vec::new(), File::from(ours), [0; 4096]);
    // The end of a terminal that nobody holds is an error.
    while let Ok(length @ 1..) = master.read(&mut piece) {
        shown.extend_from_slice(&piece[..length]);
    }
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&shown));
    place.assert_nothing_is_left();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn a_terminal_shows_colours_unless_no_color_is_set() {
    let place = Place::new();
    let output = place.measure(&format!("-t uds,tcp {} -o saved", TRIALS.replace("-t uds ", "")));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = |flags: &str, variables: &[(&str, &str)]| {
        on_a_terminal(&place, &format!("report saved {flags}"), variables)
    };
    let coloured = report("", &[]);
    assert!(coloured.contains('\u{1b}'), "{coloured:?}");
    // An empty one counts as none: no-color.org.
    assert_eq!(report("", &[("NO_COLOR", "")]), coloured);
    let plain = report("", &[("NO_COLOR", "1")]);
    assert!(!plain.contains('\u{1b}') && plain.contains("uds"), "{plain:?}");
    assert_eq!(report("--color never", &[]), plain);
    assert!(report("--color always", &[("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn a_terminal_shows_progress_between_trials_unless_it_is_left_out() {
    let place = Place::new();
    let line = common::measuring(TRIALS);
    assert!(on_a_terminal(&place, &line, &[]).contains("uds rtt 64 B  trial 2/2"));
    for flag in ["--no-progress", "--quiet", "-v"] {
        let shown = on_a_terminal(&place, &format!("{line} {flag}"), &[]);
        assert!(!shown.contains("trial 2/2"), "{flag}: {shown:?}");
    }
}
