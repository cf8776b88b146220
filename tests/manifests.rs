//! The commands around manifests, as a person runs them: in a home and a repository of the test's own, without a terminal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod home;
#[path = "home/program.rs"]
mod program;

use program::Answer;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for directory in ["repo/.bot-bottle/agents", ".bot-bottle/bottles", ".bot-bottle/agents"] {
            fs::create_dir_all(home.path(directory)).unwrap();
        }
        home
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn with(self, path: &str, text: &str) -> Self {
        home::write(self.0.path(), path, text);
        self
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn run(&self, editor: &str, arguments: &[&str]) -> Answer {
        let mut command = program::command(self.0.path(), env!("CARGO_BIN_EXE_bottle-vmm"));
        command.args(arguments).env("EDITOR", editor);
        Answer::of(self.0.path(), &command.output().unwrap())
    }

    /// What `edit` left of drafts.
    fn drafts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(".bot-bottle/drafts")).into_iter().flatten(); // a directory each
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn home() -> Home {
    Home::new()
        .with(".bot-bottle/bottles/base.md", "---\nenv: {A: canary-literal, B: \"${B}\", C: ?Your word}\n---\n")
        .with(".bot-bottle/bottles/dev.md", "---\nextends: base\nenv: {A: canary-child}\n---\n")
        .with(".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\nGo.\n")
        .with("repo/.bot-bottle/agents/theirs.md", "---\nbottle: nope\n---\n")
}

#[test]
fn list_has_everything_and_what_is_wrong_with_it() {
    let answer = home().run("", &["list"]);
    assert_eq!(
        answer.stdout,
        "agent   coder   in bottle dev\nagent   theirs  in bottle nope, of this repository, broken\n\
         bottle  base\nbottle  dev     base → dev\n"
    );
    assert_eq!(
        answer.stderr,
        "bottle-vmm: repo/.bot-bottle/agents/theirs.md:2:9: there is no bottle `nope`\nhint: there are `base` and `dev`\n"
    );
    assert_eq!(answer.code, 0);
    let json: serde_json::Value = serde_json::from_str(&home().run("", &["list", "--json"]).stdout).unwrap();
    assert_eq!(json["agents"][1]["error"].as_str().unwrap().split_once(": ").unwrap().1, "there is no bottle `nope`");
    assert_eq!(json["bottles"][1]["lineage"], serde_json::json!(["base", "dev"]));
}

/// Each thing once, and nothing in front of nothing.
#[test]
fn list_says_what_is_broken_once() {
    let home = home()
        .with(".bot-bottle/bottles/base.md", "---\nenvv: {}\n---\n")
        .with(".bot-bottle/bottles/other.md", "---\nextends: base\n---\n")
        .with("repo/.bot-bottle/agents/theirs.md", "---\nbotle: dev\n---\n");
    let answer = home.run("", &["list"]);
    assert_eq!(
        answer.stdout,
        "agent   coder   in bottle dev\nagent   theirs  of this repository, broken\n\
         bottle  base    broken\nbottle  dev     broken\nbottle  other   broken\n"
    );
    assert_eq!(answer.stderr.matches("base.md:2:1: unknown key `envv`").count(), 1, "{}", answer.stderr);
    assert_eq!(answer.stderr.matches("theirs.md:2:1: unknown key `botle`").count(), 1, "{}", answer.stderr);
    let json: serde_json::Value = serde_json::from_str(&home.run("", &["list", "--json"]).stdout).unwrap();
    for broken in [&json["agents"][1], &json["bottles"][0], &json["bottles"][1]] {
        assert!(
            broken["error"].is_string() && broken["hint"].as_str().unwrap().starts_with("did you mean `"),
            "{broken}"
        );
    }
    assert_eq!(json["agents"][0]["hint"], serde_json::Value::Null);
}

