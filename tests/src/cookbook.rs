//! The pages of `docs/cookbook`, whose examples are compiled and run with the other documentation tests.

#[doc = include_str!("../../docs/cookbook/adding-a-transport.md")]
mod adding_a_transport {}

#[doc = include_str!("../../docs/cookbook/async-and-blocking.md")]
mod async_and_blocking {}

#[doc = include_str!("../../docs/cookbook/crashed-peer.md")]
mod crashed_peer {}

#[doc = include_str!("../../docs/cookbook/from-ipc-channel.md")]
mod from_ipc_channel {}

#[doc = include_str!("../../docs/cookbook/from-rusty-comms.md")]
mod from_rusty_comms {}

#[doc = include_str!("../../docs/cookbook/from-unix-stream.md")]
mod from_unix_stream {}

#[doc = include_str!("../../docs/cookbook/timeouts.md")]
mod timeouts {}

#[doc = include_str!("../../docs/cookbook/tuning.md")]
mod tuning {}

#[doc = include_str!("../../docs/cookbook/which-transport.md")]
mod which_transport {}
