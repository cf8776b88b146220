use super::super::testing::Home;
use super::*;

use std::os::unix::fs::PermissionsExt as _;

fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

fn create(root: &StateRoot, name: &str) -> State {
    let agent = crate::manifest::Name::new("coder").unwrap();
    let mut names = vec![slug(name)].into_iter();
    let draw = || names.next().ok_or(StateError::Unknown { slug: slug(name), there: vec![] });
    root.create(draw, |slug| Metadata::new(slug, &agent, None)).unwrap()
}

#[test]
fn directories_are_0700_and_files_0600_whatever_the_umask() {
    let home = Home::new();
    let state = create(&home.root(), "a-1");
    state.write("agent", "prompt.txt", b"x").unwrap();
    state.make_queue().unwrap();
    for path in ["state", "state/a-1", "state/a-1/agent", "queue", "queue/a-1"] {
        let mode = fs::metadata(home.path(".bot-bottle").join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{path}");
    }
    for path in [".lock", "a-1/lock", "a-1/metadata.json", "a-1/processes.json", "a-1/agent/prompt.txt"] {
        let mode = fs::metadata(home.path(".bot-bottle/state").join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{path}");
    }
    let names = fs::read_dir(home.path(".bot-bottle/state/a-1/agent")).unwrap().count();
    assert_eq!(names, 1, "no draft is left");
}

#[test]
fn a_state_that_is_not_kept_goes_with_its_queue_and_others_stay() {
    let home = Home::new();
    let root = home.root();
    let before = home.listing();
    let one = create(&root, "a-1");
    let mut other = create(&root, "a-2");
    one.make_queue().unwrap();
    drop(one);
    let names: Vec<_> = root.all().unwrap().into_iter().map(|found| found.slug.to_string()).collect();
    assert_eq!(names, ["a-2"]);
    other.keep();
    drop(other);
    assert!(root.directory(&slug("a-2")).is_dir());
    root.remove(&slug("a-2"), |_| true).unwrap();
    assert_eq!(home.listing(), before);
}

#[test]
fn who_holds_a_state_has_it_alone() {
    let home = Home::new();
    let root = home.root();
    let state = create(&root, "a-1");
    assert!(matches!(root.reopen(&slug("a-1")), Err(StateError::Running { .. })));
    assert!(matches!(root.remove(&slug("a-1"), |_| true), Err(StateError::Running { .. })));
    let found = root.all().unwrap().pop().unwrap();
    assert!(found.held && !found.preserved && found.alive.len() == 1);
    drop(state);
    assert!(matches!(root.reopen(&slug("a-1")), Err(StateError::Unknown { .. })));
}

#[test]
fn a_boot_that_is_interrupted_takes_a_new_bottle_with_it_and_leaves_one_that_was_kept_or_is_marked() {
    let home = Home::new();
    let root = home.root();
    let [mut new, mut kept, mut marked] = ["a-1", "a-2", "a-3"].map(|name| create(&root, name));
    kept.keep();
    fs::write(marked.directory().join(PRESERVE), "").unwrap();
    assert_eq!([new.interrupted(), kept.interrupted(), marked.interrupted()], [false, true, true]);
    drop((new, kept, marked));
    let names: Vec<_> = root.all().unwrap().into_iter().map(|found| found.slug.to_string()).collect();
    assert_eq!(names, ["a-2", "a-3"]);
}

#[test]
fn a_mark_counts_for_one_end_and_until_then_whatever_happens() {
    let home = Home::new();
    let root = home.root();
    let mark = root.directory(&slug("a-1")).join(PRESERVE);
    let new = create(&root, "a-1");
    fs::write(&mark, "").unwrap();
    new.take_mark();
    assert!(mark.exists(), "it is for the end of this one");
    drop(new); // by an error
    let preserved = || root.find(&slug("a-1")).unwrap().preserved;
    let (state, _) = root.reopen(&slug("a-1")).unwrap();
    state.take_mark();
    assert!(!mark.exists() && preserved());
    drop(state); // killed
    let (mut state, _) = root.reopen(&slug("a-1")).unwrap();
    state.take_mark();
    state.give_mark_back();
    assert!(mark.exists() && preserved() && state.interrupted());
    state.take_mark();
    assert!(!state.ended() && !preserved());
    drop(state);
    assert!(!root.directory(&slug("a-1")).exists());
}

#[test]
fn the_lock_that_counts_is_the_one_that_is_there() {
    let home = Home::new();
    let root = home.root();
    // Bottles that come and go remove the file under each other's hands.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let root = &root;
            scope.spawn(move || (0..20).for_each(|number| drop(create(root, &format!("t{thread}-{number}")))));
        }
    });
    assert!(!home.path(".bot-bottle/state").exists());
}

#[test]
fn a_state_that_cannot_be_written_says_where_and_the_way_out() {
    let home = Home::new().with("file", "");
    let root = StateRoot::new(&home.path("file"));
    let agent = crate::manifest::Name::new("coder").unwrap();
    let error = root.create(|| Ok(slug("a-1")), |slug| Metadata::new(slug, &agent, None)).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot make `{}`", home.path("file/state").display()));
    assert!(error.hint().contains("BOT_BOTTLE_HOME"));
}
