//! The supervision suite: what supervisors promise, on the simulator and on threads. In the spirit of
//! `supervisor_SUITE` of Erlang/OTP; the cases are our own code.
#![allow(unreachable_pub, missing_debug_implementations, reason = "a test program")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

#[path = "../support/mod.rs"]
mod support;

mod additions;
mod admin;
mod kit;
mod matrix;
mod reports;
mod restarts;
mod robustness;
mod significant;
mod start;
mod stop;
mod strategies;
