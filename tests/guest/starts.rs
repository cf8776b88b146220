//! `start` to the end: an agent in an image that buildah made, with its prompt, files, variables and workspace, beside a stand-in for a bundle.

use crate::bottle::Finished;
use crate::egress::{greeter, in_a_network};
use crate::files;
use crate::processes::{monitor, ours, wait_for};
use crate::setup::{PROGRAM, agent_archive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A home whose agent is this script, and a repository to work on.
fn home(script: &str, front: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let provider = serde_json::json!({
        "command": "sh",
        "image": agent_archive(),
        "bypass_args": ["-c", script, "agent"],
        "prompt_mode": {"arguments": ["--prompt-file"]},
        "env_vars": {"QUIET": "1", "MINE": "under the bottle's"},
        "egress_routes": [{"host": "api.example.com"}],
    });
    let large: Vec<u8> = (0..3_000_000u32).map(|number| number.to_le_bytes()[1]).collect();
    for (path, bytes) in [
        (".bot-bottle/contrib/mine/provider.json", provider.to_string().as_bytes()),
        (".bot-bottle/bottles/dev.md", format!("---\nagent_provider: {{template: mine}}\n{front}---\n").as_bytes()),
        (
            ".bot-bottle/agents/coder.md",
            b"---\nbottle: dev\nskills: [review]\ngit-gate: {user: {name: Ann}}\n---\nGo to work.\n",
        ),
        ("skills-elsewhere/review/SKILL.md", b"how to review\n"),
        ("repo/.git/HEAD", b"ref: refs/heads/main\n"),
        ("repo/src/large", &large),
    ] {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir(home.path().join(TEMPORARY)).unwrap();
    symlink("src/large", home.path().join("repo/link")).unwrap();
    fs::create_dir_all(home.path().join(".claude/skills")).unwrap();
    symlink(home.path().join("skills-elsewhere/review"), home.path().join(".claude/skills/review")).unwrap();
    home
}

fn command(home: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--yes", "--mem", "512M"]);
    surround(&mut command, home.path());
    command.env("HOST_B", "of-the-host").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Where it would find room for temporary files, of which there are none.
const TEMPORARY: &str = "temporary";

/// The home and its repository.
pub fn surround(command: &mut Command, home: &Path) {
    command.current_dir(home.join("repo")).env("BOT_BOTTLE_HOME", home.join(".bot-bottle"));
    // Kernels and the cache are the real home's; skills are this one's.
    for (name, directory) in [("XDG_DATA_HOME", ".local/share"), ("XDG_CACHE_HOME", ".cache")] {
        if std::env::var_os(name).is_none() {
            command.env(name, Path::new(&std::env::var("HOME").unwrap()).join(directory));
        }
    }
    fs::create_dir_all(home.join(TEMPORARY)).unwrap();
    command.env("TMPDIR", home.join(TEMPORARY));
    command.env("HOME", home).env_remove("BOT_BOTTLE_DRY_RUN").env_remove("BOT_BOTTLE_IMAGE");
}

fn states(home: &TempDir) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home.path().join(".bot-bottle/state")) else { return vec![] };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

const SCRIPT: &str = r#"
echo "$(id -un) $(pwd) $HOME $USER $(hostname | cut -c1-17)"
echo "words $*"
cat ~/.bot-bottle-prompt.txt; echo
cat ~/.gitconfig
stat -c '%U %a %n' ~/.bot-bottle-prompt.txt ~/.claude/skills/review/SKILL.md .git/HEAD src src/large
readlink link; cmp link src/large && wc -c <link
echo "env $LITERAL $OWN $HOST_B $QUIET $MINE $NO_PROXY $HTTPS_PROXY $https_proxy ${SUPERVISE_URL-none}"
exec 3<>/dev/tcp/192.0.2.10/8888; cat <&3
timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.10/22' 2>/dev/null && echo reached; exit 7
"#;

#[test]
fn an_agent_has_its_prompt_files_variables_and_workspace_and_nothing_is_left() {
    agent_archive();
    in_a_network(|| {
        greeter("192.0.2.10:8888");
        greeter("192.0.2.10:22");
        let home = home(
            &format!("exec bash -c '{}' agent \"$@\"", SCRIPT.replace('\'', "'\\''")),
            "env: {OWN: 'of the bottle', HOST_B: '${HOST_B}', MINE: over, HOME: '${HOME}', USER: root}\n",
        );
        let before = files::listing(home.path());
        let log = tempfile::NamedTempFile::new().unwrap();
        let start = ["run", "coder", "--cwd", "--bundle", "external=192.0.2.10", "--egress-log"];
        let start = [&start[..], &[log.path().to_str().unwrap()]].concat();
        let finished = Finished::of(command(&home, &start).output().unwrap());
        assert_eq!(
            finished.text(),
            "node /home/node/workspace /home/node node bot-bottle-coder-\n\
             words --prompt-file /home/node/.bot-bottle-prompt.txt\n\
             Go to work.\n[user]\n\tname = \"Ann\"\n\
             node 600 /home/node/.bot-bottle-prompt.txt\nnode 644 /home/node/.claude/skills/review/SKILL.md\n\
             node 644 .git/HEAD\nnode 755 src\nnode 644 src/large\n\
             src/large\n3000000\n\
             env from-the-image of the bottle of-the-host 1 over localhost,127.0.0.1,192.0.2.10 http://192.0.2.10:8888 \
             http://192.0.2.10:8888 none\n\
             hello\n",
            "{}",
            finished.stderr
        );
        finished.exits(7).complains(&[
            "`HOME` and `USER` are set by us",
            "agent      coder\n",
            "egress: 1 refused: 192.0.2.10:22/tcp",
        ]);
        let logged = fs::read_to_string(&log).unwrap();
        assert!(logged.contains("\"port\":8888") && logged.contains("\"port\":22,"), "{logged}");
        let after = files::listing(home.path());
        assert!(after == before, "{:?} and not {:?}", after.keys(), before.keys());
        wait_for("nothing runs", || ours().is_empty());
    });
}

/// Starts, and waits for the agent's first line.
fn running(home: &TempDir, arguments: &[&str]) -> (Child, String) {
    let mut child = command(home, arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn ends(mut child: Child) -> Finished {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    Finished::of(child.wait_with_output().unwrap()).exits(0)
}

#[test]
fn a_bottle_that_is_marked_is_kept_and_comes_back_in_its_network() {
    agent_archive();
    in_a_network(|| {
        let home = home("echo $(hostname) $NO_PROXY; read line", "");
        let sockets = home.path().join("sockets");
        fs::create_dir(&sockets).unwrap();
        fs::set_permissions(&sockets, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let bundle = format!("sockets={}", sockets.display());
        let (child, first) = running(&home, &["start", "coder", "--bundle", &bundle]);
        let [state] = states(&home).try_into().unwrap();
        let slug = state.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(first.starts_with(&format!("bot-bottle-{slug} localhost,127.0.0.1,192.168.")), "{first}");
        let active = command_output(&home, &["list", "active"]);
        assert_eq!(active, format!("agent  bottle-vmm  {slug}  coder  egress\n"));
        assert!(command_output(&home, &["cleanup", "--dry-run"]).is_empty());
        fs::write(state.join("preserve"), "").unwrap();
        ends(child).complains(&[&format!("the bottle was kept: `bottle-vmm resume {slug}`")]);

        let (child, again) = running(&home, &["resume", &slug, "--bundle", &bundle]);
        assert_eq!(again, first, "the same name and network");
        assert!(!state.join("preserve").exists(), "the mark was for one end");
        ends(child);
        assert_eq!(states(&home), Vec::<PathBuf>::new());
    });
}

fn command_output(home: &TempDir, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).env("BOT_BOTTLE_HOME", home.path().join(".bot-bottle")).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn what_it_lacks_is_said_before_anything_is_asked() {
    agent_archive();
    in_a_network(|| {
        let home = home("true", "env: {WORD: ?Your word}\nsupervise: true\n");
        Finished::of(command(&home, &["start", "coder"]).output().unwrap()).exits(125).complains(&[
            "agent `coder` needs the gateways `egress` and `supervise`, which this version does not bring\n",
            "hint: start a bundle (bot-bottle's), and say where it is: `--bundle external=ADDRESS`",
        ]);
        assert_eq!(states(&home), Vec::<PathBuf>::new());
    });
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// That it ended by this signal, before or after it was held, and nothing is left.
fn ended_by(home: &TempDir, child: Child, signal: Signal) -> Finished {
    let output = child.wait_with_output().unwrap();
    let by_itself = output.status.signal() == Some(signal as i32);
    let finished = Finished::of(output);
    assert!(by_itself || finished.code == Some(128 + signal as i32), "{:?}: {}", finished.code, finished.stderr);
    assert_eq!(states(home), Vec::<PathBuf>::new());
    wait_for("nothing runs", || ours().is_empty());
    finished
}

#[test]
fn a_signal_at_any_moment_leaves_nothing_behind() {
    agent_archive();
    in_a_network(|| {
        let home = home("exec sleep 1000", "");
        for (number, milliseconds) in
            [0, 3, 6, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 1000, 3000].into_iter().enumerate()
        {
            let signal = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP][number % 3];
            let child =
                command(&home, &["start", "coder", "--cwd", "--bundle", "external=192.0.2.10"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(milliseconds));
            send(&child, signal);
            ended_by(&home, child, signal);
        }
    });
}

/// An image that never comes: whoever waits for it can leave.
#[test]
fn a_signal_while_the_image_is_read_takes_everything_back() {
    in_a_network(|| {
        let home = home("true", "");
        let image = home.path().join("image");
        nix::unistd::mkfifo(&image, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut start = command(&home, &["start", "coder", "--bundle", "external=192.0.2.10"]);
        let child = start.env("BOT_BOTTLE_IMAGE", &image).spawn().unwrap();
        // It is open from its end too when this is, and then there is nothing to read.
        let _writer = fs::OpenOptions::new().write(true).open(&image).unwrap();
        assert_eq!(states(&home).len(), 1);
        send(&child, Signal::SIGINT);
        ended_by(&home, child, Signal::SIGINT).exits(130).complains(&["interrupted; nothing was started"]);
    });
}

/// Programs that build are ended before us: a stand-in for docker that says when it builds, and what ends it.
#[test]
fn a_signal_while_an_image_is_built_ends_the_builder_first() {
    in_a_network(|| {
        let home = home("true", "");
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let script = "#!/bin/sh\n[ \"$1\" = version ] && exec echo 1\n[ \"$1\" = buildx ] && exit 1\n\
                      trap 'echo ended >>\"$HOME/builder\"; exit 1' TERM\necho building >>\"$HOME/builder\"\nwhile :; do sleep 0.1; done\n";
        fs::write(bin.join("docker"), script).unwrap();
        fs::set_permissions(bin.join("docker"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(home.path().join(".bot-bottle/contrib/mine/Dockerfile"), "FROM scratch\n").unwrap();
        let mut start = command(&home, &["start", "coder", "--bundle", "external=192.0.2.10"]);
        start.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        let child = start.spawn().unwrap();
        let said = || fs::read_to_string(home.path().join("builder")).unwrap_or_default();
        wait_for("it builds", || said() == "building\n");
        send(&child, Signal::SIGTERM);
        ended_by(&home, child, Signal::SIGTERM).exits(143).complains(&["ended by a signal while docker was at work"]);
        assert_eq!(said(), "building\nended\n");
    });
}

#[test]
fn a_killed_bottle_is_cleared_away_and_its_monitor_is_recorded_so_that_one_that_stays_is_found() {
    agent_archive();
    in_a_network(|| {
        let home = home("echo here; exec sleep 1000", "");
        let (mut child, _) = running(&home, &["start", "coder", "--bundle", "external=192.0.2.10"]);
        let [state] = states(&home).try_into().unwrap();
        let record: serde_json::Value =
            serde_json::from_slice(&fs::read(state.join("processes.json")).unwrap()).unwrap();
        let monitor = monitor().unwrap();
        let stat = fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
        let start_time: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
        assert_eq!(record["processes"][0]["role"], "launcher");
        assert_eq!(
            record["processes"][1],
            serde_json::json!({"role": "monitor", "pid": monitor, "start_time": start_time})
        );
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("the monitor goes with its launcher", || ours().is_empty());
        assert!(command_output(&home, &["cleanup", "--dry-run"]).starts_with("would remove coder-"));
        assert!(command_output(&home, &["cleanup", "--yes"]).starts_with("removed coder-"));
        assert_eq!(states(&home), Vec::<PathBuf>::new());
    });
}

/// An agent without one of its skills would be another one. Whoever wants to look at what went wrong has marked it meanwhile.
#[test]
fn a_skill_that_goes_meanwhile_is_an_error_and_a_bottle_that_is_marked_then_is_kept() {
    agent_archive();
    in_a_network(|| {
        let home = home("true", "");
        let child = command(&home, &["start", "coder", "--bundle", "external=192.0.2.10"]).spawn().unwrap();
        // The check that the sandbox can be had starts a monitor too, before there is a state.
        wait_for("it is planned", || states(&home).len() == 1);
        let [state] = states(&home).try_into().unwrap();
        fs::write(state.join("preserve"), "").unwrap();
        fs::remove_dir_all(home.path().join("skills-elsewhere/review")).unwrap();
        let slug = state.file_name().unwrap().to_str().unwrap().to_owned();
        Finished::of(child.wait_with_output().unwrap()).exits(125).prints("").complains(&[
            &format!("cannot read `{}` for the bottle", home.path().join(".claude/skills/review").display()),
            &format!("the bottle was kept: `bottle-vmm resume {slug}`\n"),
        ]);
        assert!(state.join("metadata.json").exists());
        assert!(command_output(&home, &["list", "kept"]).starts_with(&format!("bottle-vmm  {slug}  coder  ")));
        assert!(command_output(&home, &["cleanup", &slug, "--yes"]).starts_with("removed coder-"));
        assert_eq!(states(&home), Vec::<PathBuf>::new());
    });
}

/// The mark is meant for one end; a boot that is broken off is none.
#[test]
fn a_kept_bottle_whose_resume_is_interrupted_is_kept_still() {
    agent_archive();
    in_a_network(|| {
        let home = home("echo here; read line", "");
        let (child, _) = running(&home, &["start", "coder", "--bundle", "external=192.0.2.10"]);
        let [state] = states(&home).try_into().unwrap();
        fs::write(state.join("preserve"), "").unwrap();
        ends(child);
        let resume = ["resume", state.file_name().unwrap().to_str().unwrap(), "--bundle", "external=192.0.2.10"];
        let child = command(&home, &resume).spawn().unwrap();
        wait_for("it boots", || monitor().is_some());
        send(&child, Signal::SIGTERM);
        Finished::of(child.wait_with_output().unwrap()).exits(143).prints("");
        assert!(state.join("preserve").exists() && state.join("metadata.json").exists());
        let (child, again) = running(&home, &resume);
        assert_eq!(again, "here\n");
        ends(child);
        assert_eq!(states(&home), Vec::<PathBuf>::new());
    });
}
