//! One chart as SVG. Colours, dashes and type come from the style sheet, by class, so that a chart follows light, dark and print.

use std::fmt::Write;

use crate::export::escape;

use super::axis::Axis;

/// Size of every chart in its own units; the page scales it to the column it stands in.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 330.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
const LEFT: f64 = 66.0;
/// Room for the labels at the ends of the lines.
const RIGHT: f64 = 110.0;

/// Longest label that fits there; the table below has the rest.
const LABEL: usize = 15;

/// Least distance between two of those labels.
const LABEL_PITCH: f64 = 14.0;

/// Series with a colour, a dash and a marker of their own; further ones start again.
pub(super) const SERIES: usize = 8;

/// A chart under construction.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    title: String,
    body: String,
    ends: Vec<End>,
}

/// Where a line ends, and what stands there.
struct End {
    x: f64,
    y: f64,
    series: usize,
    label: String,
}

impl Plot {
    /// An empty chart; `title` is what a screen reader says.
    pub(super) fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { x, y, title: title.into(), body: String::new(), ends: Vec::new() }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.at(y) * (HEIGHT - TOP - BOTTOM)
    }

    // Writing to a string cannot fail, here and below.
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(element);
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(
                path,
                "{}{:.1} {:.1}",
                if path.is_empty() { "M" } else { "L" },
                self.px(x),
                self.py(y)
            );
        }
        path
    }

    /// A line, labelled at its end.
    pub(super) fn line(&mut self, series: usize, label: &str, points: &[(f64, f64)]) {
        let path = self.path(points.iter().copied());
        let class = class(series);
        self.push(format_args!(
            "<path class=\"line {class}\" d=\"{path}\"><title>{}</title></path>",
            escape(label)
        ));
        if let Some((x, y)) = points.last() {
            self.ends.push(End { x: self.px(*x), y: self.py(*y), series, label: label.to_owned() });
        }
    }

    /// A thin line of the same series, without a label.
    pub(super) fn thin_line(&mut self, series: usize, points: &[(f64, f64)]) {
        let path = self.path(points.iter().copied());
        let class = class(series);
        self.push(format_args!("<path class=\"thin {class}\" d=\"{path}\"/>"));
    }

    /// The area between two lines.
    pub(super) fn band(&mut self, series: usize, below: &[(f64, f64)], above: &[(f64, f64)]) {
        let path = self.path(below.iter().chain(above.iter().rev()).copied());
        let class = class(series);
        self.push(format_args!("<path class=\"band {class}\" d=\"{path}Z\"/>"));
    }

    /// A point with the marker of its series and a text to show when pointed at; hollow when it claims less.
    pub(super) fn point(&mut self, series: usize, x: f64, y: f64, hollow: bool, text: &str) {
        let mark = marker(series, self.px(x), self.py(y), 4.0);
        let (class, hollow) = (class(series), if hollow { " hollow" } else { "" });
        self.push(format_args!(
            "<path class=\"mark{hollow} {class}\" d=\"{mark}\"><title>{}</title></path>",
            escape(text)
        ));
    }

    /// A vertical interval at `x`.
    pub(super) fn interval(&mut self, series: usize, x: f64, lo: f64, hi: f64) {
        let (x, lo, hi, class) = (self.px(x), self.py(lo), self.py(hi), class(series));
        self.push(format_args!("<path class=\"bar {class}\" d=\"M{x:.1} {lo:.1}V{hi:.1}\"/>"));
    }

    /// A tick at the lower edge.
    pub(super) fn event(&mut self, x: f64, text: &str) {
        let (x, y) = (self.px(x), HEIGHT - BOTTOM);
        self.push(format_args!(
            "<path class=\"event\" d=\"M{x:.1} {y:.1}v-8\"><title>{}</title></path>",
            escape(text)
        ));
    }

    /// A ring around a point.
    pub(super) fn ring(&mut self, series: usize, x: f64, y: f64, text: &str) {
        let (x, y, class) = (self.px(x), self.py(y), class(series));
        self.push(format_args!(
            "<circle class=\"ring {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"><title>{}</title></circle>",
            escape(text)
        ));
    }

    /// A horizontal line that is a bound and not a series.
    pub(super) fn bound(&mut self, y: f64, text: &str) {
        let (y, right) = (self.py(y), WIDTH - RIGHT);
        self.push(format_args!("<path class=\"bound\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
        self.push(format_args!(
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            right - 4.0,
            y - 5.0,
            escape(text)
        ));
    }

    /// The finished element.
    pub(super) fn finish(mut self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><g class=\"axes\">",
            escape(&self.title)
        );
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in self.y.ticks() {
            let y = self.py(*value);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (value, text) in self.x.ticks() {
            let x = self.px(*value);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 18.0
            );
        }
        let _ = write!(svg, "<path class=\"edge\" d=\"M{LEFT} {bottom}H{right}\"/>");
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            escape(self.x.label())
        );
        svg += &self.body;
        svg += &self.end_labels();
        svg += "</svg>";
        svg
    }

    /// Labels at the ends of the lines, moved apart so that none covers another.
    fn end_labels(&mut self) -> String {
        self.ends.sort_by(|a, b| a.y.total_cmp(&b.y));
        let mut at = Vec::with_capacity(self.ends.len());
        let mut lowest = TOP;
        for end in &self.ends {
            lowest = end.y.max(lowest);
            at.push(lowest);
            lowest += LABEL_PITCH;
        }
        // What was pushed over the lower edge moves up again, and pushes those above it.
        let mut highest = HEIGHT - BOTTOM;
        for y in at.iter_mut().rev() {
            *y = y.min(highest);
            highest = *y - LABEL_PITCH;
        }
        let mut text = String::new();
        let edge = WIDTH - RIGHT;
        for (End { x, y, series, label }, at) in self.ends.iter().zip(at) {
            let class = class(*series);
            // A leader when the label does not stand at its line's end.
            if (y - at).abs() > 3.0 || edge - x > 20.0 {
                let _ = write!(
                    text,
                    "<path class=\"leader {class}\" d=\"M{:.1} {y:.1}L{:.1} {at:.1}\"/>",
                    x + 5.0,
                    edge + 9.0
                );
            }
            let _ = write!(
                text,
                "<text class=\"end {class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                edge + 12.0,
                at + 4.0,
                escape(&shortened(label, LABEL))
            );
        }
        text
    }
}

