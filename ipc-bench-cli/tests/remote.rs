//! A server and its clients, started by hand.

#![allow(clippy::unwrap_used, reason = "clippy knows only the tests themselves, not their helpers")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{
    Place, allowed, assert_refused, document, kill, restless_cells, stderr, stdout, valid_run,
    within_a_second,
};
use rustix::process::Signal;

/// Starts a server and waits until it listens; the address it says it has.
fn server(place: &Place, line: &str) -> (Child, String) {
    listening(place.command(&format!("server {line}")).spawn().unwrap())
}

/// Waits until a server that was started listens.
fn listening(mut child: Child) -> (Child, String) {
    let mut said = String::new();
    // One byte at a time, so that what follows the line stays in the pipe.
    let pipe = child.stderr.as_mut().unwrap();
    BufReader::with_capacity(1, pipe).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("listening at ").unwrap_or_else(|| panic!("{said}")).to_owned();
    (child, address)
}

fn client(address: &str, flags: &str) -> String {
    format!("client {address} --allow-debug --warmup 1ms -s 64 --trials 2 -n 50 --json=- {flags}")
}

#[test]
fn a_server_started_by_hand_serves_one_client_after_another() {
    let place = Place::new();
    for target in ["uds:one", "shm:one", "tcp:127.0.0.1:0"] {
        let (child, address) = server(&place, target);
        for mode in ["rtt", "stream", "rtt,stream"] {
            let output = place.command(&client(&address, &format!("--mode {mode}"))).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{target}: {}", stderr(&output));
            for cell in document(&output)["cells"].as_array().unwrap() {
                assert_eq!(cell["status"], "ok");
                assert_eq!(cell["trials"][1]["messages"], 50);
                // Both halves are in the file.
                assert!(cell["trials"][1]["cpu"]["user_ns"].is_number(), "{cell}");
            }
        }
        kill(child.id(), Signal::INT);
        let output = place.finish(child);
        assert_eq!(output.status.code(), Some(130));
        assert!(stderr(&output).contains("stopped by signal 2"), "{}", stderr(&output));
    }
}

#[test]
fn several_clients_are_measured_at_once_against_a_server_started_by_hand() {
    let place = Place::new();
    let (child, address) = server(&place, "uds:many");
    let output = place.command(&client(&address, "--mode rtt,stream --clients 3")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for cell in document(&output)["cells"].as_array().unwrap() {
        assert_eq!(
            (&cell["clients"], &cell["trials"][1]["messages"]),
            (&3.into(), &150.into()),
            "{}",
            cell["id"]
        );
    }
    let refused = place.command(&client(&address, "--mode rtt --pairs 2")).output().unwrap();
    assert_refused(&refused, 2, ["--pairs has no place here", "there already", "--clients"]);
    kill(child.id(), Signal::INT);
    assert_eq!(place.finish(child).status.code(), Some(130));
}

/// Ids and messages of what the doctor says of a peer, in a run.
fn of_peer(run: &serde_json::Value) -> Vec<(&str, &str)> {
    let found = run["doctor"].as_array().unwrap().iter();
    let found = found.map(|finding| (finding["id"].as_str().unwrap(), finding["message"].as_str().unwrap()));
    found.filter(|(id, _)| id.starts_with('K')).collect()
}

#[test]
fn both_sides_say_who_they_are_and_the_file_has_both_halves() {
    let place = Place::new();
    let cpu = allowed()[0];
    let (child, address) = server(&place, &format!("uds:who --pin {cpu}"));
    for clients in ["", "--clients 2"] {
        let output = place.command(&client(&address, &format!("--mode rtt {clients}"))).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let run = valid_run(&output);
        let [server] = &run["servers"].as_array().unwrap()[..] else { panic!("{}", run["servers"]) };
        assert_eq!((&server["version"], &server["pid"]), (&run["tool"]["version"], &child.id().into()));
        assert_eq!(server["cpus"], serde_json::json!([cpu]));
        assert_eq!(server["boot_id"], run["environment"]["boot_id"]);
        assert_eq!(server["namespaces"], run["environment"]["namespaces"]);
        assert_eq!(server["namespaces"].as_object().unwrap().len(), 5);
        let placed = if clients.is_empty() { cpu.into() } else { serde_json::Value::Null };
        assert_eq!(run["cells"][0]["pin"]["server"], placed, "a crowd has no CPU of its own");
        assert_eq!(of_peer(&run), [], "the two share everything");
        let line = format!(
            "server     ipc-bench {}, process {}, cpu {cpu}\n",
            env!("CARGO_PKG_VERSION"),
            child.id()
        );
        assert!(stderr(&output).contains(&line), "{}", stderr(&output));
    }
    let asked = place.command(&format!("doctor --peer {address}")).output().unwrap();
    for words in ["K1", "shares every namespace with this process", "K2", "runs on this boot"] {
        assert!(stdout(&asked).contains(words), "{words}: {}", stdout(&asked));
    }
    kill(child.id(), Signal::INT);
    assert!(stderr(&place.finish(child)).contains("told who this is\n"));
    let own = place.measure("-t uds -s 64 --mode rtt --trials 1 -n 10 --json=-");
    assert!(document(&own).get("servers").is_none(), "a run that starts its servers has met none");
}

#[test]
fn a_peer_of_the_doctor_is_a_process_or_a_server() {
    let place = Place::new();
    let refused = |peer: &str, code, words| {
        assert_refused(&place.run(&format!("doctor --peer {peer}")), code, words);
    };
    refused("4194305", 2, ["there is no such process", "namespaces", "address of an ipc-bench server"]);
    refused("udz:x", 2, ["unknown transport", "uds", "did you mean uds"]);
    refused(
        "uds:nobody",
        1,
        ["cannot connect to uds:nobody", "nobody is listening", "is the server running?"],
    );
}

/// A frame without the hello before it, as `framing=raw` sends it: this protocol, and no message.
fn speaking(protocol: u32) -> Vec<u8> {
    let (length, magic) = (17_u32.to_le_bytes(), *b"ipc-bench");
    [&length[..], &magic, &protocol.to_le_bytes(), &0_u32.to_le_bytes()].concat()
}

#[test]
fn sides_of_different_versions_say_which_one_to_upgrade() {
    let place = Place::new();
    for (protocol, fix) in [(1, "upgrade the peer"), (u32::MAX, "upgrade this side")] {
        let path = place.path().join(format!("server-{protocol}"));
        let listener = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&speaking(protocol)).unwrap();
            // Until the client has hung up.
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        let address = format!("uds:{}?framing=raw", path.display());
        let output = place.run(&client(&address, "--mode rtt"));
        assert_refused(
            &output,
            1,
            ["of different versions", &format!("protocol {protocol}, this side"), fix],
        );
        other.join().unwrap();

        // The server tells its number before it hangs up, so that the client's user hears the same.
        let path = place.path().join(format!("client-{protocol}"));
        let (child, _) = server(&place, &format!("uds:{}?framing=raw --once", path.display()));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&speaking(protocol)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[4..13], *b"ipc-bench", "{answer:?}");
        let text = stderr(&place.finish(child)).to_owned();
        assert!(text.contains("of different versions") && text.contains(fix), "{text}");
    }
}

