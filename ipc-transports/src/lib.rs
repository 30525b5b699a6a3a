//! Message transports between processes on one Linux machine.
pub use ipc_core::*;
