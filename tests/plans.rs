//! The commands around plans, as a person or a program runs them: in a home of the test's own, without a terminal. With one, and on a
//! machine that can run bottles, it is `tests/guest/plans.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod home;
#[path = "home/program.rs"]
mod program;

use program::Answer;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bottle-vmm");

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let bottle = "---\nenv: {A: canary-literal, B: \"${HOST_B}\", C: ?Your word}\negress:\n  routes:\n    - host: h.example\n      \
                      auth: {scheme: token, token_ref: TOKEN}\n---\n";
        home::write(home.0.path(), ".bot-bottle/bottles/dev.md", bottle);
        home::write(home.0.path(), ".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\nGo.\n");
        fs::create_dir_all(home.0.path().join("repo")).unwrap();
        home
    }

    fn command(&self, program: &str) -> Command {
        let mut command = program::command(self.0.path(), program);
        command.env("HOST_B", "canary-host").env("TOKEN", "canary-token");
        command
    }

    fn answer(&self, output: &Output) -> Answer {
        let answer = Answer::of(self.0.path(), output);
        for said in [&answer.stdout, &answer.stderr] {
            assert!(!said.contains("canary"), "{said}");
        }
        answer
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        self.answer(&self.command(PROGRAM).args(arguments).output().unwrap())
    }

    fn listing(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        home::listing(self.0.path())
    }

    fn slugs(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.0.path().join(".bot-bottle/state")) else { return BTreeSet::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

/// That this machine cannot run bottles is no matter here.
fn without_warnings(text: &str) -> String {
    text.lines().filter(|line| !line.contains("warning: it could not run")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn plan_is_for_people_or_for_programs_and_leaves_nothing() {
    let home = Home::new();
    let before = home.listing();
    let people = home.run(&["plan", "coder"]);
    assert_eq!(people.code, 0, "{}", people.stderr);
    assert!(people.stdout.starts_with("agent      coder\nbottle     dev\nprovider   claude\nenv        A, B, C, "));
    assert!(people.stdout.contains("h.example [auth:token]\n"), "{}", people.stdout);
    let program = home.run(&["plan", "coder", "--json", "--cwd", "--label", "fix"]);
    let plan: serde_json::Value = serde_json::from_str(&program.stdout).unwrap();
    assert_eq!((&plan["slug"], &plan["machine_name"]), (&"fix".into(), &"bot-bottle-fix".into()));
    assert_eq!(plan["guest_env"]["B"], serde_json::json!({"source": "host", "from": "HOST_B"}));
    assert_eq!(plan["egress_plan"]["token_slots"]["EGRESS_TOKEN_0"], "TOKEN");
    assert_eq!(plan["workspace_plan"]["workdir"], "/home/node/workspace");
    let mut beside = home.command(PROGRAM);
    beside.args(["plan", "coder", "--json", "--bundle", "external=192.0.2.2"]).env_remove("TOKEN");
    let beside = home.answer(&beside.output().unwrap());
    assert_eq!(without_warnings(&beside.stderr), "");
    let plan: serde_json::Value = serde_json::from_str(&beside.stdout).unwrap();
    assert_eq!(plan["bundle_ip"], "192.0.2.2", "a bundle has its own tokens");
    assert_eq!(home.listing(), before);
}

/// In a network namespace of its own, where abstract sockets are its own too.
#[test]
fn a_dry_run_leaves_its_state_and_neither_process_nor_socket() {
    let home = Home::new();
    let before = home.listing();
    let script = format!(
        "count() {{ wc -l </proc/net/unix; set -- /proc/[0-9]*; echo $#; }}; count >&2; {PROGRAM} start coder --dry-run; code=$?; count >&2; exit $code"
    );
    let unshare = ["--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", &script];
    let output = home.command("unshare").args(unshare).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let counts: Vec<_> = said.lines().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit())).collect();
    assert_eq!(counts.len(), 4, "{said}");
    assert_eq!(counts[..2], counts[2..], "{said}");

    let slug = home.slugs().pop_first().unwrap();
    assert!(said.contains(&format!("dry run: nothing was started; `resume {slug}` starts it")), "{said}");
    let after = home.listing();
    let state = Path::new(".bot-bottle/state");
    let written: Vec<_> = after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .map(|path| path.strip_prefix(state).unwrap().display().to_string().replace(&slug, "SLUG"))
        .collect();
    assert_eq!(
        written,
        [
            "",
            ".lock",
            "SLUG",
            "SLUG/agent",
            "SLUG/agent/claude.json",
            "SLUG/agent/prompt.txt",
            "SLUG/egress",
            "SLUG/egress/routes.yaml",
            "SLUG/image",
            "SLUG/image/Dockerfile",
            "SLUG/lock",
            "SLUG/metadata.json",
            "SLUG/origin.json",
            "SLUG/processes.json"
        ]
    );
    for (path, (mode, bytes)) in &after {
        match before.get(path) {
            Some(same) => assert_eq!(same, &(*mode, bytes.clone()), "{}", path.display()),
            None => assert!([0o600, 0o700].contains(mode), "{}: {mode:o}", path.display()),
        }
        let secret =
            ["canary-host", "canary-token"].iter().any(|canary| String::from_utf8_lossy(bytes).contains(canary));
        assert!(!secret, "{}", path.display());
    }
}

/// A bzImage is unpacked for a bottle, not for a question. `doctor` looks at it as a dry run does, on machines that run no bottles too.
#[test]
fn a_kernel_that_is_only_looked_at_is_not_unpacked() {
    let home = Home::new();
    let kernel = home.0.path().join("repo/bzImage");
    fs::write(&kernel, bzimage()).unwrap();
    let before = home.listing();
    let run = |arguments: &[&str]| home.command(PROGRAM).args(arguments).args(["--kernel", "./bzImage"]).output();
    let answer = home.answer(&run(&["doctor"]).unwrap());
    assert!(answer.stdout.contains("`run` takes ./bzImage\n"), "{}", answer.stdout);
    assert_eq!(home.listing(), before);
    assert_eq!(home.answer(&run(&["start", "coder", "--dry-run"]).unwrap()).code, 0);
    assert!(!home.0.path().join(".cache").exists());
}

/// As far as a kernel's head tells (Documentation/arch/x86/boot.rst): it says where it is packed, and is as long as that.
fn bzimage() -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    bytes[0x1f1] = 1;
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
    bytes[0x24c..0x250].copy_from_slice(&4096u32.to_le_bytes());
    bytes
}

