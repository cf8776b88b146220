//! The repository tests itself: its rules, its map and its commands.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file that git tracks, with its text.
fn sources() -> Vec<(String, String)> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).current_dir(root()).output().unwrap();
    let files: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(files.len() > 50, "git lists the sources");
    files.into_iter().filter_map(|file| Some((file.clone(), fs::read_to_string(root().join(file)).ok()?))).collect()
}

fn is_test(file: &str) -> bool {
    file.ends_with("_test.rs")
        || file.ends_with("testing.rs")
        || file.starts_with("tests/guest")
        || file.starts_with("tests/artifacts")
        || file.contains("/tests/")
        || file.contains("fuzz")
}

/// Where `unsafe` may stand, and why.
const UNSAFE: [(&str, &str); 22] = [
    ("src/sys/descriptors.rs", "close_range"),
    ("src/sys/environ.rs", "the initial environment block"),
    ("src/sys/held_signals.rs", "a child's signal mask between fork and exec"),
    ("src/sys/mapped.rs", "mapping a file"),
    ("src/sys/positioned.rs", "pread and pwrite into guest memory"),
    ("src/sys/passing.rs", "owning received descriptors"),
    ("src/sys/vectored.rs", "writev from guest memory"),
    ("src/vmm/memory.rs", "mapping guest memory, handing it to KVM"),
    ("src/vmm/machine.rs", "taking over the KVM descriptor"),
    ("src/vmm/vcpu/stats.rs", "an ioctl that kvm-ioctls lacks"),
    ("src/monitor/wire.rs", "owning received descriptors"),
    ("src/monitor/sandbox/violation.rs", "a signal handler"),
    ("src/monitor/sandbox/probe.rs", "system calls as an attacker makes them"),
    ("src/host/kvm.rs", "taking over a duplicated KVM descriptor"),
    ("src/launch/terminal.rs", "the window size ioctl"),
    ("guest/agent/src/main.rs", "the symbol main: the runtime of std aborts without a console"),
    ("guest/agent/src/sys.rs", "system calls of PID 1"),
    ("guest/agent/src/spawn.rs", "fork and exec"),
    ("tests/kvmhost/src/sys.rs", "pre_exec and the window size ioctl"),
    ("tests/guest/terminal.rs", "the window size ioctl"),
    ("tests/fuzz/fuzz_targets/vsock.rs", "ignoring SIGPIPE"),
    ("tests/house_rules.rs", "this list names the word"),
];

#[test]
fn unsafe_stands_only_where_it_is_listed() {
    for (file, text) in sources() {
        let code = text.lines().map(|line| line.split("//").next().unwrap_or(""));
        let opts_in = code.clone().any(|line| line.contains("unsafe_code") && !line.contains("forbid"));
        let uses = code
            .into_iter()
            .any(|line| line.contains("unsafe {") || line.contains("unsafe impl") || line.contains("unsafe extern"));
        if (opts_in || uses) && !UNSAFE.iter().any(|(listed, _)| file.starts_with(listed)) {
            panic!("{file} uses unsafe; list it in tests/house_rules.rs with its reason, or do without");
        }
    }
}

