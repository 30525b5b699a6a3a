//! `cargo xtask api [--write]`: the public items of the library crates with their signatures, as committed in
//! `docs/public-api.txt`, so that a change of the interface is seen in review.
//!
//! The machine-readable form of rustdoc needs a nightly toolchain, so this reads the pages that the stable one writes.
//! Their form belongs to the toolchain: the first line names the one that wrote the file, and another compares nothing.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

/// In the order of their arrows: an item that a crate re-exports is listed once, where it comes from.
const CRATES: [&str; 3] = ["ipc_core", "ipc_transports", "ipc_async"];
const FILE: &str = "docs/public-api.txt";

/// What a comparison found.
pub(crate) enum Outcome {
    /// So many items, and how many of their pages show an example.
    Same { items: usize, shown: usize },
    /// Lines that are new or gone.
    Differs(Vec<String>),
    /// Written by another toolchain.
    Unknown(String),
}

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let write = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--write"] => true,
        _ => bail!("api takes --write or nothing: see cargo xtask help"),
    };
    let root = workspace::root()?;
    let mut doc = Command::new(cargo());
    doc.args(["doc", "--workspace", "--no-deps"]).current_dir(&root);
    if !doc.status()?.success() {
        bail!("the documentation does not build");
    }
    let target = workspace::metadata(&root)?.target_directory.join("doc");
    if write {
        let (text, _) = listing(target.as_std_path())?;
        std::fs::write(root.join(FILE), text)?;
    }
    Ok(match compare(&root, target.as_std_path())? {
        Outcome::Same { items, shown } => {
            println!("{items} public items, {shown} pages with an example");
            ExitCode::SUCCESS
        }
        Outcome::Unknown(why) => {
            println!("not compared: {why}");
            ExitCode::SUCCESS
        }
        Outcome::Differs(lines) => {
            println!("{}\nif that is meant: cargo xtask api --write", lines.join("\n"));
            ExitCode::FAILURE
        }
    })
}

/// Compares the committed listing with the pages in `doc`.
pub(crate) fn compare(root: &Path, doc: &Path) -> Result<Outcome> {
    let committed = std::fs::read_to_string(root.join(FILE)).with_context(|| format!("no {FILE}"))?;
    let (current, counts) = listing(doc)?;
    let toolchain = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    if toolchain(&committed) != toolchain(&current) {
        let why = format!("{FILE} is of {}, this is {}", toolchain(&committed), toolchain(&current));
        return Ok(Outcome::Unknown(why));
    }
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (committed.lines().collect(), current.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let lines: Vec<String> = gone.chain(new.difference(&old).map(|line| format!("+ {line}"))).collect();
    Ok(if lines.is_empty() {
        Outcome::Same { items: counts.0, shown: counts.1 }
    } else {
        Outcome::Differs(lines)
    })
}

/// Every item, each on a line, its methods below it; and how many items there are and how many show an example.
fn listing(doc: &Path) -> Result<(String, (usize, usize))> {
    let (mut text, mut seen, mut shown) = (String::new(), BTreeSet::new(), 0);
    let mut toolchain = None;
    for name in CRATES {
        let directory = doc.join(name);
        let all = page(&directory.join("all.html"))?;
        toolchain = toolchain.or_else(|| between(&all, "data-rustdoc-version=\"", "\"").map(str::to_owned));
        let list = all.split_once("class=\"all-items\"").map_or("", |(_, list)| list);
        for link in pieces(list, "<a href=\"", "</a>") {
            let Some((href, item)) = link.split_once("\">") else { continue };
            if !seen.insert(href.to_owned()) {
                continue;
            }
            let html = page(&directory.join(href))?;
            shown += usize::from(html.contains("rust-example-rendered"));
            let declared = between(&html, "<pre class=\"rust item-decl\"><code>", "</code></pre>");
            writeln!(text, "{name}::{}: {}", plain(item), plain(declared.unwrap_or_default()))?;
            let inherent = between(&html, "id=\"implementations-list\"", "id=\"trait-implementations\"");
            for method in pieces(inherent.unwrap_or_default(), "<h4 class=\"code-header\">", "</h4>") {
                writeln!(text, "{name}::{}: {}", plain(item), plain(method))?;
            }
        }
    }
    let toolchain = toolchain.context("the pages do not say which rustdoc wrote them")?;
    Ok((format!("rustdoc {toolchain}\n{text}"), (seen.len(), shown)))
}

fn page(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close).map_or(rest, |(inside, _)| inside))
}

/// Every part of `text` between `open` and `close`.
fn pieces<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// The text of a piece of HTML on one line.
fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        // What stands before the first tag has none to cut.
        text.push_str(part.split_once('>').map_or(part, |(_, rest)| rest));
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_line_breaks_are_dropped_and_entities_are_read() {
        let html = "pub fn <a href=\"#x\">x</a>(\n    &amp;self,\n) -&gt; Result&lt;<b>T</b>&gt;";
        assert_eq!(plain(html), "pub fn x( &self, ) -> Result<T>");
        assert_eq!(pieces("<i>a</i> <i>b</i>", "<i>", "</i>").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(between("x(1)y", "(", ")"), Some("1"));
    }
}
