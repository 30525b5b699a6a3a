//! Measuring your own transport beside ours: here Unix sockets whose bytes are inverted, in place of your encryption.
//! `own_transport run -t veiled,uds --mode rtt -s 64` prints both rows.
mod halves;

use std::process::ExitCode;

use halves::{Rx, Tx};
use ipc_transports::{
    Address, Capabilities, Connection, Listener, Pair, SetupError, Transport, Uds, UdsListener, UdsOptions,
    UdsReceiver, UdsSender, Wait,
};

struct Veiled;
struct Door(UdsListener);

fn veil(connection: Connection<UdsSender, UdsReceiver>) -> Connection<Tx, Rx> {
    connection.map(|tx| Tx(tx, Vec::new()), Rx)
}

impl Listener for Door {
    type Tx = Tx;
    type Rx = Rx;
    fn accept(&mut self, wait: Wait) -> Result<Connection<Tx, Rx>, SetupError> {
        self.0.accept(wait).map(veil)
    }
    fn address(&self) -> &Address {
        self.0.address()
    }
}

impl Transport for Veiled {
    const NAME: &'static str = "veiled";
    type Options = UdsOptions;
    type Tx = Tx;
    type Rx = Rx;
    type Listener = Door;
    fn listen(at: &Address, options: &UdsOptions) -> Result<Door, SetupError> {
        Uds::listen(at, options).map(Door)
    }
    fn connect(to: &Address, options: &UdsOptions, wait: Wait) -> Result<Connection<Tx, Rx>, SetupError> {
        Uds::connect(to, options, wait).map(veil)
    }
    fn pair(options: &UdsOptions) -> Result<Pair<Veiled>, SetupError> {
        Uds::pair(options).map(|(near, far)| (veil(near), veil(far)))
    }
    fn capabilities() -> Capabilities {
        Capabilities { loan: false, peek: false, pollable: false, ..Uds::capabilities() }
    }
}

fn main() -> ExitCode {
    ipc_bench::Bench::default().with::<Veiled>().main()
}
