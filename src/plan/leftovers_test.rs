use super::super::testing::{Answers, Home};
use super::*;
use std::fs;

fn names(home: &Home) -> Vec<String> {
    find(&home.root()).unwrap().into_iter().map(|leftover| leftover.slug.to_string()).collect()
}

#[test]
fn what_a_killed_bottle_left_is_found_and_what_is_somebodys_is_not() {
    let home = Home::new()
        .with(
            ".bot-bottle/state/theirs-1/metadata.json",
            r#"{"identity": "theirs-1", "agent_name": "a", "cwd": "", "copy_cwd": false, "started_at": "", "backend": "docker"}"#,
        )
        .with(".bot-bottle/state/theirs-2/transcript/x", "of a version that has no record")
        .with(".bot-bottle/state/half-1/lock", "");
    fs::create_dir(home.path(".bot-bottle/state/none-1")).unwrap();
    let running = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let mut killed = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let mut preserved = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let (killed_slug, kept_slug) = (killed.plan.slug.to_string(), preserved.plan.slug.to_string());
    fs::write(preserved.plan.stage_dir.join("preserve"), "").unwrap();
    for prepared in [&mut killed, &mut preserved] {
        prepared.state.keep();
        // Its launcher is another process, which has ended.
        fs::remove_file(prepared.plan.stage_dir.join("processes.json")).unwrap();
    }
    drop((killed, preserved));
    let mut expected = [killed_slug.clone(), "half-1".to_owned(), "none-1".to_owned()];
    expected.sort();
    assert_eq!(names(&home), expected);

    for leftover in find(&home.root()).unwrap() {
        remove(&home.root(), &leftover).unwrap();
    }
    assert_eq!(names(&home), [""; 0]);
    for stays in ["theirs-1", "theirs-2", &kept_slug, running.plan.slug.as_str()] {
        assert!(home.path(".bot-bottle/state").join(stays).is_dir(), "{stays}");
    }
}

#[test]
fn a_kept_bottle_goes_by_its_name_and_no_other_does() {
    const THEIRS: &str =
        r#"{"identity": "theirs-1", "agent_name": "a", "cwd": "", "copy_cwd": false, "started_at": ""}"#;
    let home = Home::new().with(".bot-bottle/state/theirs-1/metadata.json", THEIRS);
    let home = home.with(".bot-bottle/state/theirs-2/transcript/x", "");
    let running = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let mut kept = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let slug = kept.plan.slug.clone();
    fs::write(kept.plan.stage_dir.join("preserve"), "").unwrap();
    kept.state.keep();
    fs::remove_file(kept.plan.stage_dir.join("processes.json")).unwrap(); // the launcher is another process, which has ended
    drop(kept);
    let named = |name: &str| named(&home.root(), &Slug::new(name).unwrap());
    assert!(matches!(named("theirs-1"), Err(StateError::OtherBackend { .. })));
    assert!(matches!(named("theirs-2"), Err(StateError::Io { .. })), "nobody knows whose it is");
    assert!(matches!(named(running.plan.slug.as_str()), Err(StateError::Running { .. })));
    let Err(StateError::Unknown { there, .. }) = named("nobody-1") else { panic!("it is not there") };
    assert_eq!(there, std::slice::from_ref(&slug));
    let leftover = named(slug.as_str()).unwrap();
    assert_eq!((leftover.agent.as_deref(), names(&home)), (Some("coder"), vec![]));
    remove(&home.root(), &leftover).unwrap();
    assert!(!home.root().directory(&slug).exists());
}

/// bot-bottle knows no locks: what was an empty directory may have become one of its bottles by the time of the answer.
#[test]
fn what_has_become_another_tools_is_not_removed() {
    let record = r#"{"identity": "none-1", "agent_name": "a", "cwd": "", "copy_cwd": false, "started_at": ""}"#;
    for (file, text) in [("metadata.json", record), ("metadata.json", ""), ("transcript/log", "")] {
        let home = Home::new();
        fs::create_dir_all(home.path(".bot-bottle/state/none-1")).unwrap();
        let leftover = find(&home.root()).unwrap().pop().unwrap();
        let path = format!(".bot-bottle/state/none-1/{file}");
        let home = home.with(&path, text);
        let error = remove(&home.root(), &leftover).unwrap_err();
        assert!(matches!(error, LeftoverError::State(StateError::Changed { .. })), "{error}");
        assert!(home.path(&path).exists());
    }
}

/// While `cleanup` waits for an answer.
#[test]
fn what_is_marked_or_taken_meanwhile_is_not_removed() {
    let home = Home::new();
    let left = || {
        let mut killed = home.prepare(home.spec(), &mut Answers::default()).unwrap();
        killed.state.keep();
        fs::remove_file(killed.plan.stage_dir.join("processes.json")).unwrap();
        let slug = killed.plan.slug.clone();
        drop(killed);
        slug
    };
    let (marked, taken) = (left(), left());
    let found = find(&home.root()).unwrap();
    fs::write(home.root().directory(&marked).join("preserve"), "").unwrap();
    let (_state, _) = home.root().reopen(&taken).unwrap();
    for leftover in found {
        let error = remove(&home.root(), &leftover).unwrap_err();
        match error {
            LeftoverError::State(StateError::Changed { slug }) => assert_eq!(slug, marked),
            LeftoverError::State(StateError::Running { slug }) => assert_eq!(slug, taken),
            other => panic!("{other}"),
        }
    }
    assert!(home.root().directory(&marked).join("metadata.json").exists());
}

#[test]
fn a_process_that_outlived_its_launcher_is_ended() {
    let home = Home::new();
    let mut prepared = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let path = prepared.plan.stage_dir.join("processes.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    record["processes"] = serde_json::json!([
        {"role": "launcher", "pid": child.id(), "start_time": start - 1},
        {"role": "monitor", "pid": child.id(), "start_time": start},
    ]);
    fs::write(&path, record.to_string()).unwrap();
    prepared.state.keep();
    drop(prepared);
    let leftover = find(&home.root()).unwrap().pop().unwrap();
    assert_eq!(leftover.processes.len(), 1, "the launcher's number is another process's now");
    remove(&home.root(), &leftover).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!home.path(".bot-bottle/state").exists());
}
