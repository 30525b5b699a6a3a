//! What a person sees on stderr while trials are made. It moves between trials only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::lists::show_bytes;
use crate::logging;
use crate::plan::{Plan, Step};

/// One line on a terminal, nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    plan: &'a Plan,
    bar: ProgressBar,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(plan: &'a Plan, visible: bool) -> Progress<'a> {
        // Draws nothing when stderr is not a terminal, or when log lines go there.
        let target = if visible && !logging::talks() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(plan.steps.len() as u64), target);
        if let Ok(style) = ProgressStyle::with_template("[{pos:>3}/{len}] {msg}   eta {eta}") {
            bar.set_style(style);
        }
        Progress { plan, bar }
    }

    /// `step` is about to begin.
    pub(crate) fn step(&self, number: usize, step: Step) {
        let message = match step {
            Step::Yardstick(index) => format!("yardstick {}", self.plan.yardsticks[index].name()),
            Step::Ceiling(index) => {
                let point = &self.plan.cells[self.plan.ceilings[index]].point;
                format!("{} {}  what it can carry", point.transport, show_bytes(point.size))
            }
            Step::Trial { cell, index } => {
                let point = &self.plan.cells[cell].point;
                let (transport, mode, size) = (&point.transport, point.mode, show_bytes(point.size));
                format!("{transport} {mode} {size}  trial {}/{}", index + 1, self.plan.trials)
            }
        };
        self.bar.set_message(message);
        self.bar.set_position(number as u64);
        // The bar limits how often it draws; a step that lasts long must not show the one before it.
        self.bar.force_draw();
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
