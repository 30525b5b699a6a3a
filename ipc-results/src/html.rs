//! The report as one HTML file: no network, readable with scripts off, light and dark, printable.
//!
//! The page carries its run: [`embedded_run`] reads it back, so that a report can stand wherever a run file can.

mod answer;
mod awaiting;
mod axis;
mod charts;
mod compare;
mod cost;
mod details;
mod heat;
mod measures;
mod page;
mod plot;
mod strip;

mod validity;

use std::fmt;

pub use compare::comparison;

use crate::cell::Cell;
use crate::file;
use crate::report::Report;
use crate::run::Run;

use page::Page;

/// What the page cannot know by itself.
pub struct Options<'a> {
    /// The command that measures a cell again.
    pub repro: &'a dyn Fn(&Cell) -> String,
    /// How to use what a cell measured; `None` where there is nothing to say.
    pub recipe: &'a dyn Fn(&Cell) -> Option<Recipe>,
}

/// How to use a transport as a cell measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its address with options.
    pub address: String,
    /// A few lines of code around that address.
    pub code: String,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

/// The report of one run.
pub fn run(report: &Report<'_>, options: &Options<'_>) -> String {
    let mut page = Page::new();
    answer::answer(&mut page, report, options);
    validity::validity(&mut page, report);
    heat::heat_maps(&mut page, report);
    charts::percentiles(&mut page, report);
    strip::trials(&mut page, report);
    charts::scaling(&mut page, report);
    charts::load(&mut page, report);
    charts::timeline(&mut page, report);
    cost::cost(&mut page, report);
    awaiting::awaiting(&mut page, report);
    measures::measures(&mut page, report);
    details::gains(&mut page, report);
    details::settings(&mut page, report);
    details::environment(&mut page, report.run);
    details::method(&mut page, report);
    details::cells(&mut page, report, options);
    page.finish(report)
}

/// The run inside a report; `None` when the page holds none.
///
/// # Errors
/// As [`file::from_json`], when it holds one that cannot be read.
pub fn embedded_run(html: &str) -> Option<Result<Run, String>> {
    let (_, rest) = html.split_once(page::DATA_START)?;
    let (json, _) = rest.split_once("</script>")?;
    Some(file::from_json(json))
}