#[test]
fn info_has_names_of_variables_and_never_a_value() {
    let answer = home().run("", &["info", "coder"]);
    assert_eq!(
        answer.stdout,
        "agent      coder (.bot-bottle/agents/coder.md)\nbottle     base → dev\nprovider   claude\n\
         env        A (literal)\n           B (from $B)\n           C (asked for: Your word)\n\
         egress     api.anthropic.com\nsupervise  no\nprompt     3 characters\n"
    );
    let json = home().run("", &["info", "coder", "--json"]);
    for said in [answer.stdout, json.stdout.clone()] {
        assert!(!said.contains("canary"), "{said}");
    }
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["env"][2], serde_json::json!({"name": "C", "kind": "secret", "prompt": "Your word"}));
    let nobody = home().run("", &["info"]);
    assert_eq!(
        (nobody.code, nobody.stderr.as_str()),
        (125, "bottle-vmm: which agent?\nhint: there are `coder` and `theirs`\n")
    );
}

/// What can be reached, as `plan` has it, and the names of the tokens for it.
#[test]
fn info_has_the_providers_routes_and_where_tokens_come_from() {
    let info = |front: &str| {
        let home = home().with(".bot-bottle/bottles/dev.md", &format!("---\n{front}---\n"));
        let home = home.with(".bot-bottle/contrib/mine/Dockerfile", "FROM scratch\n");
        (home.run("", &["info", "coder"]), home.run("", &["info", "coder", "--json"]))
    };
    let (people, program) = info(
        "agent_provider: {template: claude, auth_token: CLAUDE}\negress:\n  routes:\n    - host: api.anthropic.com\n\
         \x20   - {host: h.example, path_allowlist: [/v1/], auth: {scheme: token, token_ref: TOKEN}}\n",
    );
    let routes =
        "egress     api.anthropic.com [auth:Bearer from $CLAUDE]\n           h.example [auth:token from $TOKEN] /v1/\n";
    assert!(people.stdout.contains(routes), "the provider owns its host: {}", people.stdout);
    let json: serde_json::Value = serde_json::from_str(&program.stdout).unwrap();
    assert_eq!(json["provider_routes"][0]["auth"]["token_ref"], "CLAUDE");

    let (people, _) = info("agent_provider: {template: codex, forward_host_credentials: true}\n");
    let routes = "egress     chatgpt.com [auth:Bearer from the host's login]\n           api.openai.com\n";
    assert!(people.stdout.contains(routes), "{}", people.stdout);

    let (people, program) = info("agent_provider: {template: mine}\n");
    assert!(people.code == 0 && !people.stdout.contains("egress"), "{}", people.stdout);
    let said = "bottle-vmm: the provider's own routes are not known: provider `mine` has no readable description";
    assert!(people.stderr.starts_with(said), "{}", people.stderr);
    let json: serde_json::Value = serde_json::from_str(&program.stdout).unwrap();
    assert_eq!(json["provider_routes"], serde_json::Value::Null);
}

#[test]
fn edit_takes_a_valid_text_and_keeps_another() {
    let home = home();
    let valid = home.run("sed -i s/child/other/", &["edit", "dev"]);
    assert_eq!(valid.stderr, "bottle-vmm: `.bot-bottle/bottles/dev.md` is written\n");
    assert!(home.read(".bot-bottle/bottles/dev.md").contains("canary-other"));

    let before = home.read(".bot-bottle/bottles/dev.md");
    let broken = home.run("sed -i s/extends/extnds/", &["edit", "dev"]);
    assert_eq!((broken.code, home.read(".bot-bottle/bottles/dev.md")), (125, before));
    let directory = home.drafts().pop().unwrap();
    let kept = directory.join("dev.md");
    assert!(fs::read_to_string(&kept).unwrap().contains("extnds"));
    let draft = format!(".bot-bottle/drafts/{}", directory.file_name().unwrap().display());
    let place = format!("{draft}/dev.md");
    let modes =
        [&kept, &directory, &home.path(".bot-bottle/drafts")].map(|path| path.metadata().unwrap().permissions().mode());
    assert_eq!(modes.map(|mode| mode & 0o777), [0o600, 0o700, 0o700]);
    for said in [format!("{place}:2:1: unknown key `extnds`"), format!("kept in `{place}`")] {
        assert!(broken.stderr.contains(&said), "{said} is not in {}", broken.stderr);
    }
    assert!(!broken.stderr.contains("canary"));
    let cleanup = home.run("", &["cleanup", "--yes"]);
    assert!(cleanup.stderr.contains(&format!("`{draft}` is a draft of `edit`, and left alone")), "{}", cleanup.stderr);
    fs::remove_dir_all(&directory).unwrap();

    assert_eq!(home.run("true", &["edit", "dev"]).stderr, "bottle-vmm: nothing was changed\n");
    let failed = home.run("false", &["edit", "dev"]);
    assert!(failed.stderr.starts_with("bottle-vmm: the editor `false` failed"), "{}", failed.stderr);
    assert_eq!(home.run("sed -i.bak s/other/third/", &["edit", "dev"]).code, 0);
    assert!(!home.path(".bot-bottle/drafts").exists(), "nothing is left, of the editor's neither");
}

