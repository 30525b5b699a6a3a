//! Columns of text under grouped headings.

/// Space between columns and, wider, between groups.
const GAP: usize = 2;
const GROUP_GAP: usize = 3;

/// Columns that share a heading, with their cells.
#[derive(Debug, Default, Clone)]
pub(super) struct Group {
    /// Heading over all the columns.
    pub(super) title: String,
    /// The columns, left to right.
    pub(super) columns: Vec<Column>,
}

/// One column, top to bottom.
#[derive(Debug, Clone)]
pub(super) struct Column {
    header: String,
    right: bool,
    cells: Vec<String>,
}

impl Column {
    pub(super) fn left(header: impl Into<String>, cells: Vec<String>) -> Self {
        Self { header: header.into(), right: false, cells }
    }

    pub(super) fn right(header: impl Into<String>, cells: Vec<String>) -> Self {
        Self { header: header.into(), right: true, cells }
    }

    fn width(&self) -> usize {
        self.cells.iter().chain([&self.header]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    fn pad(&self, text: &str, width: usize) -> String {
        if self.right { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

impl Group {
    fn width(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::width).sum();
        let gaps = GAP * self.columns.len().saturating_sub(1);
        (columns + gaps).max(self.title.chars().count())
    }
}

/// Splits groups into as few blocks as fit `width`, each starting with `label`.
pub(super) fn blocks(label: &Group, groups: Vec<Group>, width: usize) -> Vec<Vec<Group>> {
    let mut blocks: Vec<Vec<Group>> = Vec::new();
    let mut used = usize::MAX;
    for group in groups {
        let needed = GROUP_GAP + group.width();
        if used.saturating_add(needed) > width {
            blocks.push(vec![label.clone()]);
            used = label.width();
        }
        used += needed;
        if let Some(block) = blocks.last_mut() {
            block.push(group);
        }
    }
    blocks
}

/// The lines of a block: titles, headers, rows.
pub(super) fn lines(groups: &[Group]) -> Vec<String> {
    let rows =
        groups.iter().flat_map(|group| &group.columns).map(|column| column.cells.len()).max().unwrap_or(0);
    let gap = " ".repeat(GROUP_GAP);
    let titles: Vec<String> =
        groups.iter().map(|group| format!("{:^1$}", group.title, group.width())).collect();
    let line = |text: &dyn Fn(&Column) -> &str| {
        let parts: Vec<String> = groups.iter().map(|group| group_line(group, text)).collect();
        parts.join(&gap)
    };
    let mut lines = vec![titles.join(&gap), line(&|column| &column.header)];
    lines.extend((0..rows).map(|row| line(&|column| column.cells.get(row).map_or("", String::as_str))));
    lines
}

fn group_line(group: &Group, text: &dyn Fn(&Column) -> &str) -> String {
    let cells: Vec<String> =
        group.columns.iter().map(|column| column.pad(text(column), column.width())).collect();
    let line = cells.join(&" ".repeat(GAP));
    // A title wider than its columns pushes them to the right, under its end.
    format!("{line:>0$}", group.width())
}