/// At most `most` characters: a longer text keeps its beginning.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Classes that colour a series and let the page hide it.
pub(super) fn class(series: usize) -> String {
    format!("s{} n{series}", series % SERIES)
}

/// The outline of a series' marker around a point.
pub(super) fn marker(series: usize, x: f64, y: f64, r: f64) -> String {
    let polygon = |points: &[(f64, f64)]| {
        let corners: Vec<String> =
            points.iter().map(|(dx, dy)| format!("{:.1} {:.1}", x + dx * r, y + dy * r)).collect();
        format!("M{}Z", corners.join("L"))
    };
    match series % SERIES {
        0 => format!("M{:.1} {y:.1}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z", x - r, d = 2.0 * r),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)]),
        3 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => polygon(&[(0.0, 1.2), (1.1, -0.9), (-1.1, -0.9)]),
        5 => polygon(&[
            (-0.4, -1.2),
            (0.4, -1.2),
            (0.4, -0.4),
            (1.2, -0.4),
            (1.2, 0.4),
            (0.4, 0.4),
            (0.4, 1.2),
            (-0.4, 1.2),
            (-0.4, 0.4),
            (-1.2, 0.4),
            (-1.2, -0.4),
            (-0.4, -0.4),
        ]),
        6 => polygon(&[(-1.2, -0.6), (1.2, -0.6), (1.2, 0.6), (-1.2, 0.6)]),
        _ => polygon(&[(-0.6, -1.2), (0.6, -1.2), (0.6, 1.2), (-0.6, 1.2)]),
    }
}