#[test]
fn without_a_terminal_and_an_editor_that_may_need_none_edit_names_the_file() {
    let answer = home().run("", &["edit", "dev"]);
    assert_eq!(
        (answer.code, answer.stderr.as_str()),
        (
            125,
            "bottle-vmm: `edit` starts an editor, and there is no terminal\n\
             hint: edit `.bot-bottle/bottles/dev.md` itself, and see with `bottle-vmm list` that it is valid; \
             or set VISUAL or EDITOR to one that needs none\n"
        )
    );
    assert_eq!(home().run("cat; true", &["edit", "dev"]).code, 0, "there is nobody to type");
}

/// The editor ends us, as a closed terminal or a shutdown would, and would itself go on for long.
#[test]
fn a_signal_ends_the_editor_and_takes_the_draft_unless_somebody_has_written_in_it() {
    let home = home();
    let before = home.read(".bot-bottle/bottles/dev.md");
    let untouched = home.run("sh -c 'kill -TERM $PPID; exec sleep 60'", &["edit", "dev"]);
    assert_eq!((untouched.code, untouched.stderr.as_str()), (143, "bottle-vmm: interrupted; nothing was changed\n"));
    assert_eq!(home.drafts(), Vec::<PathBuf>::new());

    let written = home.run("sh -c 'echo more >>\"$0\"; kill -HUP $PPID; exec sleep 60'", &["edit", "dev"]);
    let drafts = home.drafts();
    let kept = fs::read_to_string(drafts[0].join("dev.md")).unwrap();
    assert_eq!((written.code, drafts.len(), kept), (129, 1, format!("{before}more\n")));
    assert!(
        written.stderr.contains("`.bot-bottle/bottles/dev.md` stays as it was: interrupted\n"),
        "{}",
        written.stderr
    );
    assert_eq!(home.read(".bot-bottle/bottles/dev.md"), before);

    // Ctrl-C is the editor's affair, as in one that has a meaning for it.
    assert_eq!(home.run("sh -c 'kill -INT $PPID'", &["edit", "dev"]).stderr, "bottle-vmm: nothing was changed\n");
}

