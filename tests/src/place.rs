//! Where the listeners of one test live: a directory of its own, gone with the test.

use std::path::Path;

use ipc_transports::{Address, Target, Transport};
use tempfile::TempDir;

use crate::end::Random;
use crate::peer::Peer;

/// A fresh directory, and the program that plays the other processes.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    program: Option<&'static Path>,
}

impl Place {
    /// A fresh place; `program` is the path of the binary `peer`, where there is one.
    pub fn new(program: Option<&'static Path>) -> Place {
        // Short, so that a socket address has room for the rest.
        let directory = tempfile::Builder::new().prefix("it-").tempdir().expect("a temporary directory");
        Place { directory, program }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Names of the files in the directory.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory()).expect("our own directory");
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// An address to listen at: a path here, a port of the system's choice, or for the double a name.
    pub fn address<T: Transport>(&self) -> Address {
        let target = match T::NAME {
            "tcp" => Target::Inet(([127, 0, 0, 1], 0).into()),
            "double" => Target::Name(format!("{:016x}", Random::seed())),
            _ => Target::Path(self.directory().join("s")),
        };
        Address::new(T::NAME, target).expect("a temporary directory can be written as an address")
    }

    /// An address where nobody listens: for tcp a port that was free a moment ago.
    pub fn free_address<T: Transport>(&self) -> Address {
        let address = self.address::<T>();
        match address.target() {
            Target::Inet(any) => {
                let free = std::net::TcpListener::bind(any).and_then(|socket| socket.local_addr());
                address.with_target(Target::Inet(free.expect("a free port")))
            }
            _ => address,
        }
    }

    /// Starts the other process in `role` at `address`.
    pub fn spawn<T: Transport>(&self, role: &str, address: &str) -> Peer {
        Peer::spawn(self.program.expect("this test has a program for its peers"), &[T::NAME, role, address])
    }

    /// The address a peer tells as its cue.
    pub fn heard_address(&self, peer: &mut Peer) -> Address {
        let told = peer.cue.as_mut().expect("the cue was not taken").hear();
        told.parse().unwrap_or_else(|error| panic!("{error}"))
    }
}
