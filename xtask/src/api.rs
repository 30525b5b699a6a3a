//! `cargo xtask api [--write]`: the public items of the library crates with their signatures, as committed in
//! `docs/public-api.txt`, so that a change of the interface is seen in review; and each type, trait and function among
//! them has an example in its documentation.
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

/// Items whose page begins with this must show an example. A type alias stands for a type that does, and a constant for
/// a number.
const NEED_AN_EXAMPLE: [&str; 5] = ["struct", "enum", "union", "trait", "fn"];

/// Items with nothing to show, each with the reason.
const NOTHING_TO_SHOW: &[&str] = &[
    // A parameter of `StreamSender` and `StreamReceiver`: cannot be made and has no methods.
    "ipc_transports::PipeEnd",
    // As `PipeEnd`.
    "ipc_transports::Socket",
];

/// A crate that ours show as a module of their own.
const NOT_OURS: &str = "zerocopy/";

/// What follows on a page is written elsewhere: at other traits and types, and in the standard library.
const NOT_ITS_OWN: [&str; 5] = [
    "id=\"deref-methods",
    "id=\"trait-implementations\"",
    "id=\"foreign-impls\"",
    "id=\"implementors\"",
    "id=\"synthetic-implementations\"",
];

/// What a comparison found.
pub(crate) enum Outcome {
    /// So many items, and how many of their pages show an example.
    Same { items: usize, shown: usize },
    /// Lines that are new or gone, and items that lack an example.
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
        std::fs::write(root.join(FILE), listing(target.as_std_path())?.text)?;
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
            println!("{}\nif a line with + or - is meant: cargo xtask api --write", lines.join("\n"));
            ExitCode::FAILURE
        }
    })
}

/// Compares the committed listing with the pages in `doc`.
pub(crate) fn compare(root: &Path, doc: &Path) -> Result<Outcome> {
    let committed = std::fs::read_to_string(root.join(FILE)).with_context(|| format!("no {FILE}"))?;
    let Listing { text: current, items, shown, bare } = listing(doc)?;
    let toolchain = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    if toolchain(&committed) != toolchain(&current) {
        let why = format!("{FILE} is of {}, this is {}", toolchain(&committed), toolchain(&current));
        return Ok(Outcome::Unknown(why));
    }
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (committed.lines().collect(), current.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let come = new.difference(&old).map(|line| format!("+ {line}"));
    let bare = bare.iter().map(|item| format!("{item}: its documentation has no example"));
    let lines: Vec<String> = gone.chain(come).chain(bare).collect();
    Ok(if lines.is_empty() { Outcome::Same { items, shown } } else { Outcome::Differs(lines) })
}

/// The public items as the pages show them.
struct Listing {
    /// Every item on a line, its methods below it.
    text: String,
    items: usize,
    /// Items whose pages show an example.
    shown: usize,
    /// Items that lack one.
    bare: Vec<String>,
}

fn listing(doc: &Path) -> Result<Listing> {
    let (mut text, mut seen, mut shown, mut bare) = (String::new(), BTreeSet::new(), 0, Vec::new());
    let mut toolchain = None;
    for name in CRATES {
        let directory = doc.join(name);
        let all = page(&directory.join("all.html"))?;
        toolchain = toolchain.or_else(|| between(&all, "data-rustdoc-version=\"", "\"").map(str::to_owned));
        let list = all.split_once("class=\"all-items\"").map_or("", |(_, list)| list);
        for link in pieces(list, "<a href=\"", "</a>") {
            let Some((href, item)) = link.split_once("\">") else { continue };
            if href.starts_with(NOT_OURS) || !seen.insert(href.to_owned()) {
                continue;
            }
            let html = page(&directory.join(href))?;
            let item = format!("{name}::{}", plain(item));
            if shows_an_example(&html) {
                shown += 1;
            } else if needs_an_example(href) && !NOTHING_TO_SHOW.contains(&item.as_str()) {
                bare.push(item.clone());
            }
            let declared = between(&html, "<pre class=\"rust item-decl\"><code>", "</code></pre>");
            writeln!(text, "{item}: {}", plain(declared.unwrap_or_default()))?;
            let inherent = between(&html, "id=\"implementations-list\"", "id=\"trait-implementations\"");
            for method in pieces(inherent.unwrap_or_default(), "<h4 class=\"code-header\">", "</h4>") {
                writeln!(text, "{item}: {}", plain(method))?;
            }
        }
    }
    let toolchain = toolchain.context("the pages do not say which rustdoc wrote them")?;
    Ok(Listing { text: format!("rustdoc {toolchain}\n{text}"), items: seen.len(), shown, bare })
}

/// By the name of its page, `module/kind.Name.html`.
fn needs_an_example(href: &str) -> bool {
    let file = href.rsplit('/').next().unwrap_or_default();
    file.split_once('.').is_some_and(|(kind, _)| NEED_AN_EXAMPLE.contains(&kind))
}

/// In the documentation of the item itself or of one of its methods.
fn shows_an_example(html: &str) -> bool {
    let own = NOT_ITS_OWN.iter().filter_map(|mark| html.find(mark)).min().unwrap_or(html.len());
    html[..own].contains("rust-example-rendered")
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

    #[test]
    fn an_example_is_one_of_the_item_itself() {
        let example = r#"<div class="example-wrap"><pre class="rust rust-example-rendered">"#;
        assert!(shows_an_example(example));
        let borrowed = format!(r#"<h2 id="deref-methods-%5Bu8%5D">{example}"#);
        assert!(!shows_an_example(&borrowed), "a slice's methods have examples");
        assert!(shows_an_example(&format!("{example}{borrowed}")));
        assert!(needs_an_example("broadcast/struct.Reader.html") && needs_an_example("fn.listen.html"));
        assert!(!needs_an_example("frame/constant.GOODBYE.html") && !needs_an_example("type.UdsSender.html"));
    }
}
