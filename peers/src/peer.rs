//! What every rival needs to stand in for a transport: no options, a pair of blocking halves, errors carried over.

use std::io;
use std::path::PathBuf;

use ipc_core::{
    Address, Capabilities, Connection, Listener, OptionError, Options, PeerInfo, Receiver, RecvError,
    SendError, Sender, SetupError, SetupErrorKind, Target, Wait,
};

/// A rival has no options of ours.
#[derive(Clone, Debug, Default)]
pub struct NoOptions;

impl Options for NoOptions {
    fn fill(&mut self, key: &str, _: &str) -> Result<(), OptionError> {
        Err(OptionError::unknown(key, &[]))
    }
}

/// A listener that is accepted from once.
pub struct Once<F> {
    pub address: Address,
    pub accept: Option<F>,
}

impl<Tx: Sender, Rx: Receiver, F> Listener for Once<F>
where
    F: FnOnce() -> Result<(Tx, Rx), SetupError> + Send,
{
    type Tx = Tx;
    type Rx = Rx;

    fn accept(&mut self, _: Wait) -> Result<Connection<Tx, Rx>, SetupError> {
        let accept = self.accept.take().ok_or_else(|| failed("accept on", "a rival accepts one client"))?;
        let (tx, rx) = accept()?;
        Ok(connection(tx, rx))
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

pub type Accept<Tx, Rx> = Box<dyn FnOnce() -> Result<(Tx, Rx), SetupError> + Send>;

pub fn connection<Tx, Rx>(tx: Tx, rx: Rx) -> Connection<Tx, Rx> {
    Connection::new(tx, rx, PeerInfo::default(), Vec::new())
}

/// The path in `address`: the driver gives one per trial.
pub fn path(address: &Address) -> Result<PathBuf, SetupError> {
    match address.target() {
        Target::Path(path) => Ok(path.clone()),
        _ => Err(failed("use", "a rival's address is a path")),
    }
}

pub fn failed(op: &'static str, why: impl std::fmt::Display) -> SetupError {
    SetupError::new(SetupErrorKind::Io, op, "rival").because(io::Error::other(why.to_string()))
}

pub fn send_failed(error: impl std::fmt::Display) -> SendError {
    SendError::Io(io::Error::other(error.to_string()))
}

pub fn recv_failed(error: impl std::fmt::Display) -> RecvError {
    RecvError::Io(io::Error::other(error.to_string()))
}

pub const CAPABILITIES: Capabilities = Capabilities {
    max_clients: Some(1),
    max_message: 16 << 20,
    loan: false,
    peek: false,
    pollable: false,
    priorities: 1,
};

/// `recv_each` for a rival that receives one message per call, and can only block: it never asks for a second.
pub fn one_by_one(
    receiver: &mut impl Receiver,
    limit: usize,
    wait: Wait,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, RecvError> {
    if limit == 0 {
        return Ok(0);
    }
    let mut buf = Vec::new();
    receiver.recv_with(&mut buf, wait)?;
    each(&buf);
    Ok(1)
}

/// Implements `ipc_core::Transport` for `$transport` over a pair of blocking halves.
#[macro_export]
macro_rules! rival {
    ($transport:ident, $name:literal, $tx:ty, $rx:ty) => {
        impl ipc_core::Transport for $transport {
            const NAME: &'static str = $name;
            type Options = $crate::peer::NoOptions;
            type Tx = $tx;
            type Rx = $rx;
            type Listener = $crate::peer::Once<$crate::peer::Accept<$tx, $rx>>;

            fn listen(
                at: &ipc_core::Address,
                _: &Self::Options,
            ) -> Result<Self::Listener, ipc_core::SetupError> {
                let (address, accept) = listen(at)?;
                Ok($crate::peer::Once { address, accept: Some(accept) })
            }

            fn connect(
                to: &ipc_core::Address,
                _: &Self::Options,
                _: ipc_core::Wait,
            ) -> Result<ipc_core::Connection<$tx, $rx>, ipc_core::SetupError> {
                let (tx, rx) = connect(to)?;
                Ok($crate::peer::connection(tx, rx))
            }

            fn pair(_: &Self::Options) -> Result<ipc_core::Pair<Self>, ipc_core::SetupError> {
                Err($crate::peer::failed("pair", "a rival is measured between processes only"))
            }

            fn capabilities() -> ipc_core::Capabilities {
                $crate::peer::CAPABILITIES
            }
        }
    };
}
