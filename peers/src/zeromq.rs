//! ZeroMQ 4.3 (libzmq), `ipc://` and `tcp://`, PAIR sockets, one per direction; one I/O thread each, high-water marks as shipped.

use std::io::IoSlice;

use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Wait};
use zmq::{Context, PAIR, Socket};

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

pub use over_ipc::ZeroMq;
pub use over_tcp::ZeroMqTcp;

pub struct Tx(Socket);
pub struct Rx(Socket, zmq::Message);

mod over_ipc {
    use super::*;

    pub struct ZeroMq;

    crate::rival!(ZeroMq, "zeromq", Tx, Rx);

    fn endpoints(address: &Address) -> Result<[String; 2], SetupError> {
        let path = path(address)?;
        Ok(["up", "down"].map(|direction| format!("ipc://{}.{direction}", path.display())))
    }

    fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
        let (_, accept) = bind(&endpoints(at)?)?;
        Ok((at.clone(), accept))
    }

    fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
        super::connect(&endpoints(to)?)
    }
}

mod over_tcp {
    use super::*;

    pub struct ZeroMqTcp;

    crate::rival!(ZeroMqTcp, "zeromq-tcp", Tx, Rx);

    /// The driver gives a path: the ports that the system chose are left there.
    fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
        let (bound, accept) = bind(&["tcp://127.0.0.1:*".to_owned(), "tcp://127.0.0.1:*".to_owned()])?;
        std::fs::write(path(at)?, bound.join("\n")).map_err(|error| failed("listen", error))?;
        Ok((at.clone(), accept))
    }

    fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
        let bound = std::fs::read_to_string(path(to)?).map_err(|error| failed("connect", error))?;
        let (up, down) = bound.split_once('\n').ok_or_else(|| failed("connect", "half a file of ports"))?;
        super::connect(&[up.to_owned(), down.to_owned()])
    }
}

/// Binds both directions; also where they are.
fn bind([up, down]: &[String; 2]) -> Result<([String; 2], Accept<Tx, Rx>), SetupError> {
    let fail = |error| failed("listen", error);
    let context = Context::new();
    let (rx, tx) = (context.socket(PAIR).map_err(fail)?, context.socket(PAIR).map_err(fail)?);
    rx.bind(up).map_err(fail)?;
    tx.bind(down).map_err(fail)?;
    let bound = |socket: &Socket| {
        let name = socket.get_last_endpoint().map_err(fail)?;
        name.map_err(|name| failed("listen", format!("an endpoint that is no text: {name:?}")))
    };
    let bound = [bound(&rx)?, bound(&tx)?];
    let accept = move || {
        // PAIR tells neither side when the other has come: one empty message each way does.
        rx.recv_bytes(0).and_then(|_| tx.send(&[][..], 0)).map_err(|error| failed("accept", error))?;
        Ok((Tx(tx), Rx(rx, zmq::Message::new())))
    };
    Ok((bound, Box::new(accept)))
}

fn connect([up, down]: &[String; 2]) -> Result<(Tx, Rx), SetupError> {
    let fail = |error| failed("connect", error);
    let context = Context::new();
    let (tx, rx) = (context.socket(PAIR).map_err(fail)?, context.socket(PAIR).map_err(fail)?);
    tx.connect(up).map_err(fail)?;
    rx.connect(down).map_err(fail)?;
    tx.send(&[][..], 0).and_then(|()| rx.recv_bytes(0)).map_err(fail)?;
    Ok((Tx(tx), Rx(rx, zmq::Message::new())))
}

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
        self.0.send(&parts[0][..], 0).map_err(send_failed)
    }

    fn max_message(&self) -> usize {
        crate::peer::CAPABILITIES.max_message
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl Receiver for Rx {
    fn recv_with(&mut self, buf: &mut Vec<u8>, _: Wait) -> Result<usize, RecvError> {
        self.0.recv(&mut self.1, 0).map_err(recv_failed)?;
        buf.clear();
        buf.extend_from_slice(&self.1);
        Ok(buf.len())
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        one_by_one(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
