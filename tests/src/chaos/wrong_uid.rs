//! Another user's process connects, or listens where ours connects: nobody is let in who was not named.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use ipc_transports::{
    Address, AnyConnection, AnyListener, Listener, Receiver, Sender, SetupErrorKind, Target, Wait, connect,
    listen,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};

use super::cell::{Cell, DEADLINE, Role, Violation, violated};
use super::guest::{self, Ground, NOBODY, become_user};

/// Mechanisms whose options can name another user.
const CAN_ALLOW: &[&str] = &["uds", "uds-seqpacket", "pipe", "shm", "mq"];

/// `rounds` attempts.
pub fn run(cell: &mut Cell, rounds: u64) {
    if !guest::is_root() {
        cell.missed = rounds;
        cell.notes.push(guest::SKIPPED.into());
        return;
    }
    match cell.role {
        Role::Listener => beware_of_listeners(cell, rounds),
        _ => beware_of_clients(cell, rounds),
    }
}

fn address(mechanism: &str, path: PathBuf, options: &str) -> Address {
    let target = match mechanism {
        "tcp" => "127.0.0.1:0".to_owned(),
        _ => path.display().to_string(),
    };
    format!("{mechanism}:{target}{options}").parse().expect("an address")
}

/// A secret that only we can read.
fn secret(ground: &Ground) -> PathBuf {
    let path = ground.path().join("secret");
    std::fs::write(&path, b"correct horse battery staple").expect("our own directory");
    set_mode(&path, 0o600);
    path
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file");
}

fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).map_or(0, |found| found.mode() & 0o7777)
}

fn beware_of_clients(cell: &mut Cell, rounds: u64) {
    let ground = Ground::new();
    let path = ground.path().join("s");
    let options = match cell.mechanism {
        "tcp" => format!("?token={}", secret(&ground).display()),
        _ => String::new(),
    };
    let mut listener =
        listen(&address(cell.mechanism, path.clone(), &options)).unwrap_or_else(|error| panic!("{error}"));
    if cell.mechanism != "tcp" {
        for file in [path.clone(), ground.path().join("s.lock")] {
            let found = mode_of(&file);
            let private =
                if found == 0o600 { Ok(()) } else { violated("I4", format!("{file:?} has mode {found:o}")) };
            cell.count(private);
        }
    }
    let at = bare(listener.address());
    for round in 0..rounds {
        // Every other time the file lets everybody pass, so that only the credentials are in the way.
        if cell.mechanism != "tcp" {
            set_mode(&path, if round.is_multiple_of(2) { 0o600 } else { 0o666 });
        }
        let attempt = while_serving(&mut listener, || run_guest(cell, "intrude", &ground, &at));
        let outcome = match attempt {
            (Ok(_), 0) => Ok(()),
            (Ok(_), let_in) => violated("I3", format!("{let_in} clients of another user were let in")),
            (Err(violation), _) => Err(violation),
        };
        let outcome =
            outcome.and_then(|()| serve_our_own(&mut listener, &options)).and_then(|()| cell.check_traces());
        cell.count(outcome);
    }
    drop(listener);
    if CAN_ALLOW.contains(&cell.mechanism) {
        let outcome = let_a_named_user_in(cell, &ground, path.clone());
        cell.count(outcome);
    }
    if cell.mechanism == "shm" {
        let outcome = let_a_named_user_in_once(cell, &ground, path);
        cell.count(outcome);
    }
}

/// `address` without its options, for somebody who does not have them.
fn bare(address: &Address) -> String {
    let text = address.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

fn run_guest(cell: &Cell, case: &str, ground: &Ground, at: &str) -> Result<String, Violation> {
    guest::ask_at(cell, case, ground, at)
}

/// Accepts as long as `attempt` runs; what came of it, and how many were let in.
fn while_serving<T>(listener: &mut AnyListener, attempt: impl FnOnce() -> T) -> (T, u64) {
    let (done, let_in) = (AtomicBool::new(false), AtomicU64::new(0));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                if listener.accept(Wait::within(DEADLINE / 50)).is_ok() {
                    let_in.fetch_add(1, SeqCst);
                }
            }
        });
        let outcome = attempt();
        done.store(true, SeqCst);
        outcome
    });
    (outcome, let_in.into_inner())
}

