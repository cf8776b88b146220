//! `testdata/messages.txt`: every rule, and what is said when it is broken.

use super::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/testdata/messages.txt")
}

fn answer(kind: &str, yaml: &str) -> String {
    let text = format!("---\n{yaml}---\n");
    let own = BTreeSet::from([Name::new("mine").unwrap()]);
    let error = match kind {
        "bottle" => BottleFile::parse(text.as_bytes(), &own).err(),
        "agent" => AgentFile::parse(text.as_bytes()).err(),
        other => panic!("`{other}` is no kind of manifest"),
    };
    let error = error.unwrap_or_else(|| panic!("this {kind} is taken:\n{yaml}")).in_file(Path::new("f"));
    let said = error.to_string();
    format!("= {}\n> {}\n", said.strip_prefix("f:").unwrap(), error.hint())
}

/// The file with every answer made anew.
fn made_anew(text: &str) -> (String, usize) {
    let (mut made, mut kind, mut yaml, mut count) = (String::new(), "", String::new(), 0);
    for line in text.lines().chain([""]) {
        match line.split_at_checked(2) {
            Some(("| ", rest)) => yaml += &format!("{rest}\n"),
            Some(("= " | "> ", _)) => continue,
            _ if line == "bottle" || line == "agent" => kind = line,
            _ if line.is_empty() && !yaml.is_empty() => {
                made += &answer(kind, &std::mem::take(&mut yaml));
                count += 1;
            }
            _ => {}
        }
        made += &format!("{line}\n");
    }
    (made.trim_end().to_owned() + "\n", count)
}

#[test]
fn every_broken_rule_has_its_words() {
    let text = std::fs::read_to_string(file()).unwrap();
    let (made, count) = made_anew(&text);
    if std::env::var_os("UPDATE_MESSAGES").is_some() {
        std::fs::write(file(), &made).unwrap();
    }
    assert!(count > 100, "{count} rules");
    for (expected, made) in text.lines().zip(made.lines()) {
        assert_eq!(made, expected);
    }
    assert_eq!(text.lines().count(), made.lines().count());
}

#[test]
fn what_may_be_a_secret_is_never_repeated() {
    let text = std::fs::read_to_string(file()).unwrap();
    let (said, written): (Vec<_>, Vec<_>) =
        text.lines().filter(|line| line.contains("canary")).partition(|line| !line.starts_with('|'));
    assert_eq!(said, [""; 0]);
    assert!(written.len() >= 3);
}

#[test]
fn every_answer_has_a_way_out() {
    let text = std::fs::read_to_string(file()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let without: Vec<_> =
        lines.windows(2).filter(|pair| pair[0].starts_with("= ") && !pair[1].starts_with("> ")).collect();
    assert_eq!(without, [[""; 2]; 0]);
}