#[test]
fn a_second_listener_is_refused_with_the_process_that_has_the_address() {
    let place = Place::new();
    let (first, address) = server(&place, "uds:busy");
    let second = place.command(&format!("server {address}")).output().unwrap();
    assert_refused(
        &second,
        1,
        ["cannot listen at uds:busy", &format!("in use by pid {}", first.id()), "another address"],
    );
    let third = place.command(&format!("server uds:free {address}")).output().unwrap();
    assert_refused(&third, 1, ["cannot listen at uds:busy", "in use", "another address"]);
    kill(first.id(), Signal::TERM);
    assert_eq!(place.finish(first).status.code(), Some(143));
}

#[test]
fn nobody_listening_is_told_with_a_hint() {
    let place = Place::new();
    let output = place.run(&client("uds:nobody", "--retry 0s --mode rtt"));
    assert_refused(
        &output,
        1,
        ["cannot connect to uds:nobody", "nobody is listening", "is the server running?"],
    );
    assert_eq!(document(&output)["status"], "failed");
}

#[test]
fn a_client_finds_a_server_that_comes_later() {
    let place = Place::new();
    let early = place.command(&client("uds:late", "--retry 1m --mode rtt")).spawn().unwrap();
    place.worker("client", "uds/rtt/64");
    let (late, _) = server(&place, "uds:late");
    let output = early.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    kill(late.id(), Signal::INT);
    assert_eq!(place.finish(late).status.code(), Some(130));
}

#[test]
fn a_server_can_end_after_one_client_or_when_nobody_comes() {
    let place = Place::new();
    let (once, address) = server(&place, "uds:once --once --pin 0");
    // Who only asks is no client.
    let asked = place.command(&format!("doctor --peer {address}")).output().unwrap();
    assert!(stdout(&asked).contains("runs on this boot"), "{}", stderr(&asked));
    let line = format!("client {address} --allow-debug --warmup 1ms -s 64 --mode rtt --trials 1 -n 50");
    let output = place.command(&line).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.finish(once).status.code(), Some(0));
    let (once, address) = server(&place, "uds:both tcp:127.0.0.1:0 --once");
    let line = format!("client {address} --allow-debug --warmup 1ms -s 64 --mode rtt --trials 1 -n 50");
    assert_eq!(place.command(&line).output().unwrap().status.code(), Some(0));
    assert_eq!(place.finish(once).status.code(), Some(0), "one client, whichever address it came to");
    let (idle, _) = server(&place, "uds:idle tcp:127.0.0.1:0 --idle-timeout 50ms");
    assert_eq!(place.finish(idle).status.code(), Some(0));
}