fn serve_our_own(listener: &mut AnyListener, options: &str) -> Result<(), Violation> {
    let to: Address = format!("{}{options}", bare(listener.address())).parse().expect("an address");
    std::thread::scope(|scope| {
        let client = scope.spawn(move || connect(&to, Wait::within(5 * DEADLINE)).map(drop));
        listener.accept(Wait::within(5 * DEADLINE))?;
        client.join().expect("the client does not panic")
    })
    .or_else(|error| violated("I5", format!("our own client behind refused ones: {error}")))
}

/// `?allow_uid=` on both sides.
fn let_a_named_user_in(cell: &Cell, ground: &Ground, path: PathBuf) -> Result<(), Violation> {
    let mut listener = listen_for_all(cell, path, &format!("?allow_uid={NOBODY}"));
    receive(cell, ground, &mut listener).map(drop)
}

/// `?allow_bytes=`: with room for one connection, a second one of the same user is hung up on until the first is gone.
fn let_a_named_user_in_once(cell: &Cell, ground: &Ground, path: PathBuf) -> Result<(), Violation> {
    // The default rings of both sides.
    let mut listener = listen_for_all(cell, path, &format!("?allow_uid={NOBODY}&allow_bytes=2M"));
    let first = receive(cell, ground, &mut listener)?;
    let at = bare(listener.address());
    let (second, let_in) = while_serving(&mut listener, || run_guest(cell, "visit", ground, &at));
    match second {
        Err(refused) if let_in == 0 && refused.what.contains("hung up") => {}
        other => return violated("I3", format!("{let_in} let in beyond allow_bytes: {other:?}")),
    }
    drop(first);
    receive(cell, ground, &mut listener).map(drop)
}

/// Listens where every user may come to the socket.
fn listen_for_all(cell: &Cell, path: PathBuf, options: &str) -> AnyListener {
    let listener =
        listen(&address(cell.mechanism, path.clone(), options)).unwrap_or_else(|error| panic!("{error}"));
    set_mode(&path, 0o666);
    listener
}

