//! ZeroMQ 4.3 (libzmq), `ipc://`, PAIR sockets, one per direction; one I/O thread each, high-water marks as shipped.

use std::io::IoSlice;

use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Wait};
use zmq::{Context, PAIR, Socket};

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

pub struct ZeroMq;

pub struct Tx(Socket);
pub struct Rx(Socket, zmq::Message);

crate::rival!(ZeroMq, "zeromq", Tx, Rx);

fn endpoints(address: &Address) -> Result<[String; 2], SetupError> {
    let path = path(address)?;
    Ok(["up", "down"].map(|direction| format!("ipc://{}.{direction}", path.display())))
}

fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
    let fail = |error| failed("listen", error);
    let context = Context::new();
    let (rx, tx) = (context.socket(PAIR).map_err(fail)?, context.socket(PAIR).map_err(fail)?);
    let [up, down] = endpoints(at)?;
    rx.bind(&up).map_err(fail)?;
    tx.bind(&down).map_err(fail)?;
    let accept = move || {
        // PAIR tells neither side when the other has come: one empty message each way does.
        rx.recv_bytes(0).and_then(|_| tx.send(&[][..], 0)).map_err(|error| failed("accept", error))?;
        Ok((Tx(tx), Rx(rx, zmq::Message::new())))
    };
    Ok((at.clone(), Box::new(accept)))
}

fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
    let fail = |error| failed("connect", error);
    let context = Context::new();
    let (tx, rx) = (context.socket(PAIR).map_err(fail)?, context.socket(PAIR).map_err(fail)?);
    let [up, down] = endpoints(to)?;
    tx.connect(&up).map_err(fail)?;
    rx.connect(&down).map_err(fail)?;
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
