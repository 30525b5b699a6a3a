//! Workflow files are right before a runner reads them, and a page shows the one that there is.

use super::docs::Help;
use super::tree::{File, Tree};
use anyhow::Result;
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

const DIRECTORY: &str = ".github/workflows";

/// Every workflow is YAML, says what its token may do and how long each job may take, names actions by a version or a
/// commit, and starts commands of ours with flags that exist. `${{ matrix.NAME }}` in a command stands for each of its values.
pub(super) fn workflows_can_run(tree: &Tree) -> Result<Vec<String>> {
    let help = Help::read(tree);
    let files = tree.files.iter().filter(|file| is_workflow(file));
    Ok(files
        .flat_map(|file| {
            let problems = problems(&file.text, &help);
            problems.into_iter().map(|problem| format!("{}: {problem}", file.path.display()))
        })
        .collect())
}

/// A workflow on a page is a copy of the file that its fence names (```` ```yaml .github/workflows/NAME ````), to the letter:
/// what people copy is what runs here.
pub(super) fn pages_show_the_workflows_that_run(tree: &Tree) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for page in tree.files.iter().filter(|file| tree.is_page(file)) {
        for (line, of, text) in yaml_blocks(&page.text) {
            let file = tree.files.iter().find(|file| is_workflow(file) && file.path == Path::new(of));
            let what = match file {
                Some(file) if file.text == text => continue,
                Some(_) => format!("differs from {of}"),
                None if of.is_empty() && !text.contains("\njobs:") => continue,
                None if of.is_empty() => format!("a workflow that runs nowhere: ```yaml {DIRECTORY}/NAME"),
                None => format!("there is no workflow {of}"),
            };
            problems.push(format!("{}:{line}: {what}", page.path.display()));
        }
    }
    Ok(problems)
}

