//! The text files of the workspace, and the code in them without its comments and strings.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Every text file below a root. Build output, version control and other hidden directories are left out.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
}

pub(crate) struct File {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// For Rust: the text with comments, strings and characters blanked, line for line. Otherwise empty.
    pub(super) code: String,
}

/// Hidden directories whose files are ours.
const HIDDEN: &[&str] = &[".cargo", ".ci", ".config", ".github"];

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let entries = std::fs::read_dir(&directory);
            for entry in entries.with_context(|| format!("cannot list {}", directory.display()))? {
                let entry = entry?;
                let (name, path) = (entry.file_name(), entry.path());
                let hidden = name.as_encoded_bytes().starts_with(b".");
                let kind = entry.file_type()?;
                if kind.is_dir() && name != "target" && (!hidden || HIDDEN.iter().any(|ours| name == *ours)) {
                    directories.push(path);
                } else if kind.is_file()
                    && name != ".git"
                    && let Ok(text) = String::from_utf8(std::fs::read(&path)?)
                {
                    let relative = path.strip_prefix(root)?.to_path_buf();
                    let rust = relative.extension().is_some_and(|extension| extension == "rs");
                    let code = if rust { code_only(&text) } else { String::new() };
                    files.push(File { path: relative, text, code });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { root: root.into(), files })
    }

    /// The pages written for people who use the project: their commands are run, their flags looked up.
    pub(crate) fn is_page(&self, file: &File) -> bool {
        file.path == Path::new("README.md")
            || file.path.starts_with("docs")
                && file.path.extension().is_some_and(|extension| extension == "md")
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| !file.code.is_empty())
    }

    /// A tree on disk with these files, for the tests of the rules.
    #[cfg(test)]
    pub(super) fn made_up(files: &[(&str, &str)]) -> Tree {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        Tree::read(root.path()).expect("a readable tree")
    }
}

impl File {
    /// The code's lines, counted from one.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The code's lines above the unit tests, which come last in a file.
    pub(super) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.tests_start();
        self.code_lines().take_while(move |(line, _)| *line < tests)
    }

    /// First line of test code: the `#[cfg(test)]` of a module, or the first line of a file that is nothing
    /// else (below `tests`, or the module `tests` itself). Past the end if there is none.
    pub(super) fn tests_start(&self) -> usize {
        if self.path.with_extension("").iter().any(|part| part == "tests") {
            return 1;
        }
        let lines: Vec<_> = self.code.lines().collect();
        let found = lines.windows(2).position(|pair| {
            pair[0].starts_with("#[cfg(") && has_word(pair[0], "test") && pair[1].starts_with("mod ")
        });
        found.map_or(usize::MAX, |index| index + 1)
    }
}

/// Whether `word` stands in `line` with no letter, digit or underscore around it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// Blanks comments, strings and characters of Rust source, keeping every line break.
///
/// After the Rust Reference, "Tokens" and "Comments": nested block comments, raw strings with any number of `#`, and
/// lifetimes, which start like characters. A byte or C string's prefix stays behind as a word of one letter.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let blanked = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest, &code) {
            length
        } else if next == '"' {
            quoted(rest, '"')
        } else if next == '\'' && is_char(rest) {
            quoted(rest, '\'')
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        // One blank in place of the whole, so that two words do not grow together.
        code.push(' ');
        code.extend(rest[..blanked].chars().filter(|c| *c == '\n'));
        rest = &rest[blanked..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else if let Some(c) = text[at..].chars().next() {
            at += c.len_utf8();
        } else {
            return at;
        }
        if depth == 0 {
            return at;
        }
    }
}

/// Length of a raw string that starts here, if one does: `r`, hashes, quote. An identifier ending in `r` is none.
fn raw_string(text: &str, before: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?;
    let body = hashes.trim_start_matches('#');
    let count = hashes.len() - body.len();
    let prefixed = before.ends_with(['b', 'c']);
    if !body.starts_with('"') || !prefixed && before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(count));
    let end = body[1..].find(&close).map_or(body.len(), |at| 1 + at + close.len());
    Some(1 + count + end)
}

/// Length of a literal up to the closing `quote`, over escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Whether a `'` starts a character and not a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        let source = "a // b\nc /* d /* e */ f\n */ g \"h \\\" i\" j r#\"k \" l\"# m b\"n\" 'o' '\\'' fn p<'q>(r: &'q str)";
        let words: Vec<_> = code_only(source).split_whitespace().map(String::from).collect();
        assert_eq!(words.join(" "), "a c g j m b fn p<'q>(r: &'q str)");
        assert_eq!(code_only(source).lines().count(), source.lines().count());
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("#[allow(unsafe_code)]", "unsafe"));
        assert!(!has_word("RobustMutex", "Mutex"));
    }

    #[test]
    fn unit_tests_are_not_product() {
        for test in ["#[cfg(test)]", "#[cfg(all(test, not(loom)))]"] {
            let tree = Tree::made_up(&[("a.rs", &format!("one\n{test}\nmod tests {{\n}}\n"))]);
            let lines: Vec<_> = tree.files[0].product_lines().collect();
            assert_eq!(lines, [(1, "one")]);
        }
        let tree = Tree::made_up(&[("a/tests.rs", "one"), ("tests/src/b.rs", "one")]);
        assert!(tree.files.iter().all(|file| file.product_lines().next().is_none()));
    }

    #[test]
    fn build_output_and_hidden_directories_are_left_out() {
        let tree = Tree::made_up(&[
            ("target/a", ""),
            (".git/b", ""),
            (".github/c", ""),
            ("d/target/e", ""),
            ("f", ""),
        ]);
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, [".github/c", "f"]);
    }
}
