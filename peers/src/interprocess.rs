//! interprocess 2.4 local sockets: blocking stream, header and payload in one vectored write, buffered reads.

use std::io::{BufReader, IoSlice, Read, Write};
use std::sync::Arc;

use interprocess::local_socket::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Stream};
use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Wait};

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

pub struct Interprocess;

pub struct Tx(Arc<Stream>);
/// `&Stream` reads, which is how interprocess shares one between two halves.
struct SharedStream(Arc<Stream>);

impl Read for SharedStream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        (&*self.0).read(buf)
    }
}

pub struct Rx(BufReader<SharedStream>);

crate::rival!(Interprocess, "interprocess", Tx, Rx);

fn halves(stream: Stream) -> (Tx, Rx) {
    let stream = Arc::new(stream);
    (Tx(stream.clone()), Rx(BufReader::with_capacity(64 << 10, SharedStream(stream))))
}

fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
    let name = path(at)?.to_fs_name::<GenericFilePath>().map_err(|error| failed("listen", error))?;
    let listener =
        ListenerOptions::new().name(name).create_sync().map_err(|error| failed("listen", error))?;
    let accept = move || listener.accept().map(halves).map_err(|error| failed("accept", error));
    Ok((at.clone(), Box::new(accept)))
}

fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
    let name = path(to)?.to_fs_name::<GenericFilePath>().map_err(|error| failed("connect", error))?;
    Stream::connect(name).map(halves).map_err(|error| failed("connect", error))
}

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let header = (len as u32).to_le_bytes();
        let mut written =
            (&*self.0).write_vectored(&[IoSlice::new(&header), parts[0]]).map_err(send_failed)?;
        while written < header.len() {
            written += (&*self.0).write(&header[written..]).map_err(send_failed)?;
        }
        (&*self.0).write_all(&parts[0][written - header.len()..]).map_err(send_failed)
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
        let mut header = [0; 4];
        self.0.read_exact(&mut header).map_err(recv_failed)?;
        let len = u32::from_le_bytes(header) as usize;
        buf.resize(len, 0);
        self.0.read_exact(buf).map_err(recv_failed)?;
        Ok(len)
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        one_by_one(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