fn is_workflow(file: &File) -> bool {
    file.path.starts_with(DIRECTORY)
        && file.path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

/// The `yaml` blocks of a page: the line of the fence, what follows the word `yaml`, and the text.
fn yaml_blocks(page: &str) -> Vec<(usize, &str, String)> {
    let (mut blocks, mut lines) = (Vec::new(), page.lines().enumerate());
    while let Some((index, line)) = lines.next() {
        let Some(of) = line.strip_prefix("```yaml") else { continue };
        let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        blocks.push((index + 1, of.trim(), body.map(|line| format!("{line}\n")).collect()));
    }
    blocks
}

/// What is wrong with the text of a workflow.
fn problems(text: &str, help: &Help) -> Vec<String> {
    let document = match YamlLoader::load_from_str(text).as_deref() {
        Ok([document]) => document.clone(),
        Ok(_) => return vec!["not one YAML document".into()],
        Err(error) => return vec![format!("no YAML: {error}")],
    };
    let mut problems = Vec::new();
    if document["permissions"].is_badvalue() {
        problems.push("no permissions: the token may whatever the repository's default is".into());
    }
    let Some(jobs) = document["jobs"].as_hash().filter(|jobs| !jobs.is_empty()) else {
        return [problems, vec!["no jobs".into()]].concat();
    };
    for (name, job) in jobs {
        let name = name.as_str().unwrap_or("?");
        if job["timeout-minutes"].as_i64().is_none() {
            problems.push(format!("job {name}: no timeout-minutes: a hang takes six hours"));
        }
        let steps = job["steps"].as_vec().map_or(&[][..], Vec::as_slice);
        if steps.is_empty() {
            problems.push(format!("job {name}: no steps"));
        }
        for (index, step) in steps.iter().enumerate() {
            let wrong = step_problems(step, job, help);
            problems.extend(wrong.iter().map(|what| format!("job {name}, step {}: {what}", index + 1)));
        }
    }
    problems
}

fn step_problems(step: &Yaml, job: &Yaml, help: &Help) -> Vec<String> {
    match (step["uses"].as_str(), step["run"].as_str()) {
        (Some(action), None) if is_pinned(action) => Vec::new(),
        (Some(action), None) => {
            vec![format!("{action} names no version (@v4) or commit: it changes by itself")]
        }
        (None, Some(script)) => {
            let lines = script.replace("\\\n", " ");
            lines
                .lines()
                .flat_map(|line| expanded(line, &job["strategy"]["matrix"]))
                .flat_map(|line| help.command_problems(&line))
                .collect()
        }
        _ => vec!["a step is `uses` or `run`".into()],
    }
}

/// Whether an action is named by a version or by the hash of a commit, and not by a branch; one of this repository has neither.
fn is_pinned(action: &str) -> bool {
    let Some((_, reference)) = action.split_once('@') else { return action.starts_with("./") };
    let is_version = reference.strip_prefix('v').is_some_and(|version| {
        version.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    is_version || reference.len() == 40 && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A line of shell with each value of the matrix that it names.
fn expanded(line: &str, matrix: &Yaml) -> Vec<String> {
    let mut lines = vec![line.to_owned()];
    for (name, values) in matrix.as_hash().into_iter().flatten() {
        let (Some(name), Some(values)) = (name.as_str(), values.as_vec()) else { continue };
        let placeholder = format!("${{{{ matrix.{name} }}}}");
        if line.contains(&placeholder) {
            let values: Vec<&str> = values.iter().filter_map(Yaml::as_str).collect();
            lines = lines
                .iter()
                .flat_map(|line| values.iter().map(|value| line.replace(&placeholder, value)))
                .collect();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: (&str, &str) = (
        "ipc-bench-cli/tests/snapshots/help.snap",
        "Commands:\n  ab  Compare\n\nOptions:\n      --gate  Fail\n  -p, --preset <NAME>\n",
    );

    const GOOD: &str = "\
name: good
permissions:
  contents: read
jobs:
  one:
    strategy:
      matrix:
        dose:
          - ci --full
          - tidy
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@v6
      - run: cargo xtask ${{ matrix.dose }}
      - run: >
          target/release/ipc-bench ab
          -p ci --gate
";

    fn told(rule: fn(&Tree) -> Result<Vec<String>>, workflow: &str, page: &str) -> Vec<String> {
        let files = [HELP, (".github/workflows/good.yml", workflow), ("docs/ci.md", page)];
        rule(&Tree::made_up(&files)).expect("a readable tree")
    }

    #[test]
    fn a_workflow_that_can_run_passes() {
        assert_eq!(told(workflows_can_run, GOOD, ""), [""; 0]);
        let commit = GOOD.replace("@v6", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8");
        assert_eq!(told(workflows_can_run, &commit, ""), [""; 0]);
    }

    #[test]
    fn a_broken_workflow_is_reported() {
        for (right, wrong, what) in [
            ("jobs:\n", "jobs: [\n", "no YAML"),
            ("permissions:\n  contents: read\n", "", "no permissions"),
            ("    timeout-minutes: 5\n", "", "job one: no timeout-minutes"),
            ("jobs:", "job:", "no jobs"),
            ("    steps:", "    step:", "job one: no steps"),
            ("checkout@v6", "checkout@main", "job one, step 1: actions/checkout@main names no version"),
            ("checkout@v6", "checkout", "job one, step 1: actions/checkout names no version"),
            ("- uses:", "- use:", "job one, step 1: a step is"),
            ("          - tidy", "          - tidy --fly", "job one, step 2: cargo xtask tidy has no --fly"),
            ("xtask ${{ matrix.dose }}", "xtask fly", "job one, step 2: no command: cargo xtask fly"),
            ("ipc-bench ab", "ipc-bench fly", "job one, step 3: ipc-bench has no fly"),
            ("--gate", "--fly", "job one, step 3: ipc-bench has no --fly"),
        ] {
            let broken = GOOD.replace(right, wrong);
            assert_ne!(broken, GOOD, "{right}");
            let told = told(workflows_can_run, &broken, "");
            assert_eq!(told.len(), 1, "{wrong}: {told:?}");
            assert!(told[0].starts_with(&format!(".github/workflows/good.yml: {what}")), "{wrong}: {told:?}");
        }
    }

    #[test]
    fn a_page_shows_the_workflow_that_there_is() {
        let page = |of: &str, text: &str| format!("Copy this:\n\n```yaml{of}\n{text}```\n");
        let count = |page: &str| told(pages_show_the_workflows_that_run, GOOD, page).len();
        assert_eq!(count(&page(" .github/workflows/good.yml", GOOD)), 0);
        assert_eq!(count(&page("", "some: thing\n")), 0);
        assert_eq!(count(&page(" .github/workflows/good.yml", &GOOD.replace('5', "6"))), 1);
        assert_eq!(count(&page(" .github/workflows/bad.yml", GOOD)), 1);
        assert_eq!(count(&page("", GOOD)), 1);
    }
}
