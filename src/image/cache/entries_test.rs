use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::testing::{Place, docker_archive, layers, root_of};
use crate::image::{Artifact, ImageError, Source, Verdict, last_known, open};
use crate::progress::{Progress, Silent};

#[test]
fn what_is_cached_is_listed_found_and_pruned() {
    let place = Place::new();
    for (name, text) in [("one", "1"), ("two", "2"), ("three", "3")] {
        root_of(&place, name, text);
    }
    std::thread::sleep(Duration::from_millis(60));
    let open_all = || ["one", "two", "three"].map(|name| place.open_path(name).unwrap().digest());
    let [one, two, three] = open_all();
    let order = || place.cache.entries().unwrap().iter().map(|entry| entry.artifact.digest()).collect::<Vec<_>>();
    assert_eq!(order(), [three, two, one], "the last used first");
    place.open_path("one").unwrap();
    assert_eq!(order(), [one, three, two]);
    for name in ["one", &place.path("one").display().to_string(), &one.to_string(), &one.hex()[..20]] {
        assert_eq!(place.cache.find(name).unwrap().artifact.digest(), one, "{name}");
    }
    assert!(matches!(place.cache.find(""), Err(ImageError::NoSuchImage { .. })));
    assert!(matches!(place.cache.find("four"), Err(ImageError::NoSuchImage { .. })));
    match place.cache.find("sha256:") {
        Err(ImageError::NoSuchImage { .. }) => {}
        other => panic!("{other:?}"),
    }
    // Two sources of one name.
    fs::create_dir(place.path("other")).unwrap();
    root_of(&place, "other/one", "4");
    std::thread::sleep(Duration::from_millis(60));
    let four = place.open_path("other/one").unwrap().digest();
    match place.cache.find("one") {
        Err(ImageError::Ambiguous { candidates, .. }) => assert_eq!(candidates.len(), 2),
        other => panic!("{other:?}"),
    }
    let dry = place.cache.prune(2, true).unwrap();
    assert_eq!(dry.removed.iter().map(|entry| entry.artifact.digest()).collect::<Vec<_>>(), [three, two]);
    assert!(dry.freed > 0);
    assert_eq!(order().len(), 4, "a dry run removes nothing");
    place.cache.prune(2, false).unwrap();
    assert_eq!(order(), [four, one]);
    let entry = place.cache.find("other/one").err();
    assert!(entry.is_some(), "a part of a path is no name");
    place.cache.remove(&place.cache.find(&one.hex()).unwrap(), false).unwrap();
    assert_eq!(order(), [four]);
    assert_eq!(place.cached().len(), 2, "the artifact and its source: {:?}", place.cached());
    assert_eq!(place.open_path("one").unwrap().digest(), one, "it is packed again");
}

#[test]
fn pruning_leaves_what_is_in_use_and_what_is_open_stays_whole() {
    let place = Place::new();
    root_of(&place, "root", "text");
    std::thread::sleep(Duration::from_millis(60));
    let running = place.open_path("root").unwrap();
    let pruned = place.cache.prune(0, false).unwrap();
    assert_eq!((pruned.removed.len(), pruned.in_use.len()), (0, 1));
    let entry = place.cache.find("root").unwrap();
    assert!(entry.in_use);
    assert!(matches!(place.cache.remove(&entry, false), Err(ImageError::InUse { .. })));
    // As a process that was handed the descriptor would have it.
    let theirs = running.file().try_clone().unwrap();
    drop(running);
    assert_eq!(place.cache.prune(0, false).unwrap().in_use.len(), 1);
    place.cache.remove(&entry, true).unwrap();
    assert_eq!(place.cache.entries().unwrap().len(), 0);
    Artifact::open(theirs, Path::new("removed")).unwrap().verify(&Silent).unwrap();
}

#[test]
fn pruning_removes_what_nobody_understands() {
    let place = Place::new();
    root_of(&place, "root", "text");
    std::thread::sleep(Duration::from_millis(60));
    let path = place.open_path("root").unwrap().path().to_owned();
    let directory = path.parent().unwrap();
    fs::write(directory.join("damaged.bottle"), "no artifact").unwrap();
    fs::copy(&path, directory.join("misnamed.bottle")).unwrap();
    fs::create_dir_all(place.path("cache/v0.9")).unwrap();
    fs::write(place.path("cache/v0.9/old.bottle"), "old").unwrap();
    fs::write(directory.join("sources/strange"), "{}").unwrap();
    fs::create_dir_all(directory.join("locks")).unwrap();
    fs::write(directory.join("locks/dead"), "").unwrap();
    let dry = place.cache.prune(1, true).unwrap();
    let pruned = place.cache.prune(1, false).unwrap();
    assert_eq!((pruned.removed.len(), pruned.stale.len()), (0, 3), "{:?}", pruned.stale);
    assert_eq!((dry.stale, dry.freed), (pruned.stale, pruned.freed));
    assert_eq!(place.cached().len(), 2, "{:?}", place.cached());
}

