//! tokio `UnixStream` on a current-thread runtime (the faster flavour for one connection): one vectored write per
//! message, buffered reads. Entering the runtime per call costs some tens of nanoseconds beside its wake-ups.

use std::io::IoSlice;
use std::sync::Arc;

use ipc_core::{Address, Receiver, RecvError, SendError, Sender, SetupError, Stats, Wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};

use crate::peer::{Accept, failed, one_by_one, path, recv_failed, send_failed};

pub struct TokioUds;

pub struct Tx(Arc<Runtime>, OwnedWriteHalf);
pub struct Rx(Arc<Runtime>, BufReader<OwnedReadHalf>);

crate::rival!(TokioUds, "tokio-uds", Tx, Rx);

fn runtime() -> Result<Arc<Runtime>, SetupError> {
    Builder::new_current_thread()
        .enable_io()
        .build()
        .map(Arc::new)
        .map_err(|error| failed("start tokio", error))
}

fn halves(runtime: Arc<Runtime>, stream: UnixStream) -> (Tx, Rx) {
    let (rx, tx) = stream.into_split();
    (Tx(runtime.clone(), tx), Rx(runtime, BufReader::with_capacity(64 << 10, rx)))
}

fn listen(at: &Address) -> Result<(Address, Accept<Tx, Rx>), SetupError> {
    let (runtime, path) = (runtime()?, path(at)?);
    let listener =
        runtime.block_on(async { UnixListener::bind(path) }).map_err(|error| failed("listen", error))?;
    let accept = move || {
        let (stream, _) = runtime.block_on(listener.accept()).map_err(|error| failed("accept", error))?;
        Ok(halves(runtime, stream))
    };
    Ok((at.clone(), Box::new(accept)))
}

fn connect(to: &Address) -> Result<(Tx, Rx), SetupError> {
    let (runtime, path) = (runtime()?, path(to)?);
    let stream = runtime.block_on(UnixStream::connect(path)).map_err(|error| failed("connect", error))?;
    Ok(halves(runtime, stream))
}

impl Sender for Tx {
    fn send_with(&mut self, parts: &[IoSlice<'_>], _: Wait) -> Result<(), SendError> {
        let header = (parts[0].len() as u32).to_le_bytes();
        let Tx(runtime, stream) = self;
        runtime
            .block_on(async {
                let mut written = stream.write_vectored(&[IoSlice::new(&header), parts[0]]).await?;
                while written < header.len() {
                    written += stream.write(&header[written..]).await?;
                }
                stream.write_all(&parts[0][written - header.len()..]).await
            })
            .map_err(send_failed)
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
        let Rx(runtime, stream) = self;
        runtime
            .block_on(async {
                let len = stream.read_u32_le().await? as usize;
                buf.resize(len, 0);
                stream.read_exact(buf).await
            })
            .map_err(recv_failed)
    }

    fn recv_each<F: FnMut(&[u8])>(&mut self, limit: usize, wait: Wait, each: F) -> Result<usize, RecvError> {
        one_by_one(self, limit, wait, each)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
