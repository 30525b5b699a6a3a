//! `framing=raw`: a foreign program at the other end, which knows frames but no hello.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use ipc_transports::{Address, Listener, Receiver, Sender, Target, Tcp, TcpOptions, Transport, Wait};

const HELLO: [u8; 9] = *b"\x05\0\0\0hello";

#[test]
fn a_foreign_echo_server_is_talked_to_without_a_hello() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inet = listener.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = [0; HELLO.len()];
        socket.read_exact(&mut bytes).unwrap();
        socket.write_all(&bytes).unwrap();
        bytes
    });
    let to = Address::new("tcp", Target::Inet(inet)).unwrap().with_option("framing", "raw").unwrap();
    let mut connection = Tcp::connect(&to, &TcpOptions::default(), Wait::Forever).unwrap();
    connection.tx.send(b"hello").unwrap();
    let mut message = Vec::new();
    connection.rx.recv(&mut message).unwrap();
    assert_eq!(message, b"hello");
    assert_eq!(echo.join().unwrap(), HELLO, "the first bytes are a frame");
}

#[test]
fn a_foreign_client_is_accepted_without_a_hello() {
    let at = "tcp:127.0.0.1:0?framing=raw".parse().unwrap();
    let mut listener = Tcp::listen(&at, &TcpOptions::default()).unwrap();
    let Target::Inet(inet) = *listener.address().target() else { panic!("{}", listener.address()) };
    let mut client = TcpStream::connect(inet).unwrap();
    let mut connection = listener.accept(Wait::Forever).unwrap();
    client.write_all(&HELLO).unwrap();
    let mut message = Vec::new();
    connection.rx.recv(&mut message).unwrap();
    connection.tx.send(&message).unwrap();
    let mut bytes = [0; HELLO.len()];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, HELLO);
}
