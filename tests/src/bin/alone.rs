//! One check in a process of its own: `alone SCHEME CHECK PEER`, where PEER is the path of the program `peer`.

use ipc_tests::alone::checks;
use ipc_tests::watchdog::{LIMIT, Watchdog};
use ipc_transports::Transport;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scheme, name, peer] = &arguments[..] else {
        panic!("usage: alone SCHEME CHECK PEER, not {arguments:?}")
    };
    // A fork copies the calling thread alone, so that check runs without a second one.
    let _watchdog = (name != "a_forked_child_is_told_so")
        .then(|| Watchdog::within(6 * LIMIT, &format!("{scheme} {name}")));
    let peer: &'static str = peer.clone().leak();
    macro_rules! run {
        ($module:ident: $transport:ty, ""; $($capability:ident)*) => {
            if scheme == <$transport>::NAME {
                let checks = checks::<$transport>();
                let check = checks.iter().find(|(known, _)| known == name);
                return check.unwrap_or_else(|| panic!("no check is called {name}")).1(peer);
            }
        };
        ($($with_options:tt)*) => {};
    }
    ipc_tests::for_each_transport!(run);
    panic!("no transport is called {scheme}");
}
