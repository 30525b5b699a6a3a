//! `tcp?token=FILE`: who has the file is let in, who has not is told so, and the secret never travels.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ipc_tests::end::{expect, patiently, send};
use ipc_transports::hello::{FLAG_TOKEN, HELLO_LEN, Hello};
use ipc_transports::{
    Address, Connection, Listener, Options, SetupError, SetupErrorKind, Target, Tcp, TcpOptions, Transport,
    Wait,
};

const SECRET: &[u8] = b"correct horse battery staple\n";

/// A directory whose files end with the test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a temporary directory"))
    }

    fn put(&self, name: &str, contents: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).expect("our own directory");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our own file");
        path
    }

    fn secret(&self) -> PathBuf {
        self.put("secret", SECRET, 0o600)
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn with(token: &Path) -> TcpOptions {
    TcpOptions { token: Some(token.to_owned()), ..TcpOptions::default() }
}

fn listening(token: &Path) -> <Tcp as Transport>::Listener {
    Tcp::listen(&address("tcp:127.0.0.1:0"), &with(token)).unwrap_or_else(|error| panic!("{error}"))
}

fn port(listener: &impl Listener) -> u16 {
    match listener.address().target() {
        Target::Inet(inet) => inet.port(),
        other => panic!("{other:?}"),
    }
}

type Made = Connection<<Tcp as Transport>::Tx, <Tcp as Transport>::Rx>;

/// The connection of one client with `options`, while `listener` accepts one that has the token.
fn meet(listener: &mut <Tcp as Transport>::Listener, to: &Address, options: &TcpOptions) -> (Made, Made) {
    thread::scope(|scope| {
        let client = scope.spawn(|| Tcp::connect(to, options, patiently()));
        let accepted = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
        (accepted, client.join().expect("a thread").unwrap_or_else(|error| panic!("{error}")))
    })
}

/// What a client with `options` is refused with, while `listener` looks for others.
fn refused(listener: &mut <Tcp as Transport>::Listener, options: &TcpOptions) -> SetupError {
    let to = listener.address().clone();
    thread::scope(|scope| {
        let client = scope.spawn(|| Tcp::connect(&to, options, patiently()));
        while !client.is_finished() {
            let answer = listener.accept(Wait::within(Duration::from_millis(10)));
            assert_eq!(answer.expect_err("nobody is let in").kind, SetupErrorKind::TimedOut);
        }
        client.join().expect("a thread").expect_err("this must be refused")
    })
}

/// The error names the option and never the secret.
fn names_the_option(error: &SetupError) {
    let text = format!("{error} {error:?}");
    assert!(text.contains("token"), "{text}");
    assert!(!text.contains("horse"), "{text}");
}

#[test]
fn the_same_file_lets_in_also_from_beyond_loopback() {
    let files = Files::new();
    let secret = files.secret();
    let anywhere = address("tcp:0.0.0.0:0").with_option("token", secret.to_str().expect("a name"));
    let mut listener =
        Tcp::listen(&anywhere.expect("an address"), &TcpOptions::default()).expect("a token is enough");
    let to = address(&format!("tcp:127.0.0.1:{}", port(&listener)));
    // Another file with the same bytes is the same token.
    let copy = with(&files.put("copy", SECRET, 0o400));
    for options in [with(&secret), copy] {
        let (mut server, mut client) = meet(&mut listener, &to, &options);
        send(&mut client.tx, 1, 5000);
        expect(&mut server.rx, 1, 5000);
        send(&mut server.tx, 2, 0);
        expect(&mut client.rx, 2, 0);
    }
}

#[test]
fn beyond_loopback_needs_a_token_or_open() {
    let refused =
        Tcp::listen(&address("tcp:0.0.0.0:0"), &TcpOptions::default()).expect_err("open to anybody");
    assert_eq!(refused.kind, SetupErrorKind::Denied);
    names_the_option(&refused);
    Tcp::listen(&address("tcp:0.0.0.0:0?open=yes"), &TcpOptions::default()).expect("asked for");
}

#[test]
fn a_wrong_token_is_denied_and_costs_only_its_client() {
    let files = Files::new();
    let secret = files.secret();
    let wrong = files.put("wrong", b"correct horse battery stable\n", 0o600);
    let mut listener = listening(&secret);
    let error = refused(&mut listener, &with(&wrong));
    assert_eq!(error.kind, SetupErrorKind::Denied, "{error}");
    names_the_option(&error);
    let to = listener.address().clone();
    let (mut server, mut client) = meet(&mut listener, &to, &with(&secret));
    send(&mut client.tx, 1, 10);
    expect(&mut server.rx, 1, 10);
}

#[test]
fn a_missing_token_is_denied_whichever_side_lacks_it() {
    let files = Files::new();
    let secret = files.secret();
    let mut guarded = listening(&secret);
    let to = address(&format!("tcp:127.0.0.1:{}", port(&guarded)));
    let error = thread::scope(|scope| {
        let client = scope.spawn(|| Tcp::connect(&to, &TcpOptions::default(), patiently()));
        while !client.is_finished() {
            let answer = guarded.accept(Wait::within(Duration::from_millis(10)));
            assert_eq!(answer.expect_err("nobody is let in").kind, SetupErrorKind::TimedOut);
        }
        client.join().expect("a thread").expect_err("no token")
    });
    assert_eq!(error.kind, SetupErrorKind::Denied, "{error}");
    names_the_option(&error);

    let mut open = Tcp::listen(&address("tcp:127.0.0.1:0"), &TcpOptions::default()).expect("loopback");
    let to = open.address().clone();
    let error = thread::scope(|scope| {
        let client = scope.spawn(|| Tcp::connect(&to, &with(&secret), patiently()));
        // To a listener without a token it looks like a client that leaves at once.
        drop(open.accept(patiently()));
        client.join().expect("a thread").expect_err("the listener proves nothing")
    });
    assert_eq!(error.kind, SetupErrorKind::Denied, "{error}");
    names_the_option(&error);
}

#[test]
fn a_file_that_is_no_secret_is_refused_by_both_sides() {
    let files = Files::new();
    std::fs::create_dir(files.0.path().join("directory")).expect("our own directory");
    let listener = listening(&files.secret());
    let cases = [
        (files.put("short", b"fifteen horses ", 0o600), SetupErrorKind::BadAddress, "16"),
        (files.put("long", &[b'x'; 4097], 0o600), SetupErrorKind::BadAddress, "4096"),
        (files.put("empty", b"", 0o600), SetupErrorKind::BadAddress, "16"),
        (files.put("world", SECRET, 0o604), SetupErrorKind::Denied, "chmod 600"),
        (files.put("group", SECRET, 0o640), SetupErrorKind::Denied, "chmod 600"),
        (files.0.path().join("directory"), SetupErrorKind::BadAddress, "regular file"),
        (files.0.path().join("nowhere"), SetupErrorKind::BadAddress, "cannot be read"),
    ];
    for (path, kind, why) in cases {
        let listening = Tcp::listen(&address("tcp:127.0.0.1:0"), &with(&path)).map(drop);
        let connecting = Tcp::connect(listener.address(), &with(&path), Wait::Never).map(drop);
        for answer in [listening, connecting] {
            let error = answer.expect_err("no secret");
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.to_string().contains(path.to_str().expect("a name")), "{error}");
            names_the_option(&error);
        }
    }
    files.put("shortest", &[b'x'; 16], 0o600);
    files.put("longest", &[b'x'; 4096], 0o600);
    for name in ["shortest", "longest"] {
        listening(&files.0.path().join(name));
    }
}

