//! `cargo xtask loom [--mutants [PART]]`: the models of the lock-free parts, and the ordering bugs they must catch.
//!
//! A mutant is a copy of the sources with one passage changed, as a hand would change it by mistake. A model that still
//! passes over it proves less than it says.

mod mutants;

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use mutants::MUTANTS;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let root = workspace::root()?;
    let target = workspace::metadata(&root)?.target_directory.into_std_path_buf().join("loom");
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let status = models(&root, &target, "model").status().context("cannot start cargo")?;
            Ok(ExitCode::from(u8::from(!status.success())))
        }
        ["--mutants"] => catch(&root, &target, ""),
        ["--mutants", part] => catch(&root, &target, part),
        _ => bail!("usage: cargo xtask loom [--mutants [PART OF A NAME]]"),
    }
}

/// Cargo, about to run the models whose names contain `filter`, in a target directory of their own: `--cfg loom` reaches
/// every crate of the build.
pub(crate) fn models(root: &Path, target: &Path, filter: &str) -> Command {
    let mut command = Command::new(cargo());
    command
        .args(["test", "--package", "ipc-transports", "--package", "ipc-actors", "--lib", "--quiet", filter])
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target)
        .env("RUST_BACKTRACE", "0");
    command
}

/// Runs the models over every mutant whose name contains `part`; each must make one fail.
fn catch(root: &Path, target: &Path, part: &str) -> Result<ExitCode> {
    let chosen: Vec<_> = MUTANTS.iter().filter(|mutant| mutant.name.contains(part)).collect();
    ensure!(!chosen.is_empty(), "no mutant has {part:?} in its name");
    let copy = target.join("mutant");
    copy_sources(root, &copy)?;
    let mut missed = 0;
    for mutant in &chosen {
        let started = Instant::now();
        let original = std::fs::read_to_string(root.join(mutant.file))?;
        std::fs::write(copy.join(mutant.file), mutant.applied(&original)?)?;
        let output = models(&copy, target, mutant.models).output().context("cannot start cargo")?;
        std::fs::write(copy.join(mutant.file), &original)?;
        let seconds = started.elapsed().as_secs_f64();
        match caught_by(&output)? {
            Some(model) => println!("✓ {:44} caught by {model} ({seconds:.0} s)", mutant.name),
            None => {
                missed += 1;
                println!("✗ {:44} not caught ({seconds:.0} s)", mutant.name);
            }
        }
    }
    println!("{} of {} mutants caught", chosen.len() - missed, chosen.len());
    Ok(ExitCode::from(u8::from(missed > 0)))
}

/// The first model that failed.
fn caught_by(output: &Output) -> Result<Option<String>> {
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(None);
    }
    let failed = text.lines().find_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    let Some(model) = failed else {
        bail!("the mutant does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    };
    Ok(Some(model.to_owned()))
}

/// Copies what cargo needs to build the models. Files that are the same already keep their times, so that only what has
/// changed is built again.
fn copy_sources(root: &Path, copy: &Path) -> Result<()> {
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        std::fs::create_dir_all(copy.join(&directory))?;
        for entry in std::fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let (path, kind) = (directory.join(entry.file_name()), entry.file_type()?);
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_dir()
                && !hidden
                && entry.file_name() != "target"
                && !entry.file_name().as_encoded_bytes().starts_with(b"peers")
            {
                directories.push(path);
            } else if kind.is_file() && !hidden {
                let text = std::fs::read(root.join(&path))?;
                if std::fs::read(copy.join(&path)).ok().as_ref() != Some(&text) {
                    std::fs::write(copy.join(&path), text)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_finds_the_passage_it_changes_exactly_once() {
        let root = workspace::root().expect("a workspace");
        for mutant in MUTANTS {
            let text = std::fs::read_to_string(root.join(mutant.file)).expect(mutant.file);
            let changed = mutant.applied(&text).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(changed, text, "{}", mutant.name);
        }
    }
}
