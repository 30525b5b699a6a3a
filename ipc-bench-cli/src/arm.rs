//! The two sides of an `ab`, told apart by a dimension of their cells.

use std::fmt;

/// What differs between the cells of one side and their twins on the other, beside their settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) side: Side,
    /// Words that start its workers; `None` for this very program.
    pub(crate) program: Option<Vec<String>>,
    /// How long its receivers hold every message back, in nanoseconds.
    pub(crate) hold_ns: u64,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

/// The value of the dimension `arm`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::A => "a",
            Side::B => "b",
        })
    }
}