#[test]
fn a_killed_server_is_told_by_its_client() {
    within_a_second("until the client of a killed server had ended", || {
        let place = Place::new();
        let (mut victim, address) = server(&place, "uds:victim");
        // What keeps a CPU awake would have to get a turn before the client can end.
        let line = "--allow-debug --warmup 1ms -s 64 --mode rtt --trials 1 -d 1h --keep-awake no";
        let child = place.command(&format!("client {address} {line}")).spawn().unwrap();
        place.worker("client", "uds/rtt/64");
        has_a_client(&victim);
        let began = Instant::now();
        kill(victim.id(), Signal::KILL);
        victim.wait().unwrap();
        let output = child.wait_with_output().unwrap();
        let took = began.elapsed();
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains("uds/rtt/64: "), "{text}");
        assert_eq!(stdout(&output).matches("error:").count(), 1, "{}", stdout(&output));
        // The name it left is taken over by the next one, and goes with it.
        let (next, again) = server(&place, &address);
        assert_eq!(again, address);
        kill(next.id(), Signal::INT);
        assert_eq!(place.finish(next).status.code(), Some(130));
        took
    });
}

/// Waits until a server has a thread for a client: then that is connected.
fn has_a_client(server: &Child) {
    common::wait_for("the server to have a client", || {
        (std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap().count() > 1).then_some(())
    });
}

