//! `cargo xtask tidy`: the rules of this tree that no compiler checks, held by a program instead of by memory.
//!
//! It reads files and manifests only (no git, no network, no build), so it runs in a copied tree as well as in a
//! clone. It is a test of this package too: `the_tree_is_tidy`. Each rule is one function with a test that shows it
//! fail on a small made-up tree, because a rule that cannot fail is no rule.

mod absence;
mod arrows;
mod docs;
mod places;
mod tree;
mod workflows;

pub(crate) use tree::Tree;

use crate::workspace;
use anyhow::Result;
use std::fmt::{self, Display};
use std::path::Path;
use std::process::ExitCode;

/// A rule returns one sentence per problem, `file:line: what is wrong and what to do instead`.
type Rule = fn(&Tree) -> Result<Vec<String>>;

const RULES: &[(&str, Rule)] = &[
    ("arrows", arrows::dependencies_follow_the_table),
    ("owners", absence::crates_stay_out_of_what_others_own),
    ("clocks", absence::transports_read_clocks_for_deadlines_only),
    ("sleeps", absence::nothing_sleeps_to_wait_for_something),
    ("locks", absence::shared_memory_has_no_process_private_locks),
    ("names", absence::no_operation_has_a_twin),
    ("unsafe", absence::unsafe_stays_in_its_homes),
    ("statistics", absence::renderers_compute_no_statistics),
    ("features", docs::feature_rows_name_what_exists),
    ("flags", docs::pages_name_flags_that_exist),
    ("no-run", docs::commands_that_do_not_run_say_why),
    ("workflows", workflows::workflows_can_run),
    ("copies", workflows::pages_show_the_workflows_that_run),
    ("paths", places::no_file_names_a_machine),
    ("registries", places::packages_come_from_crates_io),
];

/// What `tidy` found: problems fail it, notes do not.
pub(crate) struct Report {
    pub(crate) problems: Vec<String>,
    notes: Vec<String>,
}

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    anyhow::ensure!(args.is_empty(), "tidy has no arguments");
    let report = check(&workspace::root()?)?;
    print!("{report}");
    Ok(ExitCode::from(u8::from(!report.problems.is_empty())))
}

/// Every rule over the tree below `root`.
pub(crate) fn check(root: &Path) -> Result<Report> {
    let tree = Tree::read(root)?;
    let mut problems = Vec::new();
    for (name, rule) in RULES {
        problems.extend(rule(&tree)?.into_iter().map(|problem| format!("{problem} [{name}]")));
    }
    Ok(Report { problems, notes: places::long_files(&tree) })
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for problem in &self.problems {
            writeln!(out, "{problem}")?;
        }
        writeln!(out, "tidy: {} rules, {} problems", RULES.len(), self.problems.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let report = check(&workspace::root().expect("a workspace")).expect("a readable tree");
        assert!(report.problems.is_empty(), "\n{report}");
    }
}
