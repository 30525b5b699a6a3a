//! ipc-channel 0.23: its bytes channel, which it recommends for plain bytes (serde would encode them one by one).

use std::io::IoSlice;

use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, bytes_channel};
use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Target, Wait};

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

pub struct IpcChannel;

pub struct Tx(IpcBytesSender);
pub struct Rx(IpcBytesReceiver);

type Ends = (IpcBytesSender, IpcBytesReceiver);

crate::rival!(IpcChannel, "ipc-channel", Tx, Rx);

/// It chooses its own name, which the driver hands to the client.
fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
    let (server, name) = IpcOneShotServer::<Ends>::new().map_err(|error| failed("listen", error))?;
    let accept = move || {
        let (_, (tx, rx)) = server.accept().map_err(|error| failed("accept", error))?;
        Ok((Tx(tx), Rx(rx)))
    };
    Ok((at.with_target(Target::Path(name.into())), Box::new(accept)))
}

fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
    let fail = |error| failed("connect", error);
    let name = path(to)?.to_string_lossy().into_owned();
    let (tx, their_rx) = bytes_channel().map_err(fail)?;
    let (their_tx, rx) = bytes_channel().map_err(fail)?;
    let server = IpcSender::<Ends>::connect(name).map_err(fail)?;
    server.send((their_tx, their_rx)).map_err(|error| failed("connect", error))?;
    Ok((Tx(tx), Rx(rx)))
}

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
        self.0.send(&parts[0]).map_err(send_failed)
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
        *buf = self.0.recv().map_err(|error| recv_failed(format!("{error:?}")))?;
        Ok(buf.len())
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        one_by_one(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
