//! The frame of every report: head, style, sections, script, data.

use std::fmt::Write;

use crate::export::escape;
use crate::report::Report;

use super::plot::{SERIES, marker};

/// Starts the element that carries the run.
pub(super) const DATA_START: &str = "<script type=\"application/json\" id=\"run\">";

/// No request leaves the page: style and script are in it, images and downloads are data.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A page under construction.
pub(super) struct Page {
    main: String,
    sections: Vec<(&'static str, &'static str)>,
}

impl Page {
    pub(super) fn new() -> Self {
        Self { main: String::new(), sections: Vec::new() }
    }

    /// Appends markup; text from the run must have gone through [`escape`].
    pub(super) fn push(&mut self, html: &str) {
        self.main += html;
    }

    /// Opens a section with a heading and an explanation under it; `short` is its name in the bar at the top.
    pub(super) fn section(&mut self, id: &'static str, short: &'static str, title: &str, lead: &str) {
        self.sections.push((id, short));
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.main, "<section id=\"{id}\"><h2>{title}</h2>");
        if !lead.is_empty() {
            let _ = write!(self.main, "<p class=\"lead\">{lead}</p>");
        }
    }

    pub(super) fn end_section(&mut self) {
        self.main += "</section>\n";
    }

    /// A chart with its caption and the table of its numbers.
    pub(super) fn figure(&mut self, caption: &str, svg: &str, table: &str) {
        let _ =
            write!(self.main, "<figure><figcaption>{}</figcaption>{svg}{table}</figure>", escape(caption));
    }

    /// The whole document, with the run of `report` inside.
    pub(super) fn finish(self, report: &Report<'_>) -> String {
        let run = report.run;
        let json = serde_json::to_string(run).unwrap_or_default().replace('<', "\\u003c");
        self.document(&format!("{} – ipc-bench", run.run_id), &report.series, &json)
    }

    /// The whole document around `json`, in which no `<` may occur.
    pub(super) fn document(self, title: &str, series: &[String], json: &str) -> String {
        let mut nav = String::new();
        for (id, title) in &self.sections {
            let _ = write!(nav, "<a href=\"#{id}\">{title}</a>");
        }
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <title>{}</title><style>{STYLE}{}</style></head>\n<body><nav>{nav}</nav>\n<main>{}{}</main>\n\
             {DATA_START}{json}</script>\n<script>{SCRIPT}</script></body></html>\n",
            escape(title),
            hiding(series.len()),
            self.main,
            legend(series),
        )
    }
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.main += text;
        Ok(())
    }
}

/// One rule per series that fades it while the body has the class `hide-N`.
fn hiding(series: usize) -> String {
    (0..series).map(|index| format!(".hide-{index} .n{index}{{opacity:.06}}")).collect()
}

/// Which colour and marker is which transport. It floats at the lower edge of the window; the script makes it a switch.
fn legend(series: &[String]) -> String {
    let mut legend = "<footer class=\"legend\" aria-label=\"series\">".to_owned();
    for (index, label) in series.iter().enumerate() {
        let _ = write!(
            legend,
            "<span class=\"key\" data-series=\"{index}\">{}{}</span>",
            swatch(index),
            escape(label)
        );
    }
    legend + "</footer>"
}

/// The marker of a series as a small picture.
pub(super) fn swatch(series: usize) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 14 14\" aria-hidden=\"true\"><path class=\"mark s{}\" d=\"{}\"/></svg>",
        series % SERIES,
        marker(series, 7.0, 7.0, 4.6)
    )
}

/// The label of a series behind its marker.
pub(super) fn named(report: &Report<'_>, series: usize) -> String {
    labelled(series, &report.series[series])
}

/// A text behind the marker of a series.
pub(super) fn labelled(series: usize, text: &str) -> String {
    format!("<span class=\"name\">{}{}</span>", swatch(series), escape(text))
}

/// A table from finished cells; cells that start with `<t` are taken as they are, so that a caller can set classes.
pub(super) fn table(class: &str, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = format!("<div class=\"scroll\"><table class=\"{class}\"><thead><tr>");
    for cell in header {
        let _ = write!(table, "<th scope=\"col\">{cell}</th>");
    }
    table += "</tr></thead><tbody>";
    for row in rows {
        table += "<tr>";
        for (index, cell) in row.iter().enumerate() {
            let _ = if cell.starts_with("<t") {
                write!(table, "{cell}")
            } else if index == 0 {
                write!(table, "<th scope=\"row\">{cell}</th>")
            } else {
                write!(table, "<td>{cell}</td>")
            };
        }
        table += "</tr>";
    }
    table + "</tbody></table></div>"
}
