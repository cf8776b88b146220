use std::fs;
use std::io::Write;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag};

use super::{Draft, Existing, Named, Published, abandoned, drafts, sweep};

fn text(draft: &mut Draft, text: &str) {
    draft.file_mut().write_all(text.as_bytes()).unwrap();
}

#[test]
fn both_kinds_of_draft_get_their_name_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let drafts = directory.path().join("drafts");
    let target = directory.path().join("target");
    for mut draft in [Draft::new(directory.path(), "drafts", 0o600).unwrap(), Draft::named(&drafts, 0o600).unwrap()] {
        text(&mut draft, "text");
        assert!(!target.exists());
        assert_eq!(draft.publish(&target, &Existing::Refuse).unwrap(), Published::Draft);
        assert_eq!(fs::read_to_string(&target).unwrap(), "text");
        fs::remove_file(&target).unwrap();
    }
    assert!(!drafts.exists());
}

#[test]
fn what_is_there_is_kept_if_it_is_the_same_and_replaced_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "old").unwrap();
    let drafts = directory.path().join("drafts");
    for make in [|at: &Path| Draft::new(at.parent().unwrap(), "drafts", 0o600), |at: &Path| Draft::named(at, 0o600)] {
        fs::write(&target, "old").unwrap();
        let publish = |words: &str, existing: Existing<'_>| {
            let mut draft = make(&drafts).unwrap();
            text(&mut draft, words);
            draft.publish(&target, &existing)
        };
        assert_eq!(publish("new", Existing::KeepIf(&|_| true)).unwrap(), Published::Kept);
        assert_eq!(publish("new", Existing::Refuse).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        assert_eq!(publish("newer", Existing::KeepIf(&|_| false)).unwrap(), Published::Draft);
        assert_eq!(fs::read_to_string(&target).unwrap(), "newer");
        assert_eq!(publish("newest", Existing::Replace).unwrap(), Published::Draft);
        assert_eq!(fs::read_to_string(&target).unwrap(), "newest");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn where_a_file_has_one_name_a_draft_moves() {
    let directory = tempfile::tempdir().unwrap();
    let (target, drafts) = (directory.path().join("target"), directory.path().join("drafts"));
    let rename = |words: &str, existing: Existing<'_>| {
        let mut draft = Draft::named(&drafts, 0o600).unwrap();
        text(&mut draft, words);
        draft.rename(&target, &existing)
    };
    assert_eq!(rename("first", Existing::Refuse).unwrap(), Published::Draft);
    assert_eq!(rename("no", Existing::Refuse).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(rename("no", Existing::KeepIf(&|_| true)).unwrap(), Published::Kept);
    assert_eq!(fs::read_to_string(&target).unwrap(), "first");
    assert_eq!(rename("second", Existing::KeepIf(&|_| false)).unwrap(), Published::Draft);
    assert_eq!(rename("third", Existing::Replace).unwrap(), Published::Draft);
    assert_eq!(fs::read_to_string(&target).unwrap(), "third");
    assert!(!drafts.exists());
}

#[test]
fn an_abandoned_draft_leaves_nothing_and_one_of_the_dead_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    drop(Draft::new(directory.path(), "drafts", 0o600).unwrap());
    let drafts = directory.path().join("drafts");
    let living = Draft::named(&drafts, 0o600).unwrap();
    // Nobody holds its lock.
    fs::write(drafts.join("1-0"), "half").unwrap();
    drop(Draft::named(&drafts, 0o600).unwrap());
    let left: Vec<_> = fs::read_dir(&drafts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    drop(living);
    assert!(!drafts.exists(), "the last one takes the directory along");
}

#[test]
fn what_a_process_left_that_died_while_it_replaced_a_file_goes_with_the_next_draft() {
    let directory = tempfile::tempdir().unwrap();
    let drafts = directory.path().join("drafts");
    fs::create_dir(&drafts).unwrap();
    // A process of this number lives (it is this one), but whoever had the name is gone.
    fs::write(drafts.join(format!("{}-77", std::process::id())), "whole, but never renamed").unwrap();
    let draft = Draft::new(directory.path(), "drafts", 0o600).unwrap();
    assert!(!drafts.exists());
    // Between the two steps of replacing, another's sweep leaves it alone.
    let file = draft.file.try_clone().unwrap();
    let between = Named::linked(&drafts, file, |name| Ok(draft.link(name)?)).unwrap();
    drop(Draft::new(directory.path(), "drafts", 0o600).unwrap());
    assert!(between.path.exists());
    // And who has found the file under its last name can already hold it for the time of a run.
    let user = fs::File::open(&between.path).unwrap();
    nix::fcntl::Flock::lock(user, nix::fcntl::FlockArg::LockSharedNonblock).unwrap();
}

#[test]
fn what_is_somebody_else_s_is_neither_swept_nor_used() {
    let directory = tempfile::tempdir().unwrap();
    let precious = directory.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "text").unwrap();
    // In a directory for all, anybody may put a link where drafts would be.
    std::os::unix::fs::symlink(&precious, directory.path().join("drafts")).unwrap();
    let draft = Draft::new(directory.path(), "drafts", 0o600).unwrap();
    assert!(precious.join("file").exists());
    fs::write(directory.path().join("target"), "old").unwrap();
    let error = draft.publish(&directory.path().join("target"), &Existing::Replace).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(directory.path().join("target")).unwrap(), "old");
}

#[test]
fn replacing_and_sweeping_at_once_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let drafts = directory.path().join("drafts");
    let replace = |name: &str| {
        let target = directory.path().join(name);
        fs::write(&target, "old").unwrap();
        for number in 0..200 {
            let mut draft = Draft::new(directory.path(), "drafts", 0o600).unwrap();
            text(&mut draft, &number.to_string());
            draft.publish(&target, &Existing::Replace).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), number.to_string());
        }
    };
    std::thread::scope(|scope| {
        // Each takes the directory along when it is done.
        let replacing = ["one", "two"].map(|name| scope.spawn(move || replace(name)));
        while !replacing.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            assert_eq!(sweep(&drafts).unwrap(), 0);
        }
    });
    assert!(!drafts.exists());
}

#[test]
fn what_cannot_be_locked_may_be_somebody_s() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("draft");
    fs::write(&path, "text").unwrap();
    assert!(abandoned(AT_FDCWD, &path, OFlag::empty()).unwrap().is_some());
    // EBADF, as NFS has it for a file that is open for reading only.
    assert!(abandoned(AT_FDCWD, &path, OFlag::O_PATH).unwrap().is_none());
}

#[test]
fn in_a_directory_for_all_each_user_has_drafts_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let (target, draft) = (directory.path().join("target"), Draft::new(directory.path(), &drafts(), 0o600).unwrap());
    fs::write(&target, "old").unwrap();
    // What anybody may have made there first, under a name that is nobody's.
    fs::write(directory.path().join(".bottle-vmm-drafts"), "another's").unwrap();
    draft.publish(&target, &Existing::Replace).unwrap();
    assert!(drafts().ends_with(&format!("-{}", nix::unistd::geteuid())));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}
