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
    let mut expected = [killed_slug.clone(), "half-1".to_owned()];
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