#[test]
fn a_dry_run_is_brought_back_by_resume_and_cleared_away_by_cleanup() {
    let home = Home::new();
    let before = home.listing();
    let dry = home.command(PROGRAM).args(["start", "coder"]).env("BOT_BOTTLE_DRY_RUN", "1").output().unwrap();
    assert_eq!(home.answer(&dry).code, 0);
    let slug = home.slugs().pop_first().unwrap();
    let again = home.run(&["resume", &slug, "--dry-run"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains(&format!("`resume {slug}` starts it")), "{}", again.stderr);
    assert_eq!(home.slugs(), BTreeSet::from([slug.clone()]));
    // Other tests may have bottles of their own.
    for active in [home.run(&["list", "active"]), home.run(&["list", "active", "--json"])] {
        assert!(active.code == 0 && !active.stdout.contains(&slug), "{}", active.stdout);
    }

    let asked = home.run(&["cleanup"]);
    assert_eq!((asked.code, asked.stdout), (125, format!("would remove {slug} (agent coder)\n")));
    assert!(asked.stderr.contains("there is no terminal\nhint: `--yes` removes without asking"), "{}", asked.stderr);
    for only_told in [&["cleanup", "--dry-run"][..], &["cleanup", "--dry-run", "--yes"]] {
        assert_eq!(home.run(only_told).stdout, format!("would remove {slug} (agent coder)\n"));
    }
    assert_eq!(home.slugs(), BTreeSet::from([slug.clone()]));
    assert_eq!(home.run(&["cleanup", "--yes"]).stdout, format!("removed {slug} (agent coder)\n"));
    assert_eq!(home.listing(), before);
    assert_eq!(home.run(&["cleanup"]).stderr, "bottle-vmm: there is nothing to clean up\n");
}

/// `preserve` is what keeps a bottle from `cleanup`; its name is what takes it there. Of bot-bottle's there is a line, and nothing else.
#[test]
fn kept_bottles_are_listed_with_bot_bottles_and_go_by_name() {
    let home = Home::new();
    assert_eq!(home.run(&["start", "coder", "--dry-run", "--label", "Fix-Login"]).code, 0);
    home::write(home.0.path(), ".bot-bottle/state/fix-login/preserve", "");
    let theirs = r#"{"identity": "theirs-1", "agent_name": "a", "cwd": "", "copy_cwd": false, "started_at": "2026-06-03T21:38:00+00:00"}"#;
    home::write(home.0.path(), ".bot-bottle/state/theirs-1/metadata.json", theirs);
    let before = home.listing();
    let listed = home.run(&["list", "kept"]);
    let lines: Vec<Vec<_>> = listed.stdout.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(lines, [["bottle-vmm", "fix-login", "coder"], ["docker", "theirs-1", "a"]]);
    assert!(listed.stdout.ends_with("  2026-06-03T21:38:00+00:00\n"), "{}", listed.stdout);
    let json: serde_json::Value = serde_json::from_str(&home.run(&["list", "kept", "--json"]).stdout).unwrap();
    assert_eq!((&json[0]["label"], &json[0]["preserved"]), (&"Fix-Login".into(), &true.into()));
    assert_eq!((&json[1]["backend"], &json[1]["preserved"]), (&"docker".into(), &false.into()));

    for refused in [&["resume", "theirs-1", "--dry-run"][..], &["cleanup", "theirs-1", "--yes"]] {
        let answer = home.run(refused);
        assert_eq!(answer.code, 125);
        assert!(answer.stderr.contains("was made by the backend `docker` of bot-bottle\nhint: "), "{}", answer.stderr);
    }
    assert_eq!(home.run(&["resume"]).stderr, "bottle-vmm: which bottle?\nhint: there is only `fix-login`\n");
    assert_eq!(home.run(&["cleanup", "--yes"]).stderr, "bottle-vmm: there is nothing to clean up\n");
    let nobody = home.run(&["cleanup", "fix-login", "nobody", "--yes"]);
    assert_eq!(nobody.stderr, "bottle-vmm: no bottle `nobody` was kept\nhint: there is only `fix-login`\n");
    assert_eq!(home.listing(), before, "and nothing is written beside what is bot-bottle's");
    assert_eq!(home.run(&["cleanup", "fix-login", "--yes"]).stdout, "removed fix-login (agent coder)\n");
    assert_eq!(home.slugs(), BTreeSet::from(["theirs-1".to_owned()]));
}

/// The word that people type; what `run` has for commands is not for agents, and the other way round.
#[test]
fn run_with_an_agent_is_start() {
    let home = Home::new();
    let dry = home.run(&["run", "coder", "--dry-run", "--label", "fix"]);
    assert!(dry.code == 0 && dry.stderr.contains("agent      coder\n"), "{}", dry.stderr);
    assert_eq!(home.slugs(), BTreeSet::from(["fix".to_owned()]));
    for (wrong, said, hint) in [
        (
            &["run", "coder", "--image", "agent.tar"][..],
            "unexpected argument '--image' found",
            "an agent's image is its bottle's",
        ),
        (&["run", "coder", "--", "ls"], "unexpected argument 'ls' found", "`run --image IMAGE -- COMMAND`"),
        (
            &["run", "debian:12"],
            "there is no agent `debian:12`\n",
            "if it is an image: `bottle-vmm run --image IMAGE -- COMMAND`",
        ),
        (&["run", "../repo"], "there is no agent `../repo`\n", "there is only `coder`; if it is an image: "),
        (&["run", "codr"], "there is no agent `codr`\n", "hint: did you mean `coder`? there is only `coder`\n"),
    ] {
        let answer = home.run(wrong);
        assert_eq!((answer.code, answer.stdout.as_str()), (125, ""), "{wrong:?}");
        for said in [said, hint] {
            assert!(answer.stderr.contains(said), "{said} is not in {}", answer.stderr);
        }
    }
}

#[test]
fn where_there_is_no_current_directory_nothing_is_planned() {
    let home = Home::new();
    let gone = home.0.path().join("gone");
    let script =
        format!("mkdir {0}; cd {0}; rmdir {0}; exec {PROGRAM} start coder --cwd --dry-run --label x", gone.display());
    let answer = home.answer(&home.command("sh").args(["-c", &script]).output().unwrap());
    assert_eq!(
        (answer.code, answer.stderr.as_str()),
        (
            125,
            "bottle-vmm: there is no current directory: No such file or directory (os error 2)\n\
             hint: `cd` to a directory that is there; agents of a repository are looked for in it\n"
        )
    );
    assert_eq!(home.slugs(), BTreeSet::new());
}

/// An archive may unpack to any name.
#[test]
fn names_of_directories_do_nothing_to_a_terminal() {
    let home = Home::new();
    let repo = "a \u{1b}[31m\u{202e}b";
    home::write(home.0.path(), &format!("{repo}/.bot-bottle/agents/theirs.md"), "---\nbottle: dev\n---\n");
    home::write(home.0.path(), &format!("{repo}/.bot-bottle/bottles/x.md"), "");
    for arguments in [&["info", "theirs"][..], &["plan", "theirs", "--cwd"], &["list"]] {
        let answer =
            home.answer(&home.command(PROGRAM).current_dir(home.0.path().join(repo)).args(arguments).output().unwrap());
        let said = answer.stdout + &answer.stderr;
        assert!(answer.code == 0 && said.contains("a \u{fffd}[31m\u{fffd}b"), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    }
}

/// What `run` holds while its bottle runs.
#[test]
fn a_bottle_of_run_is_listed_by_its_name() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let (home, name) = (Home::new(), format!("list-test-{}", std::process::id()));
    let address = format!("bottle-vmm/{}/{name}", nix::unistd::getuid());
    let held = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(address).unwrap()).unwrap();
    let line = |active: &Answer| active.stdout.lines().find(|line| line.contains(&name)).map(str::to_owned);
    let words: Vec<_> = line(&home.run(&["list", "active"])).unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["run", "bottle-vmm", &name]);
    let json: Vec<serde_json::Value> = serde_json::from_str(&home.run(&["list", "active", "--json"]).stdout).unwrap();
    let listed = json.iter().find(|it| it["identity"] == name.as_str()).unwrap();
    assert_eq!((&listed["kind"], &listed["agent"]), (&"run".into(), &serde_json::Value::Null));
    drop(held);
    assert_eq!(line(&home.run(&["list", "active"])), None);
}

