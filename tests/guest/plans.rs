//! `start` on a terminal, as a person uses it: secrets that are not shown, the question, and leaving.

use crate::bottle::guest_test;
use crate::terminal::Terminal;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("bottles/dev.md", "---\nenv: {WORD: ?Your word, HOST_B: \"${HOST_B}\"}\n---\n"),
        ("agents/coder.md", "---\nbottle: dev\n---\nGo.\n"),
    ] {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    home
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut left) = (vec![], vec![directory.to_owned()]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        files.push((path.clone(), fs::read(&path).unwrap_or_default()));
    }
    files.sort();
    files
}

fn start(home: &TempDir) -> Terminal {
    Terminal::open_with(24, 80, &["start", "coder", "--bundle", "external=192.0.2.10", "--mem", "512M"], |command| {
        command.env("BOT_BOTTLE_HOME", home.path()).env("HOST_B", "canary-host").env_remove("BOT_BOTTLE_DRY_RUN");
    })
}

/// `bottle-vmm start` itself, without who started it.
fn launchers() -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let ours = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"bottle-vmm"))
            && words.next() == Some(b"start".as_slice())
    };
    pids.filter(ours).collect()
}

/// Its argument list and environment, and everything that it has written.
fn anywhere(home: &TempDir, canary: &str) -> Vec<PathBuf> {
    let processes = launchers().into_iter().flat_map(|pid| {
        ["cmdline", "environ"].map(|file| {
            let path = PathBuf::from(format!("/proc/{pid}/{file}"));
            (path.clone(), fs::read(path).unwrap_or_default())
        })
    });
    let found =
        processes.chain(files(home.path())).filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains(canary));
    found.map(|(path, _)| path).collect()
}

#[test]
fn no_is_the_default_and_leaves_nothing_behind_and_secrets_are_seen_nowhere() {
    guest_test(|| {
        let home = home();
        let before = files(home.path());
        let mut terminal = start(&home);
        // With a slip, which is taken back.
        terminal.shows("Your word (WORD): ").types("canary-typedö\x7f\n");
        terminal.shows("env        CLAUDE_CODE_DISABLE").shows("Start it? [y/N]: ");
        assert_ne!(files(home.path()), before, "its record is written before it is asked for anything");
        assert_eq!(launchers().len(), 1);
        for canary in ["canary-typed", "canary-host"] {
            assert_eq!(anywhere(&home, canary), Vec::<PathBuf>::new());
        }
        terminal.types("\n").shows("not started");
        let terminal = terminal.exits(1);
        assert!(terminal.is_cooked());
        assert!(!terminal.shown().contains("canary"), "{}", terminal.shown());
        assert_eq!(files(home.path()), before);
    });
}

#[test]
fn leaving_by_a_key_gives_the_terminal_back_and_leaves_nothing_behind() {
    guest_test(|| {
        let home = home();
        let before = files(home.path());
        let mut at_secret = start(&home);
        at_secret.shows("Your word (WORD): ").types("half\x03").shows("interrupted; nothing was started");
        assert!(at_secret.exits(130).is_cooked());
        assert_eq!(files(home.path()), before);

        let mut at_question = start(&home);
        at_question.shows("Your word (WORD): ").types("x\n").shows("Start it? [y/N]: ").types("\x03");
        at_question.shows("interrupted; nothing was started");
        assert!(at_question.exits(130).is_cooked());
        assert_eq!(files(home.path()), before);

        let mut no_answer = start(&home);
        no_answer
            .shows("Your word (WORD): ")
            .types("\x04")
            .shows("cannot ask for the value of `WORD`")
            .shows("no answer");
        assert!(no_answer.exits(125).is_cooked());
        assert_eq!(files(home.path()), before);
    });
}
