//! Message transports between processes on one Linux machine, behind the one blocking contract of [`ipc_core`], which
//! this crate re-exports: a blocking user names one crate.
//!
//! Linux 5.15 or newer on x86-64 or aarch64.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("ipc-transports needs 64-bit little-endian Linux (x86-64 or aarch64)");

pub use ipc_core::*;

mod any;
mod atomics;
mod backing;
mod bell;
pub mod broadcast;
mod condvar;
mod control;
mod directory;
mod doorbell;
mod errno;
mod eventfd;
#[cfg(not(any(test, feature = "__fault-points")))]
mod fault;
#[cfg(any(test, feature = "__fault-points"))]
#[doc(hidden)]
pub mod fault;
mod features;
mod fork;
mod frames;
#[cfg(any(test, fuzzing, feature = "__fault-points"))]
#[doc(hidden)]
pub mod fuzz;
mod half;
mod handshake;
mod inproc;
mod lent;
mod memory;
#[cfg(all(test, loom))]
mod model;
mod mqueue;
mod passing;
mod peer;
mod pipe;
mod places;
mod pollset;
mod rendezvous;
mod ring;
mod ring_setup;
mod robust_mutex;
mod seqpacket;
mod shm;
mod shm_direct;
mod sigpipe;
mod slot;
mod socket;
mod stream;
mod tcp;
mod token;
mod uds;
mod wait_set;
mod waiting;

pub use any::{
    AnyConnection, AnyListener, AnyMessage, AnyReceiver, AnySender, SCHEMES, capabilities, connect, listen,
};
pub use features::{DENY_VARIABLE, feature_list};
pub use handshake::Opening;
pub use inproc::{InProc, InProcListener};
pub use mqueue::{Mq, MqListener, MqOptions, MqReceiver, MqSender, Order};
pub use passing::MAX_DESCRIPTORS;
pub use pipe::{Pipe, PipeEnd, PipeListener, PipeOptions, PipeReceiver, PipeSender};
pub use seqpacket::{UdsSeqpacketReceiver, UdsSeqpacketSender};
pub use shm::{Shm, ShmListener, ShmLoan, ShmMessage, ShmOptions, ShmReceiver, ShmSender, Trust};
pub use shm_direct::{ShmDirect, ShmDirectListener, ShmDirectOptions, ShmDirectReceiver, ShmDirectSender};
pub use slot::Lock;
pub use socket::Socket;
pub use stream::{StreamReceiver, StreamSender};
pub use tcp::{Open, Tcp, TcpListener, TcpOptions, TcpReceiver, TcpSender};
pub use uds::{
    Uds, UdsListener, UdsOptions, UdsReceiver, UdsSender, UdsSeqpacket, UdsSeqpacketListener, UnixListener,
};
pub use wait_set::WaitSet;
