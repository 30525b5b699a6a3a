//! Futures over the halves of any transport: the same code as the blocking calls, waiting for readiness in between.
//!
//! Every operation is *try* (with [`Wait::Never`](ipc_core::Wait::Never)) → *arm* → await readiness → *disarm* → *try*. The futures need a
//! [`Reactor`] and no runtime: drive it yourself with [`Reactor::block_on`], or let a [`ReactorThread`] drive it and
//! await the futures under any executor.
//!
//! ```
//! use ipc_async::Reactor;
//! use ipc_transports::{Transport, Uds, UdsOptions};
//!
//! let mut reactor = Reactor::new()?;
//! let handle = reactor.handle();
//! let (one, other) = Uds::pair(&UdsOptions::default())?;
//! let (mut one, mut other) = (handle.attach(one), handle.attach(other));
//! reactor.block_on(async {
//!     one.tx.send(b"hello").await?;
//!     let mut message = Vec::new();
//!     other.rx.recv(&mut message).await?;
//!     assert_eq!(message, b"hello");
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Cancellation.** Dropping a future never loses, repeats or tears a message: what a half has begun stays in the half,
//! not in the future. Each method says what a dropped future has done.
#![forbid(unsafe_code)]

mod connect;
mod half;
mod listener;
mod reactor;
mod receiver;
mod sender;
mod table;
mod timer;

pub use connect::Connect;
pub use listener::{Accept, AsyncListener};
pub use reactor::{Handle, Reactor, ReactorThread};
pub use receiver::{AsyncReceiver, Recv};
pub use sender::AsyncSender;
pub use timer::{Sleep, TimedOut, Timeout};
