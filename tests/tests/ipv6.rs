//! TCP over IPv6 keeps the contract that it keeps over IPv4.

use std::thread;
use std::time::Duration;

use ipc_tests::end::{Cue, End, Side, patiently};
use ipc_tests::watchdog::Watchdog;
use ipc_transports::{Address, Listener, Target, Tcp, TcpOptions, Transport};

#[test]
fn the_contract_holds_over_ipv6() {
    let _watchdog = Watchdog::within(Duration::from_secs(60), "the contract over ipv6");
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        println!("skipped: this machine has no IPv6 loopback: {error}");
        return;
    }
    let at: Address = "tcp:[::1]:0".parse().expect("an address");
    let mut listener = Tcp::listen(&at, &TcpOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        matches!(listener.address().target(), Target::Inet(found) if found.is_ipv6() && found.port() != 0)
    );
    for (name, sentence) in ipc_tests::table!(Tcp; always peek pollable) {
        println!("{name}");
        let to = listener.address().clone();
        let (near_cue, far_cue) = Cue::pair();
        thread::scope(|scope| {
            scope.spawn(move || {
                let far = Tcp::connect(&to, &TcpOptions::default(), patiently());
                sentence(End::new(Side::Far, far.unwrap_or_else(|error| panic!("{error}")), far_cue));
            });
            let near = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
            sentence(End::new(Side::Near, near, near_cue));
        });
    }
}
