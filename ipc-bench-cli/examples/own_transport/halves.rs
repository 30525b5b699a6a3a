//! The two halves of a connection: what a message goes through on its way.
use std::io::IoSlice;

use ipc_transports::{Receiver, RecvError, SendError, Sender, Stats, UdsReceiver, UdsSender, Wait};

pub(crate) struct Tx(pub(crate) UdsSender, pub(crate) Vec<u8>);
pub(crate) struct Rx(pub(crate) UdsReceiver);

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        self.1.clear();
        self.1.extend(parts.iter().flat_map(|part| part.iter().map(|byte| !byte)));
        self.0.send_with(&[IoSlice::new(&self.1)], wait)
    }

    fn max_message(&self) -> usize {
        self.0.max_message()
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl Receiver for Rx {
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        let len = self.0.recv_with(buf, wait)?;
        buf.iter_mut().for_each(|byte| *byte = !*byte);
        Ok(len)
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, n: usize, wait: Wait, mut each: F) -> Result<usize, RecvError> {
        self.0.recv_each(n, wait, |message| each(&message.iter().map(|byte| !byte).collect::<Vec<u8>>()))
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }
}