#[test]
fn a_token_and_raw_framing_exclude_each_other() {
    let files = Files::new();
    let mut options = with(&files.secret());
    options.fill("framing", "raw").expect("an option of tcp");
    for answer in [
        Tcp::listen(&address("tcp:127.0.0.1:0"), &options).map(drop),
        Tcp::connect(&address("tcp:127.0.0.1:1"), &options, Wait::Never).map(drop),
    ] {
        let error = answer.expect_err("raw has no hello to follow");
        assert_eq!(error.kind, SetupErrorKind::BadAddress, "{error}");
        names_the_option(&error);
    }
}

/// A hello as a client of ours with a token says it.
fn hello_of_a_client() -> Hello {
    Hello {
        flags: FLAG_TOKEN,
        layout: Hello::layout_of("tcp stream frame/1"),
        max_message: 1 << 20,
        capacity: 0,
        fingerprint: 0,
        nonce: 1,
        cpus: 1,
        first_cpu: 0,
    }
}

fn knock(listener: &impl Listener) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port(listener))).expect("the listener is there");
    stream.set_read_timeout(Some(ipc_tests::end::PATIENCE)).expect("a time above zero");
    stream
}

#[test]
fn clients_that_say_nothing_or_do_not_prove_make_room_for_others() {
    let files = Files::new();
    let secret = files.secret();
    let mut listener = listening(&secret);
    // As many as a listener talks with at a time: the next is heard when their second is over.
    let silent: Vec<TcpStream> = (0..16)
        .map(|number| {
            let mut stream = knock(&listener);
            if number % 2 == 0 {
                stream.write_all(&hello_of_a_client().encode()).expect("a fresh socket has room");
            }
            stream
        })
        .collect();
    let to = listener.address().clone();
    let (mut server, mut client) = meet(&mut listener, &to, &with(&secret));
    send(&mut client.tx, 1, 10);
    expect(&mut server.rx, 1, 10);
    for (number, mut stream) in silent.into_iter().enumerate() {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("sent away");
        let expected = if number % 2 == 0 { HELLO_LEN } else { 0 };
        assert_eq!(
            heard.len(),
            expected,
            "a hello is answered by a hello, and nothing proves anything before"
        );
    }
}

