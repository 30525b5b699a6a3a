//! `cargo xtask status`: have `ipc-bench verify` measure every file of targets, and write docs/status.md from what it says
//! and from the table of features. A run of `cargo xtask bench-actors` that is there is held against its targets as well.

use crate::{bench, workspace};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The files, each with its heading and what it is about.
const TARGETS: [(&str, &str, &str); 3] = [
    (
        "seeds",
        "What the systems before this one claimed",
        "A miss is a fact about this machine; the sources of the numbers are in the table.",
    ),
    (
        "limits",
        "Our ratios to the limits of the machine",
        "Ratios within one run, taken against the bare loops that are measured beside each cell.",
    ),
    ("scenes", "Idle endpoints, cycles, receivers of many", "Our own floors."),
];

/// Where `cargo xtask bench-actors` leaves its run, which some rows of the seeds are about.
const ACTORS: &str = "peers-actors/target/runs/actors.json";

/// Exit code of `verify` when a target was missed.
const MISSED: i32 = 3;

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let root = workspace::root()?;
    let (mut program, mut only) = (None, None);
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--program" => program = Some(PathBuf::from(value)),
            "--only" if TARGETS.iter().any(|(name, ..)| *name == value) => only = Some(value),
            "--only" => bail!("--only {value}: there are seeds, limits, scenes"),
            _ => bail!("unknown argument {flag}; the flags are --program FILE and --only NAME"),
        }
    }
    let program = program.map_or_else(|| bench::build(&root), Ok)?;
    let features = std::fs::read_to_string(root.join("docs/features.md")).context("docs/features.md")?;
    let file = root.join("docs/status.md");
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let mut page = String::from(
        "# Status\n\nWritten by `cargo xtask status`; every figure is of the runs it made. A machine that does other things \
         meanwhile shows in them.\n",
    );
    for (name, heading, about) in TARGETS {
        page += &format!("\n## {heading}\n\n{about} `ipc-bench verify targets/{name}.toml`\n\n");
        page += &match &only {
            Some(only) if only != name => kept(&before, heading),
            _ => verify(&root, &program, name)?,
        };
    }
    page += &ready(&features);
    std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("written: docs/status.md");
    Ok(ExitCode::SUCCESS)
}

/// What the page said below this heading, after the line about the file.
fn kept(before: &str, heading: &str) -> String {
    let section = before.split("\n## ").find_map(|part| part.strip_prefix(heading));
    let body = section.and_then(|section| section.splitn(5, '\n').nth(4));
    body.map_or_else(|| "Not measured yet.\n".to_owned(), |body| format!("{}\n", body.trim_end()))
}

/// The verdicts of one file of targets, as Markdown.
fn verify(root: &Path, program: &Path, name: &str) -> Result<String> {
    let folder = PathBuf::from(workspace::metadata(root)?.target_directory);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let table = folder.join(format!("status-{name}.md"));
    // What an earlier run left is no answer of this one.
    let _ = std::fs::remove_file(&table);
    let mut verify = Command::new(program);
    verify.arg("verify").arg(format!("targets/{name}.toml")).arg("--md").arg(&table).current_dir(root);
    let actors = root.join(ACTORS);
    if name == "seeds" && actors.is_file() {
        verify.arg("--with").arg(actors);
    }
    let status = verify.status().with_context(|| format!("cannot start {}", program.display()))?;
    match status.code() {
        Some(0 | MISSED) => std::fs::read_to_string(&table).context("verify wrote no table"),
        _ => bail!("ipc-bench verify targets/{name}.toml: {status}; its messages are above"),
    }
}

/// Per area of the table of features, how much is there and what is not.
fn ready(features: &str) -> String {
    let mut page = String::from("\n## What is ready and what is not\n\nFrom [features.md](features.md).\n");
    for area in features.split("\n## ").skip(1) {
        let (title, table) = area.split_once('\n').unwrap_or((area, ""));
        let rows =
            table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
        let rows: Vec<_> = rows.filter(|(feature, _)| *feature != "Feature").collect();
        let absent: Vec<_> = rows.iter().filter(|(_, status)| !status.starts_with("yes")).collect();
        if rows.is_empty() {
            continue;
        }
        page += &format!("\n### {title}: {} of {} built\n", rows.len() - absent.len(), rows.len());
        if !absent.is_empty() {
            page += "\n";
        }
        for (feature, status) in absent {
            page += &format!("* {feature}: {status}\n");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_is_not_measured_again_stays_as_it_was() {
        let page =
            "# Status\n\n## One\n\nabout `a`\n\nMeasured then.\n\n| met |\n\n## Two\n\nabout\n\nMeasured.\n";
        assert_eq!(kept(page, "One"), "Measured then.\n\n| met |\n");
        assert_eq!(kept(page, "Two"), "Measured.\n");
        assert_eq!(kept("", "One"), "Not measured yet.\n");
    }

    #[test]
    fn what_is_not_built_is_listed_with_its_reason() {
        let features = "# Features\n\n## Tool\n\n| Feature | Status |\n|---|---|\n| Quiet | yes: `--quiet` |\n\
                        | Logs | not built: nobody asked |\n\n## Safety\n\n| Feature | Status |\n|---|---|\n| Locks | yes: `a` |\n";
        let page = ready(features);
        assert!(page.contains("### Tool: 1 of 2 built\n\n* Logs: not built: nobody asked\n"), "{page}");
        assert!(page.ends_with("### Safety: 1 of 1 built\n"), "{page}");
    }
}
