//! Layers merged by us are layers unpacked by umoci: real images, and 200 random ones.
//!
//! umoci is the implementation of the OCI's own people. It runs on this machine, as root, once for each image; what it left is kept
//! as a list. Ours is made anew each time and read by a real kernel that mounts it, in one emulated host for all.

mod listing;
mod random;

use crate::bottle::large_guest_test;
use crate::setup::{self, install};
use bottle_vmm::image::{self, Cache, Source};
use bottle_vmm::progress::Silent;
use listing::{Entry, Listing};
use random::Stored;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const STACKS: u64 = 200;

/// What umoci makes of `layout`, from `list` if it was asked before.
fn by_umoci(layout: &Path, list: &Path) {
    if list.exists() {
        return;
    }
    install("umoci");
    // Not in /tmp: some file systems of that sort keep no attributes.
    let bundle = tempfile::tempdir_in(list.parent().unwrap()).unwrap();
    let rootfs = bundle.path().join("bundle");
    let made = fs::metadata(bundle.path()).unwrap().mtime();
    let image = format!("{}:latest", layout.display());
    run("umoci", &["unpack", "--image", &image, rootfs.to_str().unwrap()]);
    let listing = Listing { made, ..Listing::of(&rootfs.join("rootfs")) };
    let unfinished = list.with_extension("new");
    fs::write(&unfinished, serde_json::to_vec(&listing).unwrap()).unwrap();
    fs::rename(unfinished, list).unwrap();
}

/// Compares with what our image is to a kernel that mounts it.
fn compare(image: &Path, list: &Path, cache: &Cache) -> Result<usize, String> {
    let theirs: Listing = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    let ours = image::open(&Source::Path(image.to_owned()), cache, &Silent).map_err(|error| format!("{error:?}"))?;
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path();
    // An artifact begins with its root file system.
    let root = ours.path().to_str().unwrap();
    run("mount", &["-t", "erofs", "-o", "loop,ro", root, mount.to_str().unwrap()]);
    let ours = Listing::of(mount);
    run("umount", &[mount.to_str().unwrap()]);
    differences(&ours, &theirs)?;
    Ok(theirs.entries.len())
}

/// The first differences, path by path.
fn differences(ours: &Listing, theirs: &Listing) -> Result<(), String> {
    let theirs_made = theirs.made;
    let paths: BTreeSet<_> = ours.entries.keys().chain(theirs.entries.keys()).collect();
    let different = |path: &&String| {
        let (ours, theirs) = (ours.entries.get(*path), theirs.entries.get(*path));
        !ours.zip(theirs).is_some_and(|(ours, theirs)| same(ours, theirs, theirs_made))
    };
    let shown: Vec<_> = paths
        .into_iter()
        .filter(different)
        .take(10)
        .map(|path| format!("{path}\n   ours: {:?}\n  umoci: {:?}", ours.entries.get(path), theirs.entries.get(path)))
        .collect();
    if shown.is_empty() { Ok(()) } else { Err(shown.join("\n")) }
}

/// But for two things, on purpose. A directory that umoci made, or removed something from, without the layer listing it has the time
/// of unpacking; ours has the time it was listed with, or 1970: an image is the same whenever it is made. And attributes without a
/// value are lost to programs in Go, docker included, whose tar reader takes them for none; ours are as GNU tar and star have them.
fn same(ours: &Entry, theirs: &Entry, unpacked: i64) -> bool {
    let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
    if theirs.kind == "directory" && theirs.mtime.0 >= unpacked {
        theirs.mtime = ours.mtime;
    }
    ours.xattrs.retain(|_, value| !value.is_empty());
    theirs.xattrs.retain(|_, value| !value.is_empty());
    ours == theirs
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn random_layers_are_what_umoci_unpacks() {
    let directory = setup::cache().join(format!("layers-{:016x}", random::version()));
    let _turn = setup::lock("layers");
    let stacks: Vec<_> =
        (0..STACKS).map(|seed| (directory.join(seed.to_string()), directory.join(format!("{seed}.json")))).collect();
    for (seed, (layout, list)) in (0..).zip(&stacks) {
        if !list.exists() {
            random::write_layout(layout, seed, Stored::AllWays);
            let theirs = layout.with_extension("umoci");
            random::write_layout(&theirs, seed, Stored::AsUmociReads);
            by_umoci(&theirs, list);
        }
    }
    large_guest_test(|| {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let mut entries = 0;
        let mut wrong = Vec::new();
        for (layout, list) in &stacks {
            match compare(layout, list, &cache) {
                Ok(count) => entries += count,
                Err(difference) => wrong.push(format!("{}:\n{difference}", layout.display())),
            }
        }
        assert!(wrong.is_empty(), "{} of {STACKS} differ\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
        // The generator has not become one of empty images.
        assert!(entries > 10 * stacks.len(), "{entries} entries");
    });
}

#[test]
fn real_images_are_what_umoci_unpacks() {
    let images = [setup::agent_archive(), setup::odd_archive(), setup::agents_archive()];
    let _turn = setup::lock("layers");
    let lists: Vec<PathBuf> = images.iter().map(|image| image.with_extension("umoci.json")).collect();
    for (image, list) in images.iter().zip(&lists).filter(|(_, list)| !list.exists()) {
        install("skopeo");
        let layout = tempfile::tempdir_in(list.parent().unwrap()).unwrap();
        let (from, to) =
            (format!("docker-archive:{}", image.display()), format!("oci:{}:latest", layout.path().display()));
        run("skopeo", &["copy", "--quiet", "--insecure-policy", &from, &to]);
        by_umoci(layout.path(), list);
    }
    large_guest_test(|| {
        let cache = Cache::open_default().unwrap();
        for (image, list) in images.iter().zip(&lists) {
            let entries = compare(image, list, &cache).unwrap_or_else(|wrong| panic!("{}:\n{wrong}", image.display()));
            eprintln!("{}: {entries} entries", image.display());
        }
    });
}
