//! The policy's own tests, tried on policies that are weaker than ours: each one-line mistake of the list has to fail them.
//!
//! The policy is pure and names nothing of ours, so it and its oracle are compiled apart, once for all mistakes (`weaknesses.rs`). What weak policies let
//! out of a real bottle is tried in `tests/guest/weakened.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod weaknesses;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::{fs, iter, thread};
use weaknesses::{VARIABLE, WEAKNESSES, copy, numbered, weaken};

const FILES: [&str; 9] = [
    "src/net/policy/cidr.rs",
    "src/net/policy/entry.rs",
    "src/net/policy/mod.rs",
    "src/net/policy/policy_test.rs",
    "src/net/policy/rule.rs",
    "src/net/policy/rule_test.rs",
    "src/net/policy/special.rs",
    "src/net/readback.rs",
    "src/net/readback_test.rs",
];

#[test]
fn no_weaker_policy_passes_the_policys_tests() {
    let tests = build();
    assert!(passes(&tests, 0), "without a mistake they pass: {}", tests.display());
    let mistakes = Mutex::new(numbered(&WEAKNESSES));
    let next = || mistakes.lock().unwrap().next();
    let survivors = || iter::from_fn(next).filter(|(number, ..)| passes(&tests, *number)).collect::<Vec<_>>();
    let survivors: Vec<_> = thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(survivors)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let survivors: Vec<_> = survivors.iter().map(|(_, weakness, instead)| (weakness.place, instead)).collect();
    assert!(survivors.is_empty(), "nobody noticed {survivors:#?}");
}

fn passes(tests: &Path, mistake: usize) -> bool {
    let mut tests = Command::new(tests);
    // A counterexample is enough, it need not be small.
    tests.env(VARIABLE, mistake.to_string()).env("PROPTEST_MAX_SHRINK_ITERS", "0").env("RUST_TEST_THREADS", "1");
    tests.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// The program of the tests of the policy that can make every mistake.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let _ = fs::remove_dir_all(root.join("src"));
    copy(&FILES, &root);
    copy(&["Cargo.lock"], &root);
    fs::write(root.join("src/lib.rs"), LIBRARY).unwrap();
    fs::write(root.join("Cargo.toml"), MANIFEST).unwrap();
    weaken(&root, &WEAKNESSES);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--offline", "--no-run", "--message-format=json", "--manifest-path"]);
    cargo.arg(root.join("Cargo.toml")).arg("--target-dir").arg(root.join("target"));
    let output = cargo.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the weak policies do not build");
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    messages.filter_map(|message| Some(message["executable"].as_str()?.into())).next_back().unwrap()
}

/// The first failure is enough: what comes before every other test (they run in the order of their names) sees to it.
const LIBRARY: &str = r"
pub mod net {
    pub mod policy;
    pub mod readback;
}

#[cfg(test)]
mod a_first {
    #[test]
    fn failure_ends_the_process() {
        std::panic::set_hook(Box::new(|_| std::process::abort()));
    }
}
";

const MANIFEST: &str = r#"
[package]
name = "weak-policy"
edition = "2024"

[lib]
doctest = false

[dependencies]
thiserror = "2"

[dev-dependencies]
proptest = "1"

[profile.dev]
opt-level = 2
debug = false

[workspace]
"#;
