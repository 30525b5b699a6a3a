//! `cargo xtask dist`: what a release consists of: the program, its completions, its manual, the licences, and checksums of all.

use crate::bench::build;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Each shell and the name under which it looks for a completion.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "ipc-bench.bash"),
    ("zsh", "_ipc-bench"),
    ("fish", "ipc-bench.fish"),
    ("elvish", "ipc-bench.elv"),
    ("powershell", "_ipc-bench.ps1"),
];
const PAPERS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];
const CHECKSUMS: &str = "SHA256SUMS";

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    ensure!(args.is_empty(), "dist has no arguments: see cargo xtask help");
    let root = workspace::root()?;
    let binary = build(&root)?;
    let target = workspace::metadata(&root)?.target_directory.into_std_path_buf();
    let version = output(Command::new(&binary).arg("--version"))?;
    let version = version.trim().replace(' ', "-");
    let name = format!("{version}-{}-linux", std::env::consts::ARCH);
    let folder = target.join("dist").join(&name);
    let _ = std::fs::remove_dir_all(&folder);
    fill(&folder, &root, &binary)?;
    let archive = target.join("dist").join(format!("{name}.tar.gz"));
    let tar = Command::new("tar")
        // Owner, order and times of whoever builds it say nothing about what is in it.
        .args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(target.join("dist"))
        .arg(&name)
        .status()
        .context("cannot start tar")?;
    ensure!(tar.success(), "tar ended with {tar}");
    println!("{}\n{}", folder.display(), archive.display());
    Ok(ExitCode::SUCCESS)
}

fn fill(folder: &Path, root: &Path, binary: &Path) -> Result<()> {
    let make = |name: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    };
    std::fs::copy(binary, make("bin")?.join("ipc-bench")).context("cannot copy the program")?;
    let completions = make("completions")?;
    for (shell, name) in SHELLS {
        let script = output(Command::new(binary).args(["completions", shell]))?;
        std::fs::write(completions.join(name), script)?;
    }
    output(Command::new(binary).arg("man").arg(make("man")?))?;
    for paper in PAPERS {
        std::fs::copy(root.join(paper), folder.join(paper)).with_context(|| format!("no {paper}"))?;
    }
    let sums = output(
        Command::new("sh")
            .args(["-c", "find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum"])
            .current_dir(folder),
    )?;
    std::fs::write(folder.join(CHECKSUMS), sums)?;
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{} ended with {}", command.get_program().display(), output.status);
    Ok(String::from_utf8(output.stdout)?)
}
