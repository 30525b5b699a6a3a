//! The two sides of an `ab`, told apart by a dimension of their cells.

use std::fmt;

/// What differs between the cells of one side and their twins on the other, beside their settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arm {
    pub(crate) side: Side,
    /// Words that start its workers; `None` for this very program.
    pub(crate) program: Option<Vec<String>>,
    /// How long its receivers hold every message back.
    pub(crate) hold: Hold,
}

/// A delay that is put into one side on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hold {
    /// Nanoseconds; 0 for none.
    Time(u64),
    /// A share of what a message took in the latest trial of the other side.
    Share(f64),
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