#[test]
fn files_are_short_enough_to_be_read() {
    for (file, text) in sources().into_iter().filter(|(file, _)| !is_test(file)) {
        let lines = text.split("\n#[cfg(test)]").next().unwrap_or("").lines().count();
        assert!(lines <= 500, "{file} has {lines} lines before its tests");
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (file, text) in sources().into_iter().filter(|(file, _)| !is_test(file)) {
        let included = text.lines().next().is_some_and(|line| line.starts_with("//!") || line.starts_with("#!"));
        assert!(included, "{file} does not begin with `//!`");
    }
}

#[test]
fn the_machine_knows_nothing_of_bottles() {
    let forbidden = [
        "crate::cli",
        "crate::launch",
        "crate::image",
        "crate::kernel",
        "crate::control",
        "crate::host",
        "crate::monitor",
        "crate::net",
    ];
    for (file, text) in sources().into_iter().filter(|(file, _)| file.starts_with("src/vmm/")) {
        for module in forbidden {
            assert!(!text.contains(module), "{file} names {module}");
        }
    }
}

#[test]
fn the_network_stack_knows_neither_machine_nor_launcher() {
    for (file, text) in sources().into_iter().filter(|(file, _)| file.starts_with("src/net/")) {
        let inside = |path: &str| path.starts_with("net::") || !file.starts_with("src/net/stack/");
        for path in text.split("crate::").skip(1) {
            assert!(inside(path), "{file} names crate::{}", path.lines().next().unwrap_or(""));
            let machine = path.starts_with("vmm::") && !file.starts_with("src/net/backend");
            assert!(!machine, "{file} names the machine; only src/net/backend.rs does");
        }
    }
}

#[test]
fn the_policy_knows_nothing_of_ours() {
    let files = sources().into_iter().filter(|(file, _)| file.starts_with("src/net/policy/") && !is_test(file));
    for (file, text) in files {
        assert!(!text.contains("crate::"), "{file} names something beyond itself");
    }
}

#[test]
fn only_the_command_line_prints() {
    for (file, text) in sources()
        .into_iter()
        .filter(|(file, _)| file.starts_with("src/") && !file.starts_with("src/cli/") && !is_test(file))
    {
        for word in ["println!", "print!(", "process::exit"] {
            assert!(
                !text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)),
                "{file} has {word}"
            );
        }
    }
}

/// Words in backquotes that look like paths of the repository.
fn paths_in(text: &str) -> Vec<PathBuf> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| ["src/", "guest/", "tests/", "benches", "firmware"].iter().any(|start| word.starts_with(start)))
        .filter(|word| !word.contains(' '))
        .map(PathBuf::from)
        .collect()
}

#[test]
fn the_map_names_only_what_exists() {
    for document in ["ARCHITECTURE.md", "README.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let links =
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"));
        for path in paths_in(&text).into_iter().chain(links.map(PathBuf::from)) {
            assert!(root().join(&path).exists(), "{document} names {}, which is not there", path.display());
        }
    }
}

#[test]
fn every_bottle_vmm_command_of_the_readme_parses() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let fences = text.split("```sh").skip(1).filter_map(|rest| rest.split("```").next());
    let mut count = 0;
    for line in fences.flat_map(str::lines) {
        let line = line.split("  #").next().unwrap_or("");
        for command in line.split('|').filter_map(|part| part.trim().strip_prefix("bottle-vmm ")) {
            let words = split(command.split(" >").next().unwrap_or(command));
            let parsed = bottle_vmm::cli::args::Cli::of(
                std::iter::once("bottle-vmm".into()).chain(words.into_iter().map(Into::into)),
            );
            assert!(parsed.is_ok(), "`bottle-vmm {command}`: {}", parsed.err().unwrap());
            count += 1;
        }
    }
    assert!(count >= 10, "{count} commands were found");
}

/// Words as a shell splits them, as far as the README goes: blanks and single quotes.
fn split(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.trim().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The fences of the section on manifests: a bottle, one that extends it, and an agent in that. Nothing else is needed.
#[test]
fn the_manifests_of_the_readme_are_valid() {
    use bottle_vmm::manifest::{Catalogue, Places};
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let fences: Vec<_> = readme.split("```markdown\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in ["bottles/base.md", "bottles/dev.md", "agents/coder.md"].into_iter().zip(&fences) {
        assert!(readme.contains(&format!("`~/.bot-bottle/{path}`")), "{path} is told where to be");
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), text).unwrap();
    }
    let places = Places { own: dir.path().to_owned(), home: None, current: dir.path().to_owned() };
    let catalogue = Catalogue::open(&places).unwrap();
    let agent = catalogue.agent("coder").unwrap();
    let settings = catalogue.bottle_for(&agent).unwrap().settings;
    assert_eq!((fences.len(), settings.env.len(), settings.egress.unwrap().routes.len()), (3, 3, 2));
    assert_eq!(settings.git_gate.user.name.unwrap(), "Coder");
    assert!(agent.file.prompt.starts_with("You work"));
}

#[test]
fn the_changelog_keeps_its_form() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(text.starts_with("# Changelog\n"));
    let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let allowed = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    assert!(!headings.is_empty() && headings.iter().all(|heading| allowed.contains(heading)), "{headings:?}");
}
