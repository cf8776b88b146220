//! What is typed, taken from the host, or held for the gateways is in the agent's environment or nowhere: while an image is built, while the
//! agent runs, and after it.

use crate::egress::in_a_network;
use crate::processes::wait_for;
use crate::secrets::{canary, contains, search_files};
use crate::setup::agent_archive;
use crate::starts::surround;
use crate::terminal::Terminal;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Values of the host: for the agent, and for the gateways.
const OF_THE_HOST: [&str; 4] = ["HOST_B", "ROUTE_TOKEN", "FORGE_TOKEN", "PROVIDER_TOKEN"];

/// One of each, told apart by what they begin with.
fn canaries() -> Vec<(&'static str, String)> {
    ["WORD"].into_iter().chain(OF_THE_HOST).map(|name| (name, format!("{name}-{}", canary()))).collect()
}

/// A builder that says when it builds and waits until it may go on: docker, as far as it is asked for.
fn stand_in(home: &Path) -> String {
    let archive = agent_archive();
    let manifest = Command::new("tar").arg("xOf").arg(&archive).arg("manifest.json").output().unwrap().stdout;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let id = manifest[0]["Config"].as_str().unwrap().trim_end_matches(".json").to_owned();
    let script = format!(
        "#!/bin/sh\ncase $1 in\nversion) echo 1;;\nbuildx) exit 1;;\nsave) cat '{}';;\nbuild)\n\
         for word; do test \"$last\" = --iidfile && file=$word; last=$word; done\n\
         test \"$HOST_B$ROUTE_TOKEN$FORGE_TOKEN$PROVIDER_TOKEN\" && echo told >>\"$HOME/builder\"\n\
         echo building >>\"$HOME/builder\"\nuntil test -e \"$HOME/go\"; do sleep 0.1; done\necho sha256:{id} >\"$file\";;\nesac\n",
        archive.display()
    );
    let bin = home.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("docker"), script).unwrap();
    fs::set_permissions(bin.join("docker"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

fn home(provider: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let bottle = format!(
        "---\nagent_provider: {provider}\nenv: {{WORD: ?Your word, HOST_B: \"${{HOST_B}}\"}}\negress:\n  routes:\n    \
         - {{host: h.example, auth: {{scheme: token, token_ref: ROUTE_TOKEN}}}}\ngit-gate:\n  repos:\n    \
         app: {{url: git@forge.example:a.git, provisioned_key: {{provider: gitea, token_env: FORGE_TOKEN}}}}\n---\n"
    );
    let own = r#"{"command": "sh", "egress_routes": [{"host": "api.example.com", "token_ref": "PROVIDER_TOKEN"}],
                  "bypass_args": ["-c", "echo has ${#WORD} ${#HOST_B} ${ROUTE_TOKEN-no} ${FORGE_TOKEN-no}; read line; echo bye"]}"#;
    for (path, text) in [
        (".bot-bottle/contrib/mine/provider.json", own),
        (".bot-bottle/contrib/mine/Dockerfile", "FROM scratch\n"),
        (".bot-bottle/bottles/dev.md", &bottle),
        (".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\nGo.\n"),
        ("repo/Dockerfile", "FROM scratch\n"),
    ] {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    home
}

fn start(home: &TempDir, canaries: &[(&str, String)]) -> Terminal {
    let path = stand_in(home.path());
    let words = ["start", "coder", "--bundle", "external=192.0.2.10", "--mem", "512M"];
    Terminal::open_with(24, 80, &words, |command| {
        surround(command, home.path());
        command.env("PATH", path).env("TMPDIR", home.path());
        for (name, value) in canaries.iter().filter(|(name, _)| *name != "WORD") {
            command.env(name, value);
        }
    })
}

/// Launcher, monitor and builder.
fn ours() -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        words[0].ends_with("bottle-vmm")
            || words[0] == "bottle-vmm-monitor"
            || words.iter().any(|word| word.ends_with("bin/docker"))
    });
    ours.collect()
}