/// The way to a parent that is mended leads over its children.
#[test]
fn a_valid_text_is_written_though_what_it_extends_is_broken() {
    let home = home().with(".bot-bottle/bottles/base.md", "---\nenvv: {}\n---\n");
    let answer = home.run("sed -i s/child/other/", &["edit", "dev"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(answer.stderr.contains(".bot-bottle/bottles/base.md:2:1: unknown key `envv`"), "{}", answer.stderr);
    assert!(answer.stderr.ends_with("`.bot-bottle/bottles/dev.md` is written\n"), "{}", answer.stderr);
    assert!(home.read(".bot-bottle/bottles/dev.md").contains("canary-other"));
    let circle = home.run("sed -i '2iextends: dev'", &["edit", "base"]);
    assert!(circle.code == 125 && circle.stderr.contains("stays as it was"), "{}", circle.stderr);
}

/// As a manifest is read, so it is edited: a fifo would hold us up, and what is larger than any manifest is none.
#[test]
fn what_is_no_manifest_is_not_edited() {
    let home = home();
    nix::unistd::mkfifo(&home.path("repo/.bot-bottle/agents/pipe.md"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let large = fs::File::create(home.path(".bot-bottle/agents/large.md")).unwrap();
    large.set_len(100 << 20).unwrap();
    for (name, said) in [("pipe", "not a regular file"), ("large", "the file has 104857600 bytes")] {
        let answer = home.run("true", &["edit", name]);
        assert!(answer.code == 125 && answer.stderr.contains(&format!("/{name}.md: {said}")), "{}", answer.stderr);
    }
}

#[test]
fn edit_does_not_overwrite_what_changed_in_the_meantime() {
    let home = home();
    let file = home.path(".bot-bottle/bottles/dev.md");
    let editor = format!("sh -c 'echo more >>{}; echo mine >>\"$0\"'", file.display());
    let answer = home.run(&editor, &["edit", "dev"]);
    assert!(answer.stderr.contains("somebody else changed the file in the meantime"), "{}", answer.stderr);
    assert!(home.read(".bot-bottle/bottles/dev.md").ends_with("more\n"));
}

/// A link that a repository brings may lead to any file that the user can write: keys, shells' start files.
#[test]
fn a_link_of_a_repository_is_not_edited_and_one_of_ones_own_is() {
    let home = home().with(".bashrc", "---\nbottle: dev\n---\nMine.\n");
    std::os::unix::fs::symlink("../../../.bashrc", home.path("repo/.bot-bottle/agents/trap.md")).unwrap();
    let before = home::listing(home.0.path());
    let answer = home.run("sed -i s/Mine/Theirs/", &["edit", "trap"]);
    assert_eq!(
        (answer.code, answer.stderr.as_str()),
        (
            125,
            "bottle-vmm: `repo/.bot-bottle/agents/trap.md` is a symbolic link that came with this repository\n\
             hint: edit the file that it leads to, if you mean that one\n"
        )
    );
    assert!(home::listing(home.0.path()) == before, "nothing is written");

    std::os::unix::fs::symlink("coder.md", home.path(".bot-bottle/agents/alias.md")).unwrap();
    assert_eq!(home.run("sed -i s/Go/Run/", &["edit", "alias"]).code, 0);
    assert!(home.path(".bot-bottle/agents/alias.md").is_symlink());
    assert!(home.read(".bot-bottle/agents/coder.md").ends_with("Run.\n"));
}

#[test]
fn edit_asks_which_where_a_name_is_both() {
    let home = home().with(".bot-bottle/agents/dev.md", "---\nbottle: dev\n---\n");
    let answer = home.run("true", &["edit", "dev"]);
    assert_eq!(
        answer.stderr,
        "bottle-vmm: there is an agent `dev` and a bottle `dev`\nhint: `edit --kind agent dev`, or `edit --kind bottle dev`\n"
    );
    assert_eq!(home.run("true", &["edit", "--kind", "bottle", "dev"]).code, 0);
}

#[test]
fn a_home_that_depends_on_the_current_directory_is_refused() {
    let home = home();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bottle-vmm"));
    let output = command.arg("list").env("BOT_BOTTLE_HOME", ".bot-bottle").current_dir(home.0.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("bottle-vmm: there is no place to keep files: $BOT_BOTTLE_HOME"), "{said}");
}

#[test]
fn without_a_terminal_init_says_so_and_writes_nothing() {
    let home = Home(tempfile::tempdir().unwrap());
    fs::create_dir_all(home.path("repo")).unwrap();
    let answer = home.run("", &["init"]);
    assert_eq!((answer.code, home.path(".bot-bottle").exists()), (125, false));
    assert!(answer.stderr.contains("there is no terminal"), "{}", answer.stderr);
}
