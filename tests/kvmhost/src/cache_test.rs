use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("kvmhost")).unwrap();
    (dir, cache)
}

#[test]
fn many_at_once_build_once_and_see_it_whole() {
    let (_dir, cache) = cache();
    let (built, start) = (AtomicUsize::new(0), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let (path, _held) = cache
                    .ensure("part", |dir| {
                        built.fetch_add(1, Ordering::SeqCst);
                        fs::write(dir.join("a"), "1").unwrap();
                        std::thread::yield_now();
                        fs::write(dir.join("b"), "2").unwrap();
                        Ok::<_, CacheError>(())
                    })
                    .unwrap();
                assert_eq!(fs::read_to_string(path.join("b")).unwrap(), "2");
            });
        }
    });
    assert_eq!(built.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_build_leaves_nothing_and_the_next_one_starts_afresh() {
    let (_dir, cache) = cache();
    let failed = cache.ensure("part", |dir| {
        fs::write(dir.join("half"), "").unwrap();
        Err(CacheError::from(NoHome { variable: "X" }))
    });
    assert!(matches!(failed, Err(CacheError::NoHome(_))));
    let names = || fs::read_dir(cache.dir()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), ["lock"]);
    let (path, _held) = cache.ensure("part", |_| Ok::<_, CacheError>(())).unwrap();
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
}

#[test]
fn the_remains_of_a_killed_build_and_what_is_long_unused_are_removed_by_the_next() {
    let (_dir, cache) = cache();
    for name in ["partial-killed", "old", "recent"] {
        fs::create_dir(cache.dir().join(name)).unwrap();
        fs::write(cache.dir().join(name).join("file"), "").unwrap();
    }
    let long_ago = SystemTime::now() - KEPT_UNUSED - Duration::from_secs(60);
    File::open(cache.dir().join("old")).unwrap().set_modified(long_ago).unwrap();
    cache.ensure("part", |_| Ok::<_, CacheError>(())).unwrap();
    let mut names: Vec<_> = fs::read_dir(cache.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["lock", "part", "recent"]);
}

#[test]
fn using_a_directory_keeps_it_young() {
    let (_dir, cache) = cache();
    drop(cache.ensure("part", |_| Ok::<_, CacheError>(())).unwrap());
    let long_ago = SystemTime::now() - KEPT_UNUSED - Duration::from_secs(60);
    File::open(cache.dir().join("part")).unwrap().set_modified(long_ago).unwrap();
    drop(cache.ensure("part", |_| Ok::<_, CacheError>(())).unwrap());
    drop(cache.ensure("other", |_| Ok::<_, CacheError>(())).unwrap());
    assert!(cache.dir().join("part").exists());
}
