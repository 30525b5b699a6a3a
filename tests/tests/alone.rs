//! Checks in a process of their own, for every transport.

use std::process::{Command, Output};

use ipc_transports::{DENY_VARIABLE, Transport, feature_list};

const ALONE: &str = env!("CARGO_BIN_EXE_alone");
const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A run of `check` on `T` in a process of its own, still to be given its environment.
fn alone<T: Transport>(check: &str) -> Command {
    let mut command = Command::new(ALONE);
    command.args([T::NAME, check, PEER]);
    command
}

/// Panics with what a failed run said.
fn assert_success(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}{}", output.status, said(&output.stdout), said(&output.stderr));
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program alone runs");
    assert_success(&output);
    output
}

fn each_feature_denied<T: Transport>() {
    let features = feature_list().map(|(name, ..)| name);
    std::thread::scope(|scope| {
        for feature in features {
            scope.spawn(move || {
                run(alone::<T>("a_missing_feature_is_replaced_or_named").env(DENY_VARIABLE, feature))
            });
        }
    });
}

fn with_and_without_a_runtime_directory<T: Transport>() {
    let (runtime, temporary) = (tempfile::tempdir(), tempfile::tempdir());
    let (runtime, temporary) = (runtime.expect("a directory"), temporary.expect("a directory"));
    let check = "names_live_in_a_private_directory";
    run(alone::<T>(check).env("XDG_RUNTIME_DIR", runtime.path()));
    run(alone::<T>(check).env_remove("XDG_RUNTIME_DIR").env("TMPDIR", temporary.path()));
}

macro_rules! alone_tests {
    ($module:ident: $transport:ty, ""; $($capability:ident)*) => {
        mod $module {
            type T = $transport;

            #[test]
            fn nothing_is_left_behind() {
                super::run(&mut super::alone::<T>("nothing_is_left_behind"));
            }

            #[test]
            fn hot_paths_allocate_nothing() {
                super::run(&mut super::alone::<T>("hot_paths_allocate_nothing"));
            }

            #[test]
            fn one_cpu_is_enough() {
                super::run(&mut super::alone::<T>("one_cpu_is_enough"));
            }

            #[test]
            fn a_missing_feature_is_replaced_or_named() {
                super::each_feature_denied::<T>();
            }

            #[test]
            fn names_live_in_a_private_directory() {
                super::with_and_without_a_runtime_directory::<T>();
            }

            #[test]
            fn a_forked_child_is_told_so() {
                super::run(&mut super::alone::<T>("a_forked_child_is_told_so"));
            }

            #[test]
            fn running_out_of_descriptors_is_a_limit() {
                super::run(&mut super::alone::<T>("running_out_of_descriptors_is_a_limit"));
            }
        }
    };
    ($($with_options:tt)*) => {};
}

ipc_tests::for_each_transport!(alone_tests);

#[test]
fn an_unknown_feature_to_deny_is_refused_by_name() {
    let mut command = alone::<ipc_transports::Uds>("a_missing_feature_is_replaced_or_named");
    let output = command.env(DENY_VARIABLE, "no_such_feature").output().expect("the program alone runs");
    assert_success(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("refused") && said.contains("membarrier"), "{said}");
}