/// As [`found`], with proof that it looked at processes, as many as there are at least.
fn found_in_processes(least: usize, home: &Path, canaries: &[(&str, String)]) -> Vec<String> {
    let read = |pid: &i32| ["cmdline", "environ"].iter().all(|file| fs::read(format!("/proc/{pid}/{file}")).is_ok());
    let (before, found) = (ours(), found(home, canaries));
    assert!(before.iter().filter(|pid| read(pid)).count() >= least, "{before:?}");
    found
}

/// Arguments and environments of our processes, and files of the home; what was written into the cache since.
fn found(home: &Path, canaries: &[(&str, String)]) -> Vec<String> {
    let shown: Vec<PathBuf> =
        ours().iter().flat_map(|pid| ["cmdline", "environ"].map(|file| format!("/proc/{pid}/{file}").into())).collect();
    let cache = std::env::var("XDG_CACHE_HOME")
        .map_or_else(|_| Path::new(&std::env::var("HOME").unwrap()).join(".cache"), PathBuf::from);
    let since = home.join(".bot-bottle/agents/coder.md");
    let newer = Command::new("find").arg(cache.join("bottle-vmm")).args(["-type", "f", "-newer"]).arg(since).output();
    let newer = String::from_utf8(newer.unwrap().stdout).unwrap();
    let files = shown.into_iter().chain(newer.lines().map(PathBuf::from));
    let files: Vec<_> = files.map(|path| (path.display().to_string(), fs::read(path).unwrap_or_default())).collect();
    let mut found = vec![];
    for (name, canary) in canaries {
        found.extend(
            files.iter().filter(|(_, bytes)| contains(bytes, canary)).map(|(path, _)| format!("{name} in {path}")),
        );
        found.extend(search_files(home, canary).lines().map(|path| format!("{name} in {path}")));
    }
    found
}

/// Until it builds, and then until it may go on.
fn through_the_build(home: &TempDir, terminal: &mut Terminal, canaries: &[(&str, String)]) {
    terminal.shows("Your word (WORD): ").types(&format!("{}\n", canaries[0].1)).shows("Start it? [y/N]: ").types("y\n");
    let said = || fs::read_to_string(home.path().join("builder")).unwrap_or_default();
    wait_for("it builds", || !said().is_empty());
    assert_eq!(said(), "building\n", "the builder has none of them");
    // The launcher and its builder.
    assert_eq!(found_in_processes(2, home.path(), canaries), Vec::<String>::new(), "while it is built");
    fs::write(home.path().join("go"), "").unwrap();
}

#[test]
fn a_secret_is_in_no_file_argument_environment_or_log_of_a_start() {
    agent_archive();
    in_a_network(|| {
        let (home, canaries) = (home("{template: mine}"), canaries());
        let mut terminal = start(&home, &canaries);
        through_the_build(&home, &mut terminal, &canaries);
        let lengths = [0, 1].map(|index| canaries[index].1.len());
        // What the agent has, or this test could not fail.
        terminal.shows(&format!("has {} {} no no", lengths[0], lengths[1]));
        // The launcher and its monitor.
        assert_eq!(found_in_processes(2, home.path(), &canaries), Vec::<String>::new(), "while it runs");
        terminal.types("\n").shows("bye");
        let terminal = terminal.exits(0);
        assert_eq!(found(home.path(), &canaries), Vec::<String>::new(), "after it");
        assert!(
            canaries.iter().all(|(_, canary)| !contains(terminal.shown().as_bytes(), canary)),
            "{}",
            terminal.shown()
        );
        assert!(!home.path().join(".bot-bottle/state").exists());
    });
}

/// Claude's own token goes the same way; the image has no such program.
#[test]
fn claudes_token_is_nowhere_either() {
    agent_archive();
    in_a_network(|| {
        let (home, canaries) =
            (home("{template: claude, dockerfile: Dockerfile, auth_token: PROVIDER_TOKEN}"), canaries());
        let mut terminal = start(&home, &canaries);
        through_the_build(&home, &mut terminal, &canaries);
        terminal.shows("is to have `claude` in its PATH");
        let terminal = terminal.exits(127);
        assert!(
            canaries.iter().all(|(_, canary)| !contains(terminal.shown().as_bytes(), canary)),
            "{}",
            terminal.shown()
        );
        assert_eq!(found(home.path(), &canaries), Vec::<String>::new());
    });
}
