//! Which crate may build on which: the table of `ARCHITECTURE.md`, checked against the manifests.

use super::Tree;
use crate::workspace;
use anyhow::Result;
use cargo_metadata::DependencyKind;

/// One crate's row. A new arrow is an ADR plus a line here.
struct Row {
    krate: &'static str,
    /// Crates of ours it may use.
    ours: &'static [&'static str],
    /// Crates of ours it may use in its tests, besides those.
    ours_in_tests: &'static [&'static str],
    others: Others,
}

enum Others {
    /// These and nothing else, tests excepted: the libraries that people link.
    Only(&'static [&'static str]),
    /// Anything but these, in tests too: the programs.
    AllBut(&'static [&'static str]),
}
use Others::{AllBut, Only};

const LIBRARIES: &[&str] =
    &["ipc-core", "ipc-transports", "ipc-async", "ipc-actors", "ipc-limits", "ipc-results"];

const TABLE: &[Row] = &[
    Row {
        krate: "ipc-core",
        ours: &[],
        ours_in_tests: &[],
        others: Only(&["serde", "postcard", "zerocopy"]),
    },
    Row {
        krate: "ipc-transports",
        ours: &["ipc-core"],
        ours_in_tests: &[],
        others: Only(&["rustix", "libc", "polling", "hmac", "sha2", "loom"]),
    },
    Row {
        krate: "ipc-async",
        ours: &["ipc-core"],
        ours_in_tests: &["ipc-transports"],
        others: Only(&["mio", "futures-core", "parking_lot"]),
    },
    Row {
        krate: "ipc-actors",
        ours: &["ipc-core"],
        ours_in_tests: &["ipc-transports"],
        others: Only(&[
            "crossbeam-deque",
            "parking_lot",
            "polling",
            "rustix",
            "serde",
            "serde_json",
            "tracing",
            "loom",
        ]),
    },
    Row { krate: "ipc-limits", ours: &[], ours_in_tests: &[], others: Only(&["rustix", "libc"]) },
    Row { krate: "ipc-results", ours: &[], ours_in_tests: &[], others: AllBut(&["clap", "mio", "polling"]) },
    Row { krate: "ipc-bench-cli", ours: LIBRARIES, ours_in_tests: &[], others: AllBut(&["mio", "polling"]) },
    Row {
        krate: "ipc-tests",
        ours: &[
            "ipc-core",
            "ipc-transports",
            "ipc-async",
            "ipc-actors",
            "ipc-limits",
            "ipc-results",
            "ipc-bench-cli",
        ],
        ours_in_tests: &[],
        others: AllBut(&[]),
    },
    Row { krate: "xtask", ours: &[], ours_in_tests: &[], others: AllBut(&[]) },
];

/// Nobody is given a runtime: tests and benchmarks may run under it.
const IN_TESTS_ONLY: &str = "tokio";

/// What a crate brings only to those who ask for a feature.
const OPTIONAL: [(&str, &str); 1] = [("ipc-core", "zerocopy")];

/// No crate has a direct dependency that its row does not allow, and every crate has a row.
pub(super) fn dependencies_follow_the_table(tree: &Tree) -> Result<Vec<String>> {
    let metadata = workspace::metadata(&tree.root)?;
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let Some(row) = TABLE.iter().find(|row| package.name == row.krate) else {
            problems.push(format!(
                "{}: not in the table of arrows: a new crate is an ADR and a row",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let in_tests = dependency.kind == DependencyKind::Development;
            let allowed = if workspace::has_package(&metadata, name) {
                row.ours.contains(&name) || in_tests && row.ours_in_tests.contains(&name)
            } else {
                match row.others {
                    Only(names) => in_tests || names.contains(&name),
                    AllBut(names) => !names.contains(&name),
                }
            };
            if !allowed || name == IN_TESTS_ONLY && !in_tests {
                problems.push(format!("{}/Cargo.toml: must not depend on {name}", row.krate));
            }
            if OPTIONAL.contains(&(row.krate, name)) && !in_tests && !dependency.optional {
                problems.push(format!("{}/Cargo.toml: {name} must be optional", row.krate));
            }
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of one-line crates: (name, the sections of its manifest that declare dependencies).
    fn problems(crates: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        };
        let members: Vec<_> = crates.iter().map(|(name, _)| format!("{name:?}")).collect();
        write("Cargo.toml", &format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(", ")));
        for (name, dependencies) in crates {
            write(&format!("{name}/Cargo.toml"), &format!("[package]\nname = {name:?}\n{dependencies}\n"));
            write(&format!("{name}/src/lib.rs"), "");
        }
        let tree = Tree { root: root.path().into(), files: Vec::new() };
        dependencies_follow_the_table(&tree).expect("a readable workspace")
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_refused() {
        let core = ("ipc-core", "");
        let upward = "[dependencies]\nipc-core = { path = \"../ipc-core\" }";
        assert_eq!(problems(&[core, ("ipc-transports", upward)]), [""; 0]);
        assert_eq!(
            problems(&[core, ("ipc-limits", upward)]),
            ["ipc-limits/Cargo.toml: must not depend on ipc-core"]
        );
        let build = "[build-dependencies]\nipc-core = { path = \"../ipc-core\" }";
        assert_eq!(problems(&[core, ("xtask", build)]).len(), 1);
    }

    #[test]
    fn a_library_takes_only_the_libraries_of_its_row() {
        assert_eq!(problems(&[("ipc-core", "[dependencies]\nserde = \"1\"")]), [""; 0]);
        let clap = problems(&[("ipc-core", "[dependencies]\nclap = \"4\"")]);
        assert_eq!(clap, ["ipc-core/Cargo.toml: must not depend on clap"]);
        let optional = "[dependencies]\nmio = { version = \"1\", optional = true }";
        assert_eq!(problems(&[("ipc-transports", optional)]).len(), 1);
        let for_one_target = "[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"";
        assert_eq!(problems(&[("ipc-core", for_one_target)]).len(), 1);
    }

    #[test]
    fn tokio_is_for_tests_and_what_a_feature_brings_is_optional() {
        let tokio = |section| format!("[{section}]\ntokio = \"1\"");
        for krate in ["ipc-async", "ipc-bench-cli", "ipc-tests"] {
            let refused = format!("{krate}/Cargo.toml: must not depend on tokio");
            assert_eq!(problems(&[(krate, &tokio("dependencies"))]), [refused]);
            assert_eq!(problems(&[(krate, &tokio("dev-dependencies"))]), [""; 0]);
        }
        let given = problems(&[("ipc-core", "[dependencies]\nzerocopy = \"0.8\"")]);
        assert_eq!(given, ["ipc-core/Cargo.toml: zerocopy must be optional"]);
        let asked_for = "[dependencies]\nzerocopy = { version = \"0.8\", optional = true }";
        assert_eq!(problems(&[("ipc-core", asked_for)]), [""; 0]);
    }

    #[test]
    fn tests_may_use_what_the_table_says() {
        let transports = ("ipc-transports", "");
        let in_tests =
            "[dev-dependencies]\nproptest = \"1\"\nipc-transports = { path = \"../ipc-transports\" }";
        assert_eq!(problems(&[transports, ("ipc-async", in_tests)]), [""; 0]);
        assert_eq!(problems(&[transports, ("ipc-core", in_tests)]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        assert_eq!(problems(&[("ipc-extra", "")]).len(), 1);
    }
}
