use std::fs;
use std::io::Write;

use super::draft::Draft;

fn text(draft: &mut Draft, text: &str) {
    draft.file_mut().write_all(text.as_bytes()).unwrap();
}

#[test]
fn both_kinds_of_draft_get_their_name_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let drafts = directory.path().join("drafts");
    let target = directory.path().join("target");
    for mut draft in [Draft::new(directory.path(), "drafts").unwrap(), Draft::named(&drafts).unwrap()] {
        text(&mut draft, "text");
        assert!(!target.exists());
        draft.publish(&target, |_| false).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "text");
        fs::remove_file(&target).unwrap();
    }
    assert_eq!(fs::read_dir(&drafts).unwrap().count(), 0);
}

#[test]
fn what_is_there_is_kept_if_it_is_the_same_and_replaced_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "old").unwrap();
    let mut draft = Draft::new(directory.path(), "drafts").unwrap();
    text(&mut draft, "new");
    draft.publish(&target, |there| there.len() == 3).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    let mut draft = Draft::new(directory.path(), "drafts").unwrap();
    text(&mut draft, "newer");
    draft.publish(&target, |there| there.len() == 5).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "newer");
}

#[test]
fn an_abandoned_draft_leaves_nothing_and_one_of_the_dead_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    drop(Draft::new(directory.path(), "drafts").unwrap());
    let drafts = directory.path().join("drafts");
    let living = Draft::named(&drafts).unwrap();
    // Nobody holds its lock.
    fs::write(drafts.join("1-0"), "half").unwrap();
    drop(Draft::named(&drafts).unwrap());
    let left: Vec<_> = fs::read_dir(&drafts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    drop(living);
    assert_eq!(fs::read_dir(&drafts).unwrap().count(), 0);
}
