//! What is built on actors: pools, the broker, throttling, events, snapshots. On the simulator and on threads.
#![allow(unreachable_pub, missing_debug_implementations, reason = "a test program")]

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod kit;
mod pools;
mod pressure;
mod watching;
