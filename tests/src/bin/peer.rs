//! The other process of a test: `peer SCHEME ROLE ADDRESS`. ROLE is the name of a sentence, whose far side it plays on a
//! connection to ADDRESS, or one of `listen` (tell the address, serve one client as an echo), `echo-client`, `echo`
//! (connect, and answer until the end), `drain` (tell the address, receive from one client, tell how it ended), `flood` and `sink` (send or receive until killed).

use std::io::IoSlice;

use ipc_tests::end::{Cue, End, Side, expect, message, patiently, send};
use ipc_tests::table::{Sentence, find};
use ipc_tests::watchdog::Watchdog;
use ipc_transports::{Address, Listener, Options, Receiver, Sender, Transport};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scheme, role, address] = &arguments[..] else {
        panic!("usage: peer SCHEME ROLE ADDRESS, not {arguments:?}");
    };
    let _watchdog = Watchdog::over(&format!("peer {scheme} {role}"));
    let address: Address = address.parse().unwrap_or_else(|error| panic!("{error}"));
    if scheme == ipc_transports::broadcast::SCHEME {
        return ipc_tests::broadcast::play(role, &address);
    }
    // Several lines may share a scheme and differ in options; those came with the address.
    macro_rules! serve {
        ($module:ident: $transport:ty, $options:literal; $($capability:ident)*) => {
            if scheme == <$transport>::NAME {
                let mut table = ipc_tests::table!($transport; always death $($capability)*);
                $(ipc_tests::death_sentences!($capability, ipc_tests::table_rows, (table, $transport));)*
                return play::<$transport>(&table, role, &address);
            }
        };
    }
    ipc_tests::for_each_transport!(serve);
    panic!("no transport is called {scheme}");
}

fn play<T: Transport>(table: &[Sentence<T>], role: &str, address: &Address) {
    let cue = Cue::over(std::io::stdin(), std::io::stdout());
    match role {
        "listen" => serve_one::<T>(address, cue),
        "drain" => drain::<T>(address, cue),
        "echo-client" => call_the_echo::<T>(address),
        "flood" => flood::<T>(address),
        "sink" => sink::<T>(address),
        "echo" => echo::<T>(address),
        name => {
            let sentence = find(table, name).unwrap_or_else(|| panic!("no sentence is called {name}"));
            let connection = T::connect(address, &T::Options::default(), patiently());
            sentence(End::new(Side::Far, connection.unwrap_or_else(|error| panic!("{error}")), cue));
        }
    }
}

fn serve_one<T: Transport>(address: &Address, mut cue: Cue) {
    let options = T::Options::default().resolved(address).unwrap_or_else(|error| panic!("{error}"));
    let mut listener = T::listen(address, &options).unwrap_or_else(|error| panic!("{error}"));
    cue.tell(listener.address());
    let mut connection = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
    let mut buf = Vec::new();
    while connection.rx.recv_with(&mut buf, patiently()).is_ok() {
        connection.tx.send(&buf).expect("the client receives");
    }
}

fn drain<T: Transport>(address: &Address, mut cue: Cue) {
    let options = T::Options::default().resolved(address).unwrap_or_else(|error| panic!("{error}"));
    let mut listener = T::listen(address, &options).unwrap_or_else(|error| panic!("{error}"));
    cue.tell(listener.address());
    let mut connection = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
    let mut buf = Vec::new();
    connection.rx.recv_with(&mut buf, patiently()).expect("the client sends");
    cue.tell("the first message");
    loop {
        if let Err(error) = connection.rx.recv_with(&mut buf, patiently()) {
            return cue.tell(error);
        }
    }
}

fn call_the_echo<T: Transport>(address: &Address) {
    let connection = T::connect(address, &T::Options::default(), patiently());
    let mut connection = connection.unwrap_or_else(|error| panic!("{error}"));
    for round in 0..50 {
        let number = u64::from(std::process::id()) << 32 | round;
        send(&mut connection.tx, number, 64);
        expect(&mut connection.rx, number, 64);
    }
}

fn echo<T: Transport>(address: &Address) {
    let connection = T::connect(address, &T::Options::default(), patiently());
    let mut connection = connection.unwrap_or_else(|error| panic!("{error}"));
    let mut buf = Vec::with_capacity(8192);
    while connection.rx.recv(&mut buf).is_ok() {
        connection.tx.send(&buf).expect("the caller receives");
    }
}

/// Messages of the greatest length, alike but for the number in front: a sender that does nothing but copy.
fn flood<T: Transport>(address: &Address) {
    let connection = T::connect(address, &T::Options::default(), patiently());
    let mut tx = connection.unwrap_or_else(|error| panic!("{error}")).tx;
    let mut bytes = message(0, tx.max_message());
    for number in 0u64.. {
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        tx.send_with(&[IoSlice::new(&bytes)], patiently()).expect("the other side receives");
    }
}

fn sink<T: Transport>(address: &Address) {
    let connection = T::connect(address, &T::Options::default(), patiently());
    let mut rx = connection.unwrap_or_else(|error| panic!("{error}")).rx;
    let mut buf = Vec::new();
    while rx.recv_with(&mut buf, patiently()).is_ok() {}
}