#[test]
fn a_killed_client_takes_its_worker_with_it_and_the_server_serves_the_next() {
    let place = Place::new();
    for target in ["uds:one", "shm:one", "tcp:127.0.0.1:0"] {
        let (child, address) = server(&place, target);
        let id = format!("{}/rtt/64", target.split(':').next().unwrap());
        let line = format!("client {address} --allow-debug --warmup 1ms -s 64 --mode rtt --trials 1 -d 1h");
        within_a_second("until the worker of a killed client was gone", || {
            let mut victim = place.command(&line).spawn().unwrap();
            place.worker("client", &id);
            has_a_client(&child);
            let began = Instant::now();
            kill(victim.id(), Signal::KILL);
            victim.wait().unwrap();
            place.wait_for_no_workers();
            began.elapsed()
        });
        let output = place.command(&client(&address, "--mode rtt")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{target}: {}", stderr(&output));
        assert_eq!(document(&output)["cells"][0]["trials"][1]["messages"], 50);
        kill(child.id(), Signal::INT);
        assert_eq!(place.finish(child).status.code(), Some(130));
    }
}

#[test]
fn an_address_names_the_transport() {
    let place = Place::new();
    assert_refused(
        &place.run("client uds:x -t tcp"),
        2,
        ["-t has no place here", "address names", "leave -t out"],
    );
    assert_refused(&place.run("client udz:x"), 2, ["unknown transport \"udz\"", "uds", "did you mean uds"]);
    assert_eq!(place.run("server uds").status.code(), Some(2));
}

/// Sends back what comes, on every connection, until the test ends.
fn echo<S: std::io::Read + std::io::Write + Send + 'static>(
    accept: impl Fn() -> std::io::Result<(S, S)> + Send + 'static,
) {
    std::thread::spawn(move || {
        while let Ok((mut from, mut to)) = accept() {
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
}

#[test]
fn any_server_that_echoes_bytes_can_be_measured() {
    let place = Place::new();
    let path = place.path().join("foreign");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    echo(move || unix.accept().and_then(|(stream, _)| Ok((stream.try_clone()?, stream))));
    echo(move || tcp.accept().and_then(|(stream, _)| Ok((stream.try_clone()?, stream))));
    for address in
        [format!("uds:{}?framing=raw", path.display()), format!("tcp:127.0.0.1:{port}?framing=raw")]
    {
        let output = place.command(&client(&address, "--peer echo --clients 1,2")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{address}: {}", stderr(&output));
        for (cell, messages) in document(&output)["cells"].as_array().unwrap().iter().zip([50, 100]) {
            assert_eq!((&cell["status"], &cell["mode"]), (&"ok".into(), &"rtt".into()));
            assert_eq!(cell["trials"][1]["messages"], messages);
            assert!(cell["summary"]["p50_ns"]["value"].as_f64().unwrap() > 0.0);
        }
    }
    let refused = place.command(&client("uds:foreign", "--peer echo --mode stream")).output().unwrap();
    assert_refused(
        &refused,
        2,
        ["--mode stream needs a server of ours", "counts and times nothing", "--mode rtt"],
    );
    place.assert_nothing_is_left();
}

#[test]
fn a_warm_up_that_only_gets_slower_is_over_after_a_second_and_warned_of() {
    let place = Place::new();
    let path = place.path().join("foreign");
    let listener = UnixListener::bind(&path).unwrap();
    let serve = |mut stream: UnixStream| -> std::io::Result<()> {
        // Its length comes first.
        let mut message = [0; 4 + 64];
        // The first one is in no window; each of these is longer than a window, so that it is one.
        for millis in [0, 100, 200, 400, 800].into_iter().chain(std::iter::repeat(0)) {
            stream.read_exact(&mut message)?;
            // Not a handshake: a server that takes twice as long every time. It would have to oversleep by a quarter of a
            // second, once and then no more, for three windows to be alike.
            std::thread::sleep(Duration::from_millis(millis));
            stream.write_all(&message)?;
        }
        Ok(())
    };
    std::thread::spawn(move || {
        // Who only looks whether somebody listens comes first.
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let line = format!(
        "client uds:{}?framing=raw --peer echo --allow-debug --warmup auto -s 64 --trials 1 -n 50 --json=-",
        path.display()
    );
    let output = place.command(&line).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = valid_run(&output);
    assert_eq!(restless_cells(&run), [run["cells"][0]["id"].as_str().unwrap()]);
    let warmup = &run["cells"][0]["trials"][0]["warmup"];
    assert!(warmup["elapsed_ns"].as_u64().unwrap() >= 1_500_000_000, "{warmup}");
    assert!(stderr(&output).contains("W06") || stdout(&output).contains("W06"), "{}", stderr(&output));
}

/// The program in user, IPC, network and mount namespaces of its own, as in a container of its own; with nothing to see in
/// the directory `hidden`.
fn apart(place: &Place, line: &str, hidden: Option<&std::path::Path>) -> std::process::Command {
    let mut command = std::process::Command::new("unshare");
    command.args(["-U", "-r", "-i", "-n", "-m", "--", "sh", "-c"]);
    match hidden {
        Some(hidden) => command.arg("mount -t tmpfs none \"$0\" && exec \"$@\"").arg(hidden),
        None => command.args(["exec \"$@\"", "sh"]),
    };
    let program = place.command(line);
    command.arg(program.get_program()).args(program.get_args()).current_dir(place.path());
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_server_in_namespaces_of_its_own_is_reached_through_a_shared_directory() {
    let place = Place::new();
    if !apart(&place, "list presets", None).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user may not make namespaces (unshare -U -r -i -n -m true)");
        return;
    }
    let shared = place.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    for transport in ["shm", "uds", "mq"] {
        let line = format!("server {transport}:{}/s.sock", shared.display());
        let (child, address) = listening(apart(&place, &line, None).spawn().unwrap());
        let output = apart(&place, &client(&address, "--mode rtt,oneway"), None).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{transport}: {}", stderr(&output));
        let run = valid_run(&output);
        let told = of_peer(&run);
        let others = "other namespaces: ipc (no common mq), mnt (bind-mount the socket's directory), net (no common loopback)";
        assert!(matches!(told[..], [("K1", text)] if text.contains(others)), "{told:?}");
        assert_ne!(run["servers"][0]["namespaces"]["net"], run["environment"]["namespaces"]["net"]);
        let pid = &run["servers"][0]["pid"];
        assert!(
            stderr(&output)
                .contains(&format!(" · K1 namespaces: server process {pid} has other namespaces: ipc")),
            "{}",
            stderr(&output)
        );
        let asked = place.command(&format!("doctor --peer {address}")).output().unwrap();
        let line = format!("the server at {address} has {others}");
        assert!(stdout(&asked).contains(&line), "{line}: {}{}", stdout(&asked), stderr(&asked));
        for cell in document(&output)["cells"].as_array().unwrap() {
            assert_eq!(
                (&cell["status"], &cell["trials"][1]["messages"]),
                (&"ok".into(), &50.into()),
                "{cell}"
            );
        }
        let line = client(&address, "--mode rtt --retry 0s");
        let outside = apart(&place, &line, Some(&shared)).output().unwrap();
        assert_refused(&outside, 1, ["cannot connect to", "nobody is listening", "visible (mounted)"]);
        kill(child.id(), Signal::INT);
        assert_eq!(place.finish(child).status.code(), Some(130));
    }
}
