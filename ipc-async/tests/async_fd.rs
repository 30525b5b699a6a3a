//! The reverse: a transport inside a runtime's own reactor, without ours. Tokio's `AsyncFd` watches the half's descriptor
//! and the half is tried as always.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::os::fd::OwnedFd;

use ipc_core::{Armed, Pollable, Receiver, RecvError, Sender, Transport};
use ipc_transports::{Shm, Uds};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A receiver whose descriptor tokio watches, through a duplicate that tokio may own.
struct InTokio<R> {
    rx: R,
    fd: Option<AsyncFd<OwnedFd>>,
}

impl<R: Receiver + Pollable> InTokio<R> {
    #[allow(deprecated, reason = "sound for an OwnedFd; what replaces it is an unsafe function")]
    async fn recv(&mut self, message: &mut Vec<u8>) -> Result<usize, RecvError> {
        loop {
            match self.rx.try_recv(message) {
                Err(RecvError::Empty) => {}
                done => return done,
            }
            if self.rx.arm().map_err(RecvError::Io)? == Armed::MaySleep {
                let fd = match &mut self.fd {
                    Some(fd) => fd,
                    none => {
                        let own = self.rx.fd().try_clone_to_owned().map_err(RecvError::Io)?;
                        none.insert(AsyncFd::with_interest(own, Interest::READABLE).map_err(RecvError::Io)?)
                    }
                };
                let mut guard = fd.readable().await.map_err(RecvError::Io)?;
                // Tokio watches edges. The half was empty before this one, so whatever it stands for is found by the
                // next try, and what comes after the clear is an edge of its own.
                guard.clear_ready();
            }
            self.rx.disarm();
        }
    }
}

fn inside_tokio<T: Transport<Tx: Pollable, Rx: Pollable>>() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let (near, mut far) = T::pair(&Default::default()).unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..1000u32 {
            far.tx.send(&n.to_le_bytes()).unwrap();
            if n % 10 == 0 {
                std::thread::yield_now();
            }
        }
        far
    });
    runtime.block_on(async {
        let (mut rx, mut message) = (InTokio { rx: near.rx, fd: None }, Vec::new());
        for n in 0..1000u32 {
            rx.recv(&mut message).await.unwrap();
            assert_eq!(message, n.to_le_bytes());
        }
    });
    sender.join().unwrap();
}

#[test]
fn tokios_async_fd_watches_a_socket() {
    inside_tokio::<Uds>();
}

#[test]
fn tokios_async_fd_watches_shared_memory() {
    inside_tokio::<Shm>();
}
