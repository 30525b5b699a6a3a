//! A run in the formats of other tools. Each function returns the whole text; none computes a statistic.

mod bmf;
mod csv;
mod gha;
mod hdr;
mod junit;
mod markdown;

pub use bmf::bmf;
pub use csv::{csv_of_cells, csv_of_trials};
pub use gha::{GithubActionBenchmark, github_action_benchmark};
pub use hdr::{hgrm, hgrm_name, hlog};
pub use junit::{junit_of_gate, junit_of_run};
pub use markdown::{markdown_of_comparison, markdown_of_run, markdown_of_targets};

/// Text with the characters that XML and HTML reserve replaced, and without the control characters that XML forbids.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() && !matches!(control, '\n' | '\t') => {}
            other => escaped.push(other),
        }
    }
    escaped
}
