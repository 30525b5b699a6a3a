//! What a benchmark run leaves behind, and every way to read it.
//!
//! ```text
//! Recorder ─► Trial ─► summarise ─► Run ─► write / read ─► Report ─► renderers
//! per trial   plain    medians      the    run.json        every     text
//! histogram   numbers  over trials  file   schema v1       number    …
//! ```
//!
//! The crate is told numbers and gives them back with their uncertainty; it knows nothing of the
//! mechanisms that were measured. A renderer formats what [`Run`] or a report model holds and
//! computes no statistic itself, so every output of one run shows the same numbers.
#![forbid(unsafe_code)]

pub mod arms;
pub mod cell;
pub mod compare;
pub mod doctor;
pub mod environment;
pub mod estimate;
pub mod event;
pub mod export;
pub mod figures;
pub mod file;
pub mod html;
pub mod merge;
pub mod metric;
pub mod policy;
pub mod recorder;
pub mod report;
pub mod run;
pub mod schema;
pub mod statistics;
pub mod summary;
pub mod targets;
pub mod text;
pub mod units;
pub mod verdict;

pub use environment::Environment;
pub use estimate::Estimate;
pub use recorder::Recorder;
pub use run::{Cell, Run, Trial};
pub use summary::{Summary, summarise, summarise_with};
