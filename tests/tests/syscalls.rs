//! One message costs its sender one system call and its receiver one, counted by strace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ipc_tests::alone::{BYTES_VARIABLE, ROUNDS_VARIABLE};
use ipc_transports::{Pipe, Tcp, Transport, Uds, UdsSeqpacket};

/// System calls by name.
type Calls = BTreeMap<String, usize>;

/// The calls of the main threads of `alone` and `peer` over so many round trips, or why they cannot be counted here.
fn calls<T: Transport>(rounds: usize, len: usize) -> Result<[Calls; 2], String> {
    let directory = tempfile::tempdir().expect("a directory for traces");
    let output = Command::new("strace")
        .args(["-ff", "-qq", "-s", "256", "-o"])
        .arg(directory.path().join("trace"))
        .args([env!("CARGO_BIN_EXE_alone"), T::NAME, "ping_pong", env!("CARGO_BIN_EXE_peer")])
        .env(ROUNDS_VARIABLE, rounds.to_string())
        .env(BYTES_VARIABLE, len.to_string())
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("strace is not installed".into());
        }
        output => output.expect("strace starts"),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("ptrace") && said.contains("not permitted") {
        return Err("this container does not permit ptrace".into());
    }
    assert!(output.status.success(), "{}\n{said}", output.status);
    Ok(["alone", "peer"].map(|program| calls_of(program, directory.path())))
}

/// Counts the calls in the trace of the thread that executed `program`.
fn calls_of(program: &str, traces: &Path) -> Calls {
    let executed = |line: &str| line.starts_with("execve(") && line.contains(&format!("/{program}\", ["));
    let mut found = std::fs::read_dir(traces).expect("the traces").flatten().filter_map(|trace| {
        let text = std::fs::read_to_string(trace.path()).expect("a trace is text");
        text.lines().any(executed).then_some(text)
    });
    let text = found.next().unwrap_or_else(|| panic!("no trace of {program}"));
    let mut calls = Calls::new();
    for name in text.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name) {
        *calls.entry(name.to_owned()).or_default() += 1;
    }
    calls
}

/// Calls by which setting up may differ from run to run: a client that comes a little later, a lock that was taken and
/// is asked for again. A call for every tenth message would be as many.
const JITTER: usize = 60;

/// What `more` has beyond `fewer`: what the additional rounds cost, without setting up and ending.
fn beyond(more: &Calls, fewer: &Calls) -> Calls {
    let cost =
        more.iter().map(|(name, count)| (name.clone(), count - fewer.get(name).unwrap_or(&0).min(count)));
    cost.filter(|(_, count)| *count > JITTER).collect()
}

fn one_call_sends_and_one_receives<T: Transport>() {
    const FEWER: usize = 100;
    const MORE: usize = 700;
    for len in [1, 64, 4096] {
        let (fewer, more) = match (calls::<T>(FEWER, len), calls::<T>(MORE, len)) {
            (Ok(fewer), Ok(more)) => (fewer, more),
            (Err(why), _) | (_, Err(why)) => return println!("skipped: {why}"),
        };
        for (program, (fewer, more)) in ["alone", "peer"].into_iter().zip(fewer.iter().zip(&more)) {
            let cost = beyond(more, fewer);
            // Setting up makes the same calls (a hello is looked for until it has come), so the totals share its jitter.
            let is_one_a_round = |count: &usize| count.abs_diff(MORE - FEWER) <= JITTER;
            let (calls, each_once) = (cost.len(), cost.values().all(is_one_a_round));
            assert!(calls == 2 && each_once, "{} {program}, {len} bytes: {cost:?}", T::NAME);
            let is_one_of = |names: [&str; 3]| cost.keys().any(|call| names.contains(&call.as_str()));
            assert!(is_one_of(["sendto", "sendmsg", "pwritev2"]), "no call sends: {cost:?}");
            assert!(is_one_of(["recvfrom", "recvmsg", "readv"]), "no call receives: {cost:?}");
        }
    }
}

#[test]
fn uds_sends_and_receives_a_message_by_one_call_each() {
    one_call_sends_and_one_receives::<Uds>();
}

#[test]
fn uds_seqpacket_sends_and_receives_a_message_by_one_call_each() {
    one_call_sends_and_one_receives::<UdsSeqpacket>();
}

#[test]
fn tcp_sends_and_receives_a_message_by_one_call_each() {
    one_call_sends_and_one_receives::<Tcp>();
}

#[test]
fn pipe_sends_and_receives_a_message_by_one_call_each() {
    one_call_sends_and_one_receives::<Pipe>();
}
