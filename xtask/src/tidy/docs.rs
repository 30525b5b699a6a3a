//! Docs name tests, commands and flags; all of them exist.
//!
//! The flags and subcommands of `ipc-bench` are read from the snapshots of its help that its own tests hold to the
//! program (`ipc-bench-cli/**/*help*.snap`), so nothing has to be built to check a page.

use super::absence::functions;
use super::tree::{Tree, has_word};
use crate::console;
use crate::{COMMANDS, ci};
use anyhow::Result;
use std::collections::BTreeSet;

/// The pages that are tables of `| what | status |`. A status is `yes:` and the tests (`function` or `module::function`) or
/// commands that show it, each in backticks, or `not built:` and why.
const STATUS_PAGES: [&str; 2] = ["docs/features.md", "docs/actor-cases.md"];

/// Every status names what exists.
pub(super) fn feature_rows_name_what_exists(tree: &Tree) -> Result<Vec<String>> {
    let (help, tests) = (Help::read(tree), Tests::read(tree));
    let mut problems = Vec::new();
    for path in STATUS_PAGES {
        let Some(page) = tree.files.iter().find(|file| file.path.as_os_str() == path) else {
            problems.push(format!("{path}: missing"));
            continue;
        };
        for (index, line) in page.text.lines().enumerate() {
            let Some(status) = status(line) else { continue };
            for problem in row_problems(status, &help, &tests) {
                problems.push(format!("{path}:{}: {problem}", index + 1));
            }
        }
    }
    Ok(problems)
}

/// Every flag and every command of ours that a page names, in running text or in a block, exists.
pub(super) fn pages_name_flags_that_exist(tree: &Tree) -> Result<Vec<String>> {
    let help = Help::read(tree);
    let mut problems = Vec::new();
    for page in tree.files.iter().filter(|file| tree.is_page(file)) {
        let path = page.path.display();
        for block in console::blocks(&page.path, &page.text) {
            for command in &block.commands {
                let wrong = help.command_problems(&command.text.replace("\\\n", " "));
                problems.extend(wrong.iter().map(|what| format!("{path}:{}: {what}", block.line)));
            }
        }
        for (number, line) in prose(&page.text) {
            problems.extend(help.prose_problems(line).iter().map(|what| format!("{path}:{number}: {what}")));
        }
    }
    Ok(problems)
}

/// A command that CI does not run may be wrong; the page says why it has to be so.
pub(super) fn commands_that_do_not_run_say_why(tree: &Tree) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for page in tree.files.iter().filter(|file| tree.is_page(file)) {
        for block in console::blocks(&page.path, &page.text) {
            if block.no_run.is_some_and(|reason| reason.is_empty()) {
                let path = page.path.display();
                problems
                    .push(format!("{path}:{}: no-run without a reason: `console no-run: why`", block.line));
            }
        }
    }
    Ok(problems)
}

/// The second cell of a table's row; headings and rulers have none.
fn status(line: &str) -> Option<&str> {
    let status = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').nth(1)?.trim();
    (status != "Status" && !status.starts_with("--")).then_some(status)
}

fn row_problems(status: &str, help: &Help, tests: &Tests<'_>) -> Vec<String> {
    if let Some(reason) = status.strip_prefix("not built:") {
        return if reason.trim().is_empty() { vec!["not built, but why?".into()] } else { Vec::new() };
    }
    let Some(shown_by) = status.strip_prefix("yes:") else {
        return vec![format!("a status is `yes: …` or `not built: …`, not {status:?}")];
    };
    let references: Vec<_> = code_spans(shown_by).collect();
    if references.is_empty() {
        return vec!["yes, but shown by no test or command".into()];
    }
    let mut problems = Vec::new();
    for reference in references {
        if is_ours(reference) {
            problems.extend(help.command_problems(reference));
        } else if !tests.has(reference) {
            problems.push(format!("no test and no command of ours: {reference}"));
        }
    }
    problems
}

/// The names that test code declares.
struct Tests<'a> {
    functions: BTreeSet<&'a str>,
    modules: BTreeSet<&'a str>,
}

