//! What a file must not say about the machine it was written on, and how long it may get unnoticed.

use super::Tree;
use anyhow::Result;

/// Somebody's home, or a directory that exists on one machine. Written as names, because these rules read this file.
const DIRECTORIES: &[&str] = &["work", "home", "Users", "root", "tmp"];

/// The only source a package may have.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Lines of a file at which a second subject is usually found.
const LONG: usize = 600;

/// No absolute path below [`DIRECTORIES`] in any file: code asks the system, docs use `/run`.
pub(super) fn no_file_names_a_machine(tree: &Tree) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            let named = DIRECTORIES.iter().map(|name| format!("/{name}/")).find(|path| starts_in(line, path));
            if let Some(path) = named {
                problems.push(format!(
                    "{}:{}: {path} is a path of one machine",
                    file.path.display(),
                    index + 1
                ));
            }
        }
    }
    Ok(problems)
}

/// Whether an absolute path in `line` starts with `path`: before it is nothing that a path or an address has.
fn starts_in(line: &str, path: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || ".-_/}~".contains(c);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(goes_on))
}

/// A lock file or a cargo configuration that points to a mirror builds on one machine only.
pub(super) fn packages_come_from_crates_io(tree: &Tree) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in &tree.files {
        let lock = file.path.ends_with("Cargo.lock");
        let config = file.path.parent().is_some_and(|parent| parent.ends_with(".cargo"));
        for (index, line) in file.text.lines().enumerate() {
            let source = line.strip_prefix("source = ").map(|source| source.trim_matches('"'));
            let section = line.trim_start().trim_start_matches('[');
            let replaced = section.len() < line.len()
                && ["source", "registry", "registries"].iter().any(|name| section.starts_with(name));
            if lock && source.is_some_and(|source| source != CRATES_IO) || config && replaced {
                problems.push(format!(
                    "{}:{}: packages come from crates.io only",
                    file.path.display(),
                    index + 1
                ));
            }
        }
    }
    Ok(problems)
}

/// Notes, not problems: a long file may have one subject after all.
pub(super) fn long_files(tree: &Tree) -> Vec<String> {
    let long = tree.rust().map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > LONG);
    long.map(|(file, lines)| format!("{}: {lines} lines; look for a second subject", file.path.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_refused() {
        let count = |text: String| {
            let tree = Tree::made_up(&[("a.md", &text)]);
            no_file_names_a_machine(&tree).expect("a readable tree").len()
        };
        for name in DIRECTORIES {
            assert_eq!(count(format!("open(\"/{name}/x\")")), 1);
            assert_eq!(count(format!("https://example.org/{name}/x and ./{name}/x")), 0);
        }
        assert_eq!(count("/run/b.sock /proc/self/maps".into()), 0);
    }

    #[test]
    fn another_registry_is_refused() {
        let count = |path, text: &str| {
            let tree = Tree::made_up(&[(path, text)]);
            packages_come_from_crates_io(&tree).expect("a readable tree").len()
        };
        assert_eq!(count("Cargo.lock", &format!("source = \"{CRATES_IO}\"")), 0);
        assert_eq!(count("Cargo.lock", "source = \"registry+https://mirror.example/index\""), 1);
        assert_eq!(count(".cargo/config.toml", "[alias]\nxtask = \"run\""), 0);
        assert_eq!(count(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"mirror\""), 1);
    }

    #[test]
    fn a_long_file_is_noted() {
        let tree = Tree::made_up(&[("a.rs", &"x\n".repeat(LONG)), ("b.rs", &"x\n".repeat(LONG + 1))]);
        assert_eq!(long_files(&tree), ["b.rs: 601 lines; look for a second subject"]);
    }
}
