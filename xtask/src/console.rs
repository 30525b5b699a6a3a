//! The `console` blocks of a Markdown file: commands after `$ `, and what they print.
//!
//! ````text
//! ```console
//! $ cargo xtask bench -- list      run by CI, has to exit with 0
//! $ ipc-bench run -t nonsense      run by CI,
//! ? 2                              has to exit with 2
//! ```
//! ```console no-run: needs a second host
//! $ ipc-bench server tcp:0.0.0.0:7777
//! ```
//! ````
//!
//! A block runs unless it says why not. The commands of one block share one shell, a line that ends in `\` goes on
//! in the next, and what a command prints is not compared: numbers differ from run to run.

use std::path::{Path, PathBuf};

pub(crate) struct Block {
    pub(crate) file: PathBuf,
    /// Line of the first command's fence, counted from one.
    pub(crate) line: usize,
    /// `Some(reason)` for a block that is only to be read; the reason may be empty, which `tidy` refuses.
    pub(crate) no_run: Option<String>,
    pub(crate) commands: Vec<Command>,
}

pub(crate) struct Command {
    pub(crate) text: String,
    pub(crate) exit: i32,
}

/// The `console` blocks of one file, in order.
pub(crate) fn blocks(file: &Path, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start();
        let info = line.trim_start_matches('`');
        let fence = &line[..line.len() - info.len()];
        if fence.len() < 3 {
            continue;
        }
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != fence).collect();
        let Some(attributes) = info.trim().strip_prefix("console") else { continue };
        let no_run = attributes
            .trim_matches([' ', ','])
            .strip_prefix("no-run")
            .map(|reason| reason.trim_matches([' ', ':']).to_string());
        found.push(Block { file: file.into(), line: number + 1, no_run, commands: commands(&body) });
    }
    found
}

fn commands(body: &[&str]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut continues = false;
    for line in body {
        let line = line.trim();
        if continues {
            if let Some(command) = commands.last_mut() {
                command.text.push('\n');
                command.text.push_str(line);
            }
        } else if let Some(text) = line.strip_prefix("$ ") {
            commands.push(Command { text: text.into(), exit: 0 });
        } else {
            if let Some(code) = line.strip_prefix("? ").and_then(|code| code.trim().parse().ok())
                && let Some(command) = commands.last_mut()
            {
                command.exit = code;
            }
            continue;
        }
        continues = line.ends_with('\\');
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Block> {
        blocks(Path::new("README.md"), text)
    }

    #[test]
    fn commands_are_the_lines_after_a_dollar() {
        let text = "text\n```console\n$ one --flag\noutput\n$ two \\\n  more\n? 3\n```\n";
        let blocks = parse(text);
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].line, 2);
        let commands: Vec<_> = blocks[0].commands.iter().map(|c| (c.text.as_str(), c.exit)).collect();
        assert_eq!(commands, [("one --flag", 0), ("two \\\nmore", 3)]);
    }

    #[test]
    fn a_block_that_does_not_run_says_why() {
        let blocks = parse("```console no-run: needs root\n$ rm\n```\n```console no-run\n$ rm\n```\n");
        assert_eq!(blocks[0].no_run.as_deref(), Some("needs root"));
        assert_eq!(blocks[1].no_run.as_deref(), Some(""));
    }

    #[test]
    fn blocks_of_other_languages_are_not_commands() {
        assert!(parse("```sh\n$ rm\n```\n````text\n```console\n$ rm\n```\n````\n").is_empty());
    }
}