impl<'a> Tests<'a> {
    /// Test code is what lies below `tests`, and the unit tests of a file. A module is a file, a directory, a `mod`, or
    /// what a macro makes one of: `instantiate!(uds: …)`.
    fn read(tree: &'a Tree) -> Tests<'a> {
        let (mut names, mut modules) = (BTreeSet::new(), BTreeSet::new());
        for file in tree.rust() {
            modules.extend(file.path.iter().chain(file.path.file_stem()).filter_map(|part| part.to_str()));
            let first = file.tests_start();
            for (_, line) in file.code_lines().skip_while(|(number, _)| *number < first) {
                names.extend(functions(line));
                let declared =
                    line.trim().strip_prefix("mod ").or_else(|| line.trim().strip_prefix("pub mod "));
                modules.extend(declared.map(|name| name.trim_end_matches([' ', '{', ';'])));
                let made = line.split_once("!(").and_then(|(_, arguments)| arguments.split_once(':'));
                modules.extend(made.map(|(name, _)| name.trim()));
            }
        }
        // An example that a test runs shows as much as the test, which a macro may name after it.
        let run = tree.rust().filter(|file| file.path.file_name().is_some_and(|name| name == "examples.rs"));
        let run: Vec<_> = run.map(|file| file.code.as_str()).collect();
        let examples =
            tree.rust().filter(|file| file.path.parent().is_some_and(|parent| parent.ends_with("examples")));
        let examples = examples.filter_map(|file| file.path.file_stem()?.to_str());
        names.extend(examples.filter(|name| run.iter().any(|code| has_word(code, name))));
        Tests { functions: names, modules }
    }

    /// Whether `function` or `module::function` exists; that the one is in the other is for the compiler.
    fn has(&self, reference: &str) -> bool {
        let mut path = reference.rsplit("::");
        path.next().is_some_and(|name| self.functions.contains(name))
            && path.all(|name| self.modules.contains(name))
    }
}

/// Running text: lines outside of fenced blocks, counted from one.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let ticks = line.trim_start();
        let ticks = &ticks[..ticks.len() - ticks.trim_start_matches('`').len()];
        match fence {
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => return Some((index + 1, line)),
            Some(open) if open == ticks => fence = None,
            Some(_) => {}
        }
        None
    })
}

/// What stands in backticks in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a command line starts one of our programs.
fn is_ours(command: &str) -> bool {
    let words: Vec<_> = command.split_whitespace().take(2).collect();
    words.first().is_some_and(|word| is_ipc_bench(word)) || words == ["cargo", "xtask"]
}

fn is_ipc_bench(word: &str) -> bool {
    word.rsplit('/').next() == Some("ipc-bench")
}

/// The long flags in a text, without values.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("--").filter(|(at, _)| {
        let before = &text[..*at];
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '-')
            && text[at + 2..].starts_with(char::is_alphabetic)
    });
    starts.map(|(at, _)| {
        let name = &text[at + 2..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(name.len());
        text[at..at + 2 + end].trim_end_matches('-')
    })
}

/// What `ipc-bench --help` and `ipc-bench SUBCOMMAND --help` list.
pub(super) struct Help {
    flags: BTreeSet<String>,
    subcommands: BTreeSet<String>,
}

impl Help {
    pub(super) fn read(tree: &Tree) -> Help {
        let mut help = Help { flags: ["--help".into()].into(), subcommands: BTreeSet::new() };
        let snapshots = tree.files.iter().filter(|file| {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            file.path.starts_with("ipc-bench-cli") && name.contains("help") && name.ends_with(".snap")
        });
        for snapshot in snapshots {
            help.flags.extend(flags(&snapshot.text).map(String::from));
            // clap indents a list by two blanks, and an explanation on a line of its own by more.
            let listed = snapshot.text.lines().filter_map(|line| line.strip_prefix("  "));
            let names = listed.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
            help.subcommands
                .extend(names.filter_map(|line| line.split_whitespace().next()).map(String::from));
        }
        help
    }

    /// What is wrong with a line of shell, as far as it starts programs of ours.
    pub(super) fn command_problems(&self, line: &str) -> Vec<String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let separators = |word: &&str| matches!(*word, "|" | "||" | "&&" | "&" | ";");
        words.split(separators).flat_map(|command| self.one_command_problems(command)).collect()
    }

    fn one_command_problems(&self, words: &[&str]) -> Vec<String> {
        match words {
            [assignment, rest @ ..] if assignment.contains('=') => self.one_command_problems(rest),
            [program, args @ ..] if is_ipc_bench(program) => self.bench_problems(args),
            ["cargo", "xtask"] => Vec::new(),
            ["cargo", "xtask", name, args @ ..] => {
                let Some(command) = COMMANDS.iter().find(|command| command.name == *name) else {
                    return vec![format!("no command: cargo xtask {name}")];
                };
                if command.name == "bench" {
                    return self.bench_problems(args.strip_prefix(&["--"]).unwrap_or(args));
                }
                let known = |flag: &&str| command.flags.contains(flag);
                let unknown = flags_of(args).filter(|flag| !known(flag));
                let mut problems: Vec<_> =
                    unknown.map(|flag| format!("cargo xtask {name} has no {flag}")).collect();
                let steps = args.windows(2).filter(|pair| pair[0] == "--only" && !ci::has_step(pair[1]));
                problems.extend(steps.map(|pair| format!("cargo xtask ci has no step {}", pair[1])));
                problems
            }
            _ => Vec::new(),
        }
    }

    fn bench_problems(&self, args: &[&str]) -> Vec<String> {
        let unknown = flags_of(args).filter(|flag| !self.flags.contains(*flag));
        let mut problems: Vec<_> = unknown.map(|flag| format!("ipc-bench has no {flag}")).collect();
        let first = args.first().filter(|first| first.starts_with(|c: char| c.is_ascii_lowercase()));
        problems.extend(
            first
                .filter(|name| !self.subcommands.contains(**name))
                .map(|name| format!("ipc-bench has no {name}")),
        );
        problems
    }

    /// A flag in running text is ours unless it stands in the code of another program's command.
    fn prose_problems(&self, line: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (index, part) in line.split('`').enumerate() {
            let in_code = index % 2 == 1;
            if in_code && is_ours(part) {
                problems.extend(self.command_problems(part));
            } else if !in_code || part.starts_with("--") {
                let known = |flag: &str| {
                    self.flags.contains(flag) || COMMANDS.iter().any(|command| command.flags.contains(&flag))
                };
                problems.extend(
                    flags(part)
                        .filter(|flag| !known(flag))
                        .map(|flag| format!("no program of ours has {flag}")),
                );
            }
        }
        problems
    }
}

