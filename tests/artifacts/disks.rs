//! Disks that are full or cannot be written to: small ones of the test's own, which nobody else sees.

use super::{Place, failed, noise};
use bottle_vmm::image::{self, Cache, ImageError, Source};
use bottle_vmm::progress::Silent;
use nix::sched::{CloneFlags, unshare};
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Does `work` in a thread with a mount table of its own, which its children and their threads share. Root always can.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn with_mounts_of_its_own(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| match unshare(CloneFlags::CLONE_NEWNS) {
            Err(error) if !nix::unistd::geteuid().is_root() => eprintln!("SKIPPED: no mounts for this user: {error}"),
            made => {
                made.unwrap();
                mount(&["--make-rprivate", "/"]);
                work();
            }
        });
    });
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn mount_small(at: &Path) {
    fs::create_dir(at).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=200k", "none", at.to_str().unwrap()]);
}

/// Another test's child, until it becomes another program, has open for writing what we had: then the disk is busy for a moment.
fn make_read_only(disk: &Path) {
    let remount = || Command::new("mount").args(["-o", "remount,ro"]).arg(disk).output().unwrap().status.success();
    for _ in 0..100 {
        if remount() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{} stays busy", disk.display());
}

/// Files in a directory, wherever below.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn open(place: &Place, name: &str, cache: &Cache) -> Result<image::Artifact, ImageError> {
    image::open(&Source::Path(place.path(name)), cache, &Silent)
}

fn kind(error: &ImageError) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

#[test]
fn a_full_disk_is_an_error_and_has_nothing_new_on_it() {
    with_mounts_of_its_own(|| {
        let place = Place::new();
        let small = place.path("small");
        mount_small(&small);
        let (large, little) = ("root", "little");
        fs::create_dir(place.path(little)).unwrap();
        fs::write(place.path("little/file"), noise(400_000)).unwrap();
        fs::write(place.path("root/more"), noise(1_000_000)).unwrap();
        let cache = Cache::at(&small.join("cache"));
        for name in [large, little] {
            let output = place.run(&["pack", name, "-o", "small/a.bottle"]);
            failed(&output, &["bottle-vmm: ", "small", "hint: make room"]);
            assert_eq!(fs::read_dir(&small).unwrap().count(), 0, "{name}");
            let error = open(&place, name, &cache).unwrap_err();
            assert_eq!(kind(&error), Some(io::ErrorKind::StorageFull), "{error:?}");
            assert!(error.hint().unwrap().contains("make room"));
            assert_eq!(files(&small), 0, "{name}");
            fs::remove_dir_all(small.join("cache")).unwrap();
        }
        // What fits is packed, however much it would be if nothing were shared, left out or compressed.
        fs::write(place.path("little/file"), "small").unwrap();
        fs::File::create(place.path("little/holes")).unwrap().set_len(8 << 20).unwrap();
        for number in 0..500 {
            fs::write(place.path(&format!("little/{number}")), format!("text {number}")).unwrap();
        }
        place.succeeds(&["pack", little, "-o", "small/a.bottle"]);
        place.succeeds(&["inspect", "--verify", "small/a.bottle"]);
    });
}

/// What is damaged is the disk that the copy is on, and not what is copied.
#[test]
fn a_copy_that_fails_costs_nothing_in_the_cache() {
    with_mounts_of_its_own(|| {
        let place = Place::new();
        place.cache_it("root");
        mount_small(&place.path("small"));
        failed(&place.run(&["pack", "root", "-o", "small/a.bottle"]), &["small/a.bottle", "hint: make room"]);
        assert_eq!(place.json(&["images", "--json"]).as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_disk_inside_a_directory_takes_what_is_packed_of_it() {
    with_mounts_of_its_own(|| {
        let place = Place::new();
        place.fails(&["pack", "root", "-o", "root/a.bottle"], &["would be in", "hint: "]);
        mount_small(&place.path("root/disk"));
        fs::write(place.path("root/file"), "text").unwrap();
        place.succeeds(&["pack", "root", "-o", "root/disk/a.bottle"]);
        place.succeeds(&["inspect", "--verify", "root/disk/a.bottle"]);
    });
}

#[test]
fn a_cache_on_a_read_only_disk_serves_what_it_has_and_says_why_no_more() {
    with_mounts_of_its_own(|| {
        let place = Place::new();
        fs::create_dir(place.path("other")).unwrap();
        fs::write(place.path("other/file"), "other").unwrap();
        fs::create_dir(place.path("cache")).unwrap();
        let (disk, cache) = (place.path("cache"), Cache::at(&place.path("cache/bottle-vmm/images")));
        mount(&["-t", "tmpfs", "none", disk.to_str().unwrap()]);
        std::thread::sleep(std::time::Duration::from_millis(60));
        let cached = open(&place, "root", &cache).unwrap().digest();
        let before = files(&disk);
        make_read_only(&disk);
        assert_eq!(open(&place, "root", &cache).unwrap().digest(), cached);
        let error = open(&place, "other", &cache).unwrap_err();
        assert_eq!(kind(&error), Some(io::ErrorKind::ReadOnlyFilesystem), "{error:?}");
        assert!(error.to_string().contains("bottle-vmm/images") && error.hint().unwrap().contains("XDG_CACHE_HOME"));
        // Packing into a file needs no cache.
        assert_eq!(place.succeeds(&["pack", "root", "-o", "a.bottle"]).trim_end(), cached.to_string());
        place.succeeds(&["pack", "other", "-o", "b.bottle"]);
        assert_eq!(place.json(&["images", "--json"]).as_array().unwrap().len(), 1);
        failed(&place.run(&["images", "prune"]), &["cannot remove", "Read-only file system"]);
        failed(&place.run(&["images", "rm", "root"]), &["cannot remove", "Read-only file system"]);
        assert_eq!(files(&disk), before);
    });
}
