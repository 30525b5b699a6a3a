//! Fences that a loom model can see: the standard ones, or loom's while a model is built (`--cfg loom`).
//!
//! Shared words themselves are reached through [`Backing`](crate::backing::Backing), whose implementors choose their
//! own atomics.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::fence;
pub(crate) use core::sync::atomic::{Ordering, compiler_fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::fence;