#[test]
fn ten_at_once_are_ten_bottles() {
    let home = Home::new();
    let start = || home.command(PROGRAM).args(["start", "coder", "--dry-run"]).spawn().unwrap();
    let children: Vec<_> = (0..10).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.slugs().len(), 10);
}

#[test]
fn whoever_does_not_know_the_name_is_told_and_whoever_cannot_be_asked_too() {
    let home = Home::new();
    for command in ["start", "plan"] {
        let answer = home.run(&[command]);
        assert_eq!(
            (answer.code, answer.stderr.as_str()),
            (125, "bottle-vmm: which agent?\nhint: there is only `coder`\n")
        );
    }
    assert_eq!(
        home.run(&["resume"]).stderr,
        "bottle-vmm: which bottle?\nhint: none was kept: `start` makes a new one\n"
    );
    let nobody = home.run(&["start", "codr", "--dry-run"]);
    assert_eq!(
        nobody.stderr,
        "bottle-vmm: there is no agent `codr`\nhint: did you mean `coder`? there is only `coder`\n"
    );
    assert_eq!(home.run(&["start", "codr"]).stderr, nobody.stderr, "rather than that nobody can be asked");
    let answer = home.run(&["start", "coder"]);
    assert_eq!(
        (answer.code, answer.stderr.as_str()),
        (
            125,
            "bottle-vmm: `start` asks before it starts, and there is no terminal\n\
             hint: `--yes` starts without asking, `--headless --prompt TEXT` also gives the agent its task\n"
        )
    );
    for wrong in [
        &["start", "coder", "--headless"][..],
        &["start", "coder", "--prompt", "x"],
        &["start", "coder", "--bottle", "A"],
    ] {
        assert_eq!(home.run(wrong).code, 125, "{wrong:?}");
    }
    assert_eq!(home.slugs(), BTreeSet::new());
}

