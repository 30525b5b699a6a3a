//! The console tables: what a person reads when a run ends.

mod compare;
mod counters;
mod gains;
mod grid;
mod lines;
mod load;
mod measures;
mod percentiles;
mod ranking;
mod tables;
mod targets;

pub use compare::{comparison, comparisons, gate};
pub use lines::{machine, yardsticks};
pub use targets::targets;

use crate::report::Report;
use crate::units::Charset;

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Which characters may appear.
    pub charset: Charset,
    /// Whether headings are bold and notes dim, by ANSI escapes.
    pub color: bool,
    /// Columns of the terminal; tables that are wider continue below.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { charset: Charset::Unicode, color: false, width: 99 }
    }
}

/// The report as text: tables, summary, warnings and notes, each ending in a newline.
///
/// What precedes it (plan, machine) and follows it (where it was saved) is the caller's.
pub fn render(report: &Report<'_>, style: &Style) -> String {
    let mut page = Page { style: *style, text: String::new() };
    for table in &report.tables {
        tables::table(&mut page, report, table);
    }
    percentiles::percentiles(&mut page, report);
    load::load(&mut page, report);
    counters::counters(&mut page, report);
    measures::measures(&mut page, report);
    if let Some(ranking) = &report.ranking {
        ranking::ranking(&mut page, report, ranking);
    }
    gains::gains(&mut page, report);
    lines::failures(&mut page, report);
    lines::warnings(&mut page, report.run);
    page.text
}

/// Text under construction.
struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.push("", line);
    }

    fn heading(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.push("\x1b[1m", line);
    }

    /// A remark under a table, dim and wrapped.
    fn note(&mut self, text: &str) {
        self.fill("\x1b[2m", "  ", 4, text);
    }

    /// A line to be pasted: never broken.
    fn command(&mut self, command: &str) {
        self.push("\x1b[2m", &format!("    {command}"));
    }

    /// `text` broken at spaces so that each line, after `indent` spaces, fits the width.
    fn wrapped(&mut self, first: &str, indent: usize, text: &str) {
        self.fill("", &format!("{first:indent$}"), indent, text);
    }

    fn fill(&mut self, escape: &str, first: &str, indent: usize, text: &str) {
        let mut line = first.to_owned();
        let mut empty = true;
        for word in text.split_whitespace() {
            if !empty && line.chars().count() + 1 + word.chars().count() > self.style.width {
                self.push(escape, &line);
                line = " ".repeat(indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.push(escape, &line);
    }

    fn push(&mut self, escape: &str, line: &str) {
        let line = self.style.charset.apply(line.trim_end());
        if self.style.color && !escape.is_empty() {
            self.text.push_str(escape);
            self.text.push_str(&line);
            self.text.push_str("\x1b[0m");
        } else {
            self.text.push_str(&line);
        }
        self.text.push('\n');
    }
}