#[test]
fn a_client_of_a_listener_that_proves_nothing_times_out() {
    let files = Files::new();
    let secret = files.secret();
    let listener = listening(&secret);
    let wait = Wait::within(Duration::from_millis(20));
    let error = Tcp::connect(listener.address(), &with(&secret), wait).expect_err("nobody accepts");
    assert_eq!(error.kind, SetupErrorKind::TimedOut, "{error}");
}

/// Passes `len` bytes on and returns them.
fn pass(from: &mut TcpStream, to: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).expect("the next part of the handshake");
    to.write_all(&bytes).expect("the other side listens");
    bytes
}

#[test]
fn the_secret_never_travels_and_an_overheard_proof_is_none() {
    const PROOF_LEN: usize = 32;
    let files = Files::new();
    let secret = files.secret();
    let mut listener = listening(&secret);
    let middle = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = address(&format!("tcp:{}", middle.local_addr().expect("it is bound")));
    let mut far = knock(&listener);
    let (said, answered) = thread::scope(|scope| {
        let client = scope.spawn(|| Tcp::connect(&to, &with(&secret), patiently()));
        let server = scope.spawn(|| listener.accept(patiently()));
        let (mut near, _) = middle.accept().expect("the client comes");
        let hello = pass(&mut near, &mut far, HELLO_LEN);
        let answer = pass(&mut far, &mut near, HELLO_LEN);
        let said = [hello, pass(&mut near, &mut far, PROOF_LEN)].concat();
        let answered = [answer, pass(&mut far, &mut near, PROOF_LEN)].concat();
        server.join().expect("a thread").expect("the proof is right");
        client.join().expect("a thread").expect("so is the listener's");
        (said, answered)
    });
    for overheard in [&said, &answered] {
        assert!(!overheard.windows(8).any(|part| SECRET.windows(8).any(|secret| part == secret)));
    }

    let mut replayed = knock(&listener);
    replayed.write_all(&said).expect("a fresh socket has room");
    let reader = thread::spawn(move || {
        let mut heard = Vec::new();
        replayed.read_to_end(&mut heard).map(|_| heard)
    });
    while !reader.is_finished() {
        let answer = listener.accept(Wait::within(Duration::from_millis(10)));
        assert_eq!(answer.expect_err("nobody is let in").kind, SetupErrorKind::TimedOut);
    }
    let heard = reader.join().expect("a thread").expect("hung up in order");
    assert_eq!(heard.len(), HELLO_LEN, "our hello, and no proof");
    assert_ne!(heard[..], answered[..HELLO_LEN], "a fresh nonce");
}