/// A guest comes and has its word echoed; our end of its connection.
fn receive(cell: &Cell, ground: &Ground, listener: &mut AnyListener) -> Result<AnyConnection, Violation> {
    let at = bare(listener.address());
    let visit = std::thread::scope(|scope| {
        let guest = scope.spawn(|| run_guest(cell, "visit", ground, &at));
        let mut connection =
            listener.accept(Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
        let uid = connection.peer.uid;
        let mut buf = Vec::new();
        connection.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
        connection.tx.send_timeout(&buf, DEADLINE).map_err(|error| error.to_string())?;
        match guest.join().expect("the guest's thread does not panic") {
            Ok(_) if uid == Some(NOBODY) => Ok(connection),
            other => Err(format!("uid {uid:?}: {other:?}")),
        }
    });
    visit.or_else(|what: String| violated("I5", format!("a user named by allow_uid: {what}")))
}

fn beware_of_listeners(cell: &mut Cell, rounds: u64) {
    let ground = Ground::new();
    let options = match cell.mechanism {
        "tcp" => format!("?token={}", secret(&ground).display()),
        _ => String::new(),
    };
    for _ in 0..rounds {
        let outcome = one_impostor(cell, &ground, &options).and_then(|()| cell.check_traces());
        cell.count(outcome);
    }
}

/// A listener of another user, at a place where we connect.
fn one_impostor(cell: &Cell, ground: &Ground, options: &str) -> Result<(), Violation> {
    let (mut child, at) = Impostor::start(cell, ground)?;
    let to: Address = format!("{at}{options}").parse().expect("an address");
    let outcome = connect(&to, Wait::within(DEADLINE));
    let told = child.end();
    match outcome {
        Err(error) if error.kind == SetupErrorKind::Denied => {}
        // tcp has no credentials: who cannot prove that it has the secret is refused or hangs up.
        Err(error) if cell.mechanism == "tcp" && error.kind == SetupErrorKind::HungUp => {}
        Err(error) => return violated("I3", format!("another user's listener is told as {error}")),
        Ok(_) => return violated("I3", "connected to another user's listener"),
    }
    match told.trim() {
        "" => Ok(()),
        // It has no secret to ask for, so it lets everybody in; ours has turned away all the same.
        _ if cell.mechanism == "tcp" => Ok(()),
        told => violated("I3", format!("the impostor says: {told}")),
    }
}

struct Impostor(Child);

impl Impostor {
    fn start(cell: &Cell, ground: &Ground) -> Result<(Impostor, String), Violation> {
        let child = Command::new(&cell.program)
            .args(["guest", "pose", cell.mechanism])
            .arg(ground.path())
            .env("XDG_RUNTIME_DIR", ground.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", cell.program.display()));
        let mut line = Vec::new();
        if let Some(out) = &mut child.stdout {
            let mut byte = [0];
            while out.read(&mut byte).is_ok_and(|read| read == 1) && byte != *b"\n" {
                line.extend(byte);
            }
        }
        let at = String::from_utf8_lossy(&line).into_owned();
        match at.contains(':') {
            true => Ok((Impostor(child), at)),
            false => violated("I6", format!("the impostor does not listen: {at}")),
        }
    }

    /// Ends it; what it said meanwhile.
    fn end(&mut self) -> String {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let mut text = String::new();
        if let Some(mut out) = self.0.stdout.take() {
            let _ = out.read_to_string(&mut text);
        }
        text
    }
}

/// Guest: listens where the other user connects, and says so if that works.
pub(super) fn pose(place: &guest::Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let options = if CAN_ALLOW.contains(&place.mechanism) { "?allow_uid=0" } else { "" };
    let at = address(place.mechanism, place.ground.join("home/s"), options);
    let mut listener = listen(&at).map_err(|error| error.to_string())?;
    println!("{}", bare(listener.address()));
    // Until it is ended.
    loop {
        if listener.accept(Wait::within(20 * DEADLINE)).is_ok() {
            println!("a client of another user came");
        }
    }
}

/// Guest: connects where it must not, through the library and past it.
pub(super) fn intrude(place: &guest::Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let mut attempts = vec![String::new()];
    if CAN_ALLOW.contains(&place.mechanism) {
        attempts.push("?allow_uid=0".into());
    }
    if place.mechanism == "tcp" {
        let own = place.ground.join("home/guess");
        std::fs::write(&own, b"incorrect horse battery").map_err(|error| error.to_string())?;
        set_mode(&own, 0o600);
        attempts.push(format!("?token={}", own.display()));
        attempts.push(format!("?token={}", place.ground.join("secret").display()));
    }
    for options in &attempts {
        let to: Address = format!("{}{options}", place.at).parse().map_err(|error| format!("{error}"))?;
        match connect(&to, Wait::within(2 * DEADLINE)) {
            Ok(_) => return Err(format!("let in with {options:?}")),
            Err(error) => match error.kind {
                SetupErrorKind::Denied | SetupErrorKind::HungUp => {}
                // A file that it may not read is a bad option.
                SetupErrorKind::BadAddress if options.ends_with("secret") => {}
                _ => return Err(format!("with {options:?} it is told {error}")),
            },
        }
    }
    match place.mechanism {
        "tcp" => {}
        kind => past_the_library(kind, &place.at)?,
    }
    Ok("refused".into())
}

/// A client that checks nothing gets not one byte.
fn past_the_library(mechanism: &str, at: &str) -> Result<(), String> {
    let kind = if mechanism == "uds" { SocketType::STREAM } else { SocketType::SEQPACKET };
    let to: Address = at.parse().map_err(|error| format!("{error}"))?;
    let Target::Path(path) = to.target() else { return Err("no path".into()) };
    let name = SocketAddrUnix::new(path).map_err(|error| error.to_string())?;
    let socket: OwnedFd =
        rustix::net::socket(AddressFamily::UNIX, kind, None).map_err(|error| error.to_string())?;
    if rustix::net::connect(&socket, &name).is_err() {
        return Ok(());
    }
    let _ = rustix::net::send(&socket, &[0x5A; 64], SendFlags::NOSIGNAL);
    match rustix::net::recv(&socket, &mut [0; 64], RecvFlags::empty()) {
        Ok((0, _)) | Err(_) => Ok(()),
        Ok((bytes, _)) => Err(format!("{bytes} bytes were said to another user")),
    }
}

/// Guest: connects where it is allowed by name.
pub(super) fn visit(place: &guest::Place) -> Result<String, String> {
    become_user(NOBODY)?;
    let to: Address = format!("{}?allow_uid=0", place.at).parse().map_err(|error| format!("{error}"))?;
    let mut connection = connect(&to, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
    connection.tx.send_timeout(b"from another user", DEADLINE).map_err(|error| error.to_string())?;
    let mut buf = Vec::new();
    connection.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
    if buf == b"from another user" { Ok("welcome".into()) } else { Err(format!("{buf:?} came back")) }
}