#[test]
fn a_variable_that_is_not_set_is_named_and_nothing_is_left() {
    let home = Home::new();
    let before = home.listing();
    let output = home.command(PROGRAM).args(["start", "coder", "--dry-run"]).env_remove("HOST_B").output().unwrap();
    assert_eq!(
        without_warnings(&home.answer(&output).stderr),
        "bottle-vmm: `HOST_B` is not set in this environment\nhint: `export HOST_B=…` first; `.bot-bottle/bottles/dev.md:2` asks for it\n"
    );
    let output = home.command(PROGRAM).args(["plan", "coder", "--json"]).env_remove("TOKEN").output().unwrap();
    let answer = home.answer(&output);
    assert_eq!((answer.code, answer.stdout.as_str()), (125, ""));
    assert!(answer.stderr.starts_with("bottle-vmm: `TOKEN`, which holds a token, is not set"), "{}", answer.stderr);
    assert_eq!(home.listing(), before);
}

/// On a tiny file system of the test's own, in a mount namespace of its own.
fn on_small_disk(home: &Home, then: &str) -> Answer {
    let own = home.0.path().join(".bot-bottle");
    let script = format!(
        "set -e; cp -r {own} {own}.copy; mount -t tmpfs -o size=128k,mode=0700 tmpfs {own}; cp -r {own}.copy/. {own}; rm -r {own}.copy; {then}; \
         set +e; {PROGRAM} start coder --dry-run; code=$?; ls -A {own}; exit $code",
        own = own.display()
    );
    let output = home.command("unshare").args(["--map-root-user", "--mount", "sh", "-c", &script]).output().unwrap();
    home.answer(&output)
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half_done() {
    let home = Home::new();
    let answer = on_small_disk(
        &home,
        &format!("cat /dev/zero >{}/.bot-bottle/fill 2>/dev/null || true", home.0.path().display()),
    );
    assert_eq!((answer.code, answer.stdout.as_str()), (125, "agents\nbottles\nfill\n"), "{}", answer.stderr);
    let slug = answer.stderr.split_once("state/").unwrap().1.split_once('/').unwrap().0;
    assert_eq!(
        answer.stderr,
        format!(
            "bottle-vmm: cannot write `.bot-bottle/state/{slug}/metadata.json`\n  caused by: No space left on device (os error 28)\n\
             hint: make room: `bottle-vmm cleanup` removes what killed bottles left\n"
        )
    );
}

#[test]
fn a_home_that_cannot_be_written_to_is_said() {
    let home = Home::new();
    let answer = on_small_disk(&home, &format!("mount -o remount,ro {}/.bot-bottle", home.0.path().display()));
    assert_eq!((answer.code, answer.stdout.as_str()), (125, "agents\nbottles\n"));
    assert_eq!(
        answer.stderr,
        "bottle-vmm: cannot make `.bot-bottle/state`\n  caused by: Read-only file system (os error 30)\n\
         hint: is the directory yours to write? BOT_BOTTLE_HOME can name another\n"
    );
}

#[test]
fn the_examples_of_the_helps_are_commands() {
    use clap::CommandFactory as _;
    let mut count = 0;
    for command in bottle_vmm::cli::args::Cli::command().get_subcommands() {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in examples.lines().filter_map(|line| line.trim().strip_prefix("bottle-vmm ")) {
            if !["start", "plan", "resume", "cleanup"].contains(&command.get_name()) {
                continue;
            }
            let line = line.split(" | ").next().unwrap().replace("'fix the tests'", "fix");
            let words = std::iter::once("bottle-vmm").chain(line.split_whitespace()).map(Into::into);
            bottle_vmm::cli::args::Cli::of(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
    }
    assert!(count >= 8, "{count}");
}

/// An image may take minutes: what is wrong with the rest is said before, here of one that would not even be found.
#[test]
fn what_can_be_judged_without_an_image_is_judged_before_there_is_one() {
    let home = Home::new();
    fs::write(home.0.path().join("repo/bad.env"), "A=1\nNO SUCH LINE=2\n").unwrap();
    for (wrong, said) in [
        (&["--env-file", "nowhere.env"][..], "cannot read the environment file nowhere.env"),
        (&["--env-file", "bad.env"], "bad.env:2: a line is `NAME=VALUE`"),
        (&["--user", "a:b:c"], "`--user a:b:c` is not the name or number of a user"),
        (&["--allow", "[2001:db8::1]:443"], "there is no IPv6 in a bottle"),
    ] {
        let answer = home.run(&[&["run", "--dockerfile", "nowhere"], wrong].concat());
        assert_eq!(answer.code, 125);
        assert!(answer.stderr.starts_with("bottle-vmm: ") && answer.stderr.contains(said), "{}", answer.stderr);
    }
    let answer = home.run(&["start", "coder", "--yes", "--bundle", "external=2001:db8::1"]);
    assert!(answer.stderr.contains("there is no IPv6 in a bottle"), "{}", answer.stderr);
    let answer = home.run(&["start", "coder", "--yes", "--egress-log", "log"]);
    assert!(
        answer.stderr.contains("--egress-log means nothing") && answer.stderr.contains("`--bundle`"),
        "{}",
        answer.stderr
    );
}

/// Names only. Also beside a plan for programs: whoever runs one reads standard error.
#[test]
fn what_a_plan_will_not_come_to_is_a_warning() {
    let home = Home::new();
    let bottle = "---\nenv: {NO_PROXY: canary, D: $HOME, E: a$b, F: $1}\nagent_provider: {template: claude, dockerfile: nowhere/Dockerfile}\n---\n";
    home::write(home.0.path(), ".bot-bottle/bottles/dev.md", bottle);
    let warnings = "bottle-vmm: warning: it could not start on this machine: the bottle's Dockerfile, `repo/nowhere/Dockerfile`, is not there\n\
                    bottle-vmm: warning: it needs `egress` from a bundle: a start takes `--bundle external=ADDRESS`\n\
                    bottle-vmm: warning: `NO_PROXY` is set by us: the value is not used that the bottle's `env` has\n\
                    bottle-vmm: warning: `D` gets the text that the bottle's `env` has, `$` and all: a variable of this machine is written `${NAME}`\n";
    let program = home.run(&["plan", "coder", "--json"]);
    assert_eq!((program.code, without_warnings(&program.stderr).as_str()), (0, warnings));
    let plan = home.run(&["plan", "coder"]);
    assert_eq!((plan.code, without_warnings(&plan.stderr).as_str()), (0, warnings));
    assert!(plan.stdout.contains("built from repo/nowhere/Dockerfile\n"), "{}", plan.stdout);
    let dry = home.run(&["start", "coder", "--dry-run"]);
    assert!(dry.code == 0 && dry.stderr.contains(warnings), "{}", dry.stderr);
    home::write(home.0.path(), ".bot-bottle/bottles/dev.md", "---\n---\n");
    assert!(home.run(&["plan", "coder"]).stdout.contains("built from built-in (claude)\n"));
}

/// A broken manifest is said with its place, as everywhere.
#[test]
fn a_broken_bottle_has_its_place() {
    let home = Home::new();
    fs::write(home.0.path().join(".bot-bottle/bottles/dev.md"), "---\nenvv: {}\n---\n").unwrap();
    let answer = home.run(&["start", "coder", "--dry-run"]);
    assert!(
        answer.stderr.starts_with("bottle-vmm: .bot-bottle/bottles/dev.md:2:1: unknown key `envv`"),
        "{}",
        answer.stderr
    );
    assert!(!Path::new(&home.0.path().join(".bot-bottle/state")).exists());
}