#[test]
fn what_died_in_the_middle_leaves_with_the_next_pruning_and_what_lives_stays() {
    let place = Place::new();
    root_of(&place, "root", "text");
    std::thread::sleep(Duration::from_millis(60));
    let path = place.open_path("root").unwrap().path().to_owned();
    let directory = path.parent().unwrap();
    fs::create_dir(directory.join("drafts")).unwrap();
    // The number is of a process that lives: this one. Its lock is what counts.
    let pid = std::process::id();
    let name = path.file_name().unwrap().to_str().unwrap();
    let dead = [format!(".{name}.{pid}"), format!("sources/.{name}.{pid}"), format!("drafts/{pid}-1")];
    for dead in &dead {
        fs::write(directory.join(dead), vec![1; 50_000]).unwrap();
    }
    let living = fs::File::create(directory.join("drafts/1-1")).unwrap();
    let living = nix::fcntl::Flock::lock(living, nix::fcntl::FlockArg::LockShared).unwrap();
    let pruned = place.cache.prune(1, false).unwrap();
    assert_eq!(pruned.stale.len(), 3, "{:?}", pruned.stale);
    assert!(pruned.freed >= 150_000);
    assert_eq!(place.cached().len(), 3, "{:?}", place.cached());
    drop(living);
    place.cache.prune(1, false).unwrap();
    assert!(!directory.join("drafts").exists());
}

#[test]
fn directories_of_other_versions_go_but_for_what_is_in_use_and_what_is_not_ours() {
    let place = Place::new();
    let versions = place.path("cache");
    for version in ["v0.9", "v1.0", "notes"] {
        for (name, text) in
            [("old.bottle", "old"), ("sources/x", "{}"), ("locks/x", ""), ("drafts/1-0", "half"), (".x.1", "")]
        {
            let path = versions.join(version).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let running = fs::File::open(versions.join("v1.0/old.bottle")).unwrap();
    let running = nix::fcntl::Flock::lock(running, nix::fcntl::FlockArg::LockShared).unwrap();
    assert_eq!(place.cache.prune(9, true).unwrap().stale, [versions.join("v0.9/old.bottle")]);
    place.cache.prune(9, false).unwrap();
    assert!(!versions.join("v0.9").exists());
    assert!(versions.join("v1.0/old.bottle").exists() && versions.join("notes/old.bottle").exists());
    drop(running);
    place.cache.prune(9, false).unwrap();
    assert!(!versions.join("v1.0").exists());
}

/// As another version that prunes does, at the last moment.
struct Removes(PathBuf);

impl Progress for Removes {
    fn step(&self, what: &str) {
        if what == "writing to the disk" {
            fs::remove_dir(&self.0).unwrap();
        }
    }

    fn advance(&self, _done: u64, _total: u64) {}
}

#[test]
fn an_artifact_in_the_making_outlives_its_directory() {
    let place = Place::new();
    let source = Source::Path(root_of(&place, "root", "text"));
    let removes = Removes(place.cache.directory().to_owned());
    let made = open(&source, &place.cache, &removes).unwrap();
    assert!(made.path().exists());
    assert_eq!(place.cache.entries().unwrap().len(), 1);
}

#[test]
fn pruning_and_running_at_once_disturb_nobody() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    let pruner = place.cache.clone();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        place.open_path("image").unwrap().verify(&Silent).unwrap();
                    }
                })
            })
            .collect();
        while !running.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            pruner.prune(0, false).unwrap();
        }
    });
}

#[test]
fn only_what_is_damaged_is_dropped_on_somebody_s_word() {
    let place = Place::new();
    root_of(&place, "root", "text");
    let image = place.open_path("root").unwrap();
    let dropped = |digest: &str| place.cache.drop_if_damaged(digest, &Silent);
    let digest = &image.digest().hex()[..12];
    assert_eq!((dropped(digest), dropped("0000")), (Verdict::Whole, Verdict::Unusable));
    let file = fs::File::options().write(true).open(image.path()).unwrap();
    file.write_all_at(b"LIES", 2000).unwrap();
    assert_eq!(dropped("root"), Verdict::Unusable, "a name is no digest");
    assert_eq!(dropped(digest), Verdict::Dropped);
    assert!(place.cache.entries().unwrap().is_empty());
}

/// Of an earlier program of the same version, or of nobody.
#[test]
fn recollections_that_are_not_understood_are_as_good_as_none() {
    let place = Place::new();
    root_of(&place, "root", "text");
    std::thread::sleep(Duration::from_millis(60));
    let digest = place.open_path("root").unwrap().digest();
    let [source] =
        fs::read_dir(place.cache.directory().join("sources")).unwrap().collect::<Vec<_>>().try_into().unwrap();
    let source = source.unwrap().path();
    let good = fs::read_to_string(&source).unwrap();
    let id = good.split("\"image\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for bad in [format!(r#"{{"state":null,"image":"{id}","name":"/x/root"}}"#), "{".to_owned(), "null".to_owned()] {
        fs::write(&source, bad).unwrap();
        assert_eq!(place.open_path("root").unwrap().digest(), digest);
        assert_eq!(fs::read_to_string(&source).unwrap(), good, "remembered again");
    }
    fs::write(&source, "junk").unwrap();
    assert_eq!(place.cache.entries().unwrap().len(), 1);
    place.cache.prune(1, false).unwrap();
    assert!(!source.exists());
}

#[test]
fn a_source_may_have_a_name_that_is_no_text() {
    let place = Place::new();
    let name = place.directory.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&name).unwrap();
    fs::write(name.join("file"), "text").unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let source = Source::Path(name.clone());
    let digest = open(&source, &place.cache, &Silent).unwrap().digest();
    assert_eq!(last_known(&name, &place.cache).unwrap().artifact.digest(), digest);
    let entry = &place.cache.entries().unwrap()[0];
    assert_eq!(entry.names[0].short(), "caf\u{fffd}");
    assert!(last_known(&place.path("caf\u{fffd}"), &place.cache).is_none(), "another one");
}
