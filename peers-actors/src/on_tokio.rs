//! The runtime that four of the libraries run on.

use tokio::runtime::{Builder, Runtime};

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}
