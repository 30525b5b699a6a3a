//! What a child knows of its supervisor, for the report of its crash.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::window::Window;
use crate::cell::AnyAddr;

/// What is known of one incarnation of a supervisor outside of its turns.
pub(crate) struct Post {
    /// Names from the root to the supervisor, separated by `/`.
    pub(crate) path: Arc<str>,
    pub(super) window: Mutex<Window>,
}

impl Post {
    pub(super) fn new(path: Arc<str>, window: Window) -> Arc<Post> {
        Arc::new(Post { path, window: Mutex::new(window) })
    }

    /// Restarts that the intensity allows at `now`.
    pub(crate) fn restarts_left(&self, now: Duration) -> u32 {
        self.window.lock().left(now)
    }
}

/// Who supervises an actor, and as whom.
pub(crate) struct Parent {
    pub(crate) addr: AnyAddr,
    pub(crate) post: Arc<Post>,
    /// The actor's id there.
    pub(crate) child: Arc<str>,
}