/// The long flags among the words of a command.
fn flags_of<'a>(args: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    args.iter().filter(|word| word.starts_with("--")).flat_map(|word| flags(word).take(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: (&str, &str) = (
        "ipc-bench-cli/tests/snapshots/help.snap",
        "Usage: ipc-bench <COMMAND>\n\nCommands:\n  run   Measure\n  list  Show\n\nOptions:\n      --trials <N>  \
         How often\n  -q, --quiet       Say less\n      --json[=<FILE>]\n",
    );

    fn problems(rule: fn(&Tree) -> Result<Vec<String>>, path: &str, text: &str) -> Vec<String> {
        let test = ("tests/src/contract.rs", "pub fn order_is_kept() {}\ninstantiate!(uds: ipc::Uds, \"\");");
        let unit = ("a/src/lib.rs", "fn product() {}\n#[cfg(test)]\nmod tests {\n    fn it_works() {}\n}");
        let run = ("tests/tests/examples.rs", "examples! { shown says \"done\"; }");
        let examples =
            [("tests/examples/shown.rs", "fn main() {}"), ("tests/examples/not_shown.rs", "fn main() {}")];
        let cases = (STATUS_PAGES[1], "| A case | not built: of no use here |");
        let made_up = [HELP, test, unit, run, examples[0], examples[1], cases, (path, text)];
        rule(&Tree::made_up(&made_up)).expect("a readable tree")
    }

    fn row(status: &str) -> Vec<String> {
        let page = format!("| Feature | Status |\n|---|---|\n| Pipes | {status} |\n");
        problems(feature_rows_name_what_exists, "docs/features.md", &page)
    }

    #[test]
    fn a_feature_that_is_shown_or_explained_passes() {
        assert_eq!(row("yes: `order_is_kept`, `a::tests::it_works`, `uds::order_is_kept`"), [""; 0]);
        assert_eq!(row("yes: `ipc-bench run --trials 3`, `cargo xtask bench -- list`"), [""; 0]);
        assert_eq!(row("yes: `cargo xtask ci --only tidy`, `shown`"), [""; 0]);
        assert_eq!(row("not built: nobody wrote it yet"), [""; 0]);
    }

    #[test]
    fn a_feature_that_names_nothing_real_is_refused() {
        for status in [
            "yes",
            "yes:",
            "yes: of course",
            "maybe",
            "not built:",
            "yes: `no_such_test`",
            "yes: `product`",
            "yes: `not_shown`",
            "yes: `tcp::order_is_kept`",
            "yes: `ipc-bench fly`",
            "yes: `ipc-bench run --wings`",
            "yes: `cargo xtask fly`",
            "yes: `cargo xtask tidy --full`",
            "yes: `cargo xtask ci --only flying`",
        ] {
            assert_eq!(row(status).len(), 1, "{status}");
        }
        let elsewhere = problems(feature_rows_name_what_exists, "docs/other.md", "");
        assert_eq!(elsewhere, ["docs/features.md: missing"]);
    }

    #[test]
    fn a_flag_that_exists_may_be_named() {
        let count = |text| problems(pages_name_flags_that_exist, "README.md", text).len();
        assert_eq!(
            count("Use `--json=-`, `--full` or --trials 3 — or `docker run --ulimit memlock=-1`.\n---\n"),
            0
        );
        assert_eq!(
            count("```console\n$ X=1 ipc-bench run --json=- | jq --raw-output .\n$ cargo build --all\n```"),
            0
        );
    }

    #[test]
    fn a_flag_that_does_not_exist_is_refused() {
        let count = |text| problems(pages_name_flags_that_exist, "docs/tuning.md", text).len();
        assert_eq!(count("Use `--wings`."), 1);
        assert_eq!(count("Use --wings."), 1);
        assert_eq!(count("Use `ipc-bench run --wings=2`."), 1);
        assert_eq!(count("```console\n$ cargo xtask bench -- run \\\n  --wings\n```"), 1);
        assert_eq!(count("```console\n$ true && target/release/ipc-bench fly\n```"), 1);
        assert_eq!(count("```console no-run: why\n$ cargo xtask fly\n```"), 1);
    }

    #[test]
    fn a_command_that_does_not_run_without_a_reason_is_refused() {
        let count = |text| problems(commands_that_do_not_run_say_why, "README.md", text).len();
        assert_eq!(count("```console no-run\n$ rm\n```"), 1);
        assert_eq!(count("```console no-run: needs a second host\n$ rm\n```"), 0);
    }
}
