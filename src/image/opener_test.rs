use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::testing::{
    Place, Tar, config_json, contents, docker_archive, layers, oci_parts, root_of, seen, whole,
};
use crate::image::{Artifact, Cache, Digest, ImageError, Output, Source, open, open_default_root, pack, recall};
use crate::progress::{Progress, Silent};

#[test]
fn a_source_that_has_not_changed_is_not_read_again() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let first = place.open_path("image").unwrap();
    let again = place.open_path("image").unwrap();
    assert_eq!((whole(&first), first.digest()), (whole(&again), again.digest()));
    let sources = place.cached().into_iter().filter(|path| path.parent().unwrap().ends_with("sources")).count();
    assert_eq!(sources, 1);
    // The same name and size, but other bytes.
    let other = vec![Tar::default().file("other", b"x").finish(), layers().remove(1)];
    let error = place.open(&docker_archive(&other)).unwrap_err();
    assert!(matches!(error, ImageError::Layer { number: 2, .. }), "{error:?}");
}

#[test]
fn a_cache_that_was_damaged_is_mended() {
    let place = Place::new();
    let archive = docker_archive(&layers());
    let image = place.open(&archive).unwrap();
    let (good, path) = (whole(&image), image.path().to_owned());
    let length = good.len();
    // Cut, a wrong trailer, a wrong manifest, a longer one, gone: whatever `run` sees without reading everything.
    for damage in 0..5 {
        let mut bad = good.clone();
        match damage {
            0 => bad.truncate(10),
            1 => bad[length - 1] ^= 1,
            2 => bad[length - 8192 + 20] ^= 1,
            3 => bad.push(0),
            _ => {}
        }
        fs::remove_file(&path).unwrap();
        if damage < 4 {
            fs::write(&path, bad).unwrap();
        }
        assert!(whole(&place.open(&archive).unwrap()) == good, "{damage}");
    }
}

/// Damage that only who reads all of it sees: `pack` copies no such thing, and is not kept from packing by it.
#[test]
fn a_damaged_root_in_the_cache_is_dropped_by_who_packs() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    fs::copy(place.path("image"), place.path("again")).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    // One is remembered as a source, the other known by its configuration alone.
    for name in ["image", "again"] {
        let made = place.open_path("image").unwrap();
        let (good, cached) = (whole(&made), made.path().to_owned());
        let mut bad = good.clone();
        bad[5000] ^= 1;
        fs::remove_file(&cached).unwrap();
        fs::write(&cached, &bad).unwrap();
        assert_eq!(recall(&place.path(name), &place.cache).is_some(), name == "image");
        let output = Output::new(&place.path("x.bottle"), true);
        let packed = pack(&Source::Path(place.path(name)), &output, &place.cache, &Silent).unwrap();
        packed.verify(&Silent).unwrap();
        assert!(whole(&packed) == good, "{name}");
        assert!(!cached.exists(), "nobody is to take it for good");
    }
}

#[test]
fn many_at_once_make_one_image() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| contents(&place.open_path("image").unwrap()))).collect();
        let images: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(images.iter().all(|image| *image == images[0]));
    });
    let names: Vec<_> =
        place.cached().into_iter().filter(|path| !path.parent().unwrap().ends_with("sources")).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_root_directory_is_taken_as_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let place = Place::new();
    let root = place.path("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/tool"), [3; 5000]).unwrap();
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("bin/tool"), root.join("again")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let image = place.open_path("root").unwrap();
    let tool = seen(&image, "bin/tool").unwrap();
    let metadata = fs::metadata(root.join("bin/tool")).unwrap();
    assert_eq!((tool.mode, tool.links, tool.data.as_slice()), (0o104_751, 2, &[3; 5000][..]));
    assert_eq!((tool.uid, tool.gid, tool.mtime.0), (metadata.uid(), metadata.gid(), metadata.mtime()));
    assert_eq!(seen(&image, "again").unwrap().nid, tool.nid);
    assert_eq!(seen(&image, "link").unwrap().data, b"/etc/passwd");
    assert_eq!(place.open_path("root").unwrap().digest(), image.digest());
    // What only ctime tells.
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(place.open_path("root").unwrap().digest(), image.digest());
}

#[test]
fn the_default_root_has_a_shell_and_the_usual_places() {
    let place = Place::new();
    fs::write(place.path("busybox"), b"\x7fELF busybox").unwrap();
    let make = || open_default_root(&place.path("busybox"), &place.cache, &Silent).unwrap();
    let image = make();
    assert_eq!(image.manifest().config.cmd, ["/bin/sh"]);
    assert_eq!(seen(&image, "bin/sh").unwrap().data, b"busybox");
    assert_eq!(seen(&image, "usr/bin/id").unwrap().data, b"../../bin/busybox");
    assert_eq!(seen(&image, "bin/busybox").unwrap().mode, 0o100_755);
    assert_eq!(seen(&image, "tmp").unwrap().mode, 0o041_777);
    for directory in ["proc", "sys", "dev", "run", "root", "home"] {
        assert_eq!(seen(&image, directory).unwrap().mode >> 12, 4, "{directory}");
    }
    assert_eq!(make().digest(), image.digest());
    assert!(matches!(open_default_root(Path::new("/none"), &place.cache, &Silent), Err(ImageError::Io { .. })));
}

#[test]
fn an_artifact_is_opened_where_it_lies_even_without_a_cache() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    let source = Source::Path(place.path("image"));
    let packed = pack(&source, &Output::new(&place.path("a.bottle"), false), &place.cache, &Silent).unwrap();
    let nowhere = Cache::at(Path::new("/proc/no/cache"));
    let opened = open(&Source::Path(place.path("a.bottle")), &nowhere, &Silent).unwrap();
    assert_eq!((opened.digest(), opened.path()), (packed.digest(), &*place.path("a.bottle").canonicalize().unwrap()));
    let error = open(&source, &nowhere, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Io { action: "create", .. }), "{error:?}");
}

#[test]
fn a_cache_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.open(&docker_archive(&layers())).unwrap();
    assert_eq!(fs::metadata(place.path("cache")).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(place.path("file"), b"").unwrap();
    let cache = Cache::at(&place.path("file").join("cache"));
    let error = open(&Source::Path(place.path("image")), &cache, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Io { action: "create", .. }) && error.hint().is_some(), "{error:?}");
}

/// Does something at the moment when the contents of files are written: all lists and digests were read by then.
struct Meddler<F>(F);

impl<F: Fn()> Progress for Meddler<F> {
    fn step(&self, what: &str) {
        if what == "writing the root file system" {
            (self.0)();
        }
    }

    fn advance(&self, _done: u64, _total: u64) {}
}

/// Opens and packs `name`, which `change` changes while it is read, and expects to be told so and to find nothing made of it.
fn change_is_noticed(place: &Place, name: &str, change: impl Fn()) {
    std::thread::sleep(Duration::from_millis(60));
    let source = Source::Path(place.path(name));
    let is_told = |result: Result<Artifact, ImageError>| match result.unwrap_err() {
        ImageError::Changed { path } => assert_eq!(path, place.path(name).canonicalize().unwrap()),
        other => panic!("{other:?}"),
    };
    let before = fs::read_dir(place.path("")).unwrap().count();
    is_told(pack(&source, &Output::new(&place.path("x.bottle"), false), &place.cache, &Meddler(&change)));
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), before, "packing left something");
    is_told(open(&source, &place.cache, &Meddler(&change)));
    assert_eq!(place.cached(), Vec::<PathBuf>::new(), "the cache has what was never there");
}

#[test]
fn an_archive_that_changes_while_it_is_read_does_not_get_into_the_cache() {
    let place = Place::new();
    let good = docker_archive(&layers());
    fs::write(place.path("image"), &good).unwrap();
    let at = good.windows(5).position(|window| window == b"upper").unwrap();
    change_is_noticed(&place, "image", || {
        // The size stays, and no digest is of the second reading.
        let file = fs::File::options().write(true).open(place.path("image")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"LIES!", at as u64).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"upper", at as u64).unwrap();
    });
    // What is then found under the image's name is the image.
    assert_eq!(seen(&place.open_path("image").unwrap(), "etc/os").unwrap().data, b"upper");
}

#[test]
fn a_blob_of_a_layout_that_changes_while_it_is_read_is_noticed() {
    let place = Place::new();
    let layers = layers();
    place.write_layout("layout", &oci_parts(&layers, &layers, &["linux/amd64"]));
    let blob = place.path("layout/blobs/sha256").join(Digest::of(&layers[1]).hex());
    change_is_noticed(&place, "layout", || fs::write(&blob, &layers[1]).unwrap());
}

#[test]
fn an_index_of_a_layout_that_changes_while_it_is_read_is_noticed() {
    let place = Place::new();
    let layers = layers();
    place.write_layout("layout", &oci_parts(&layers, &layers, &["linux/amd64"]));
    let index = place.path("layout/index.json");
    let text = fs::read(&index).unwrap();
    change_is_noticed(&place, "layout", || fs::write(&index, &text).unwrap());
}

#[test]
fn a_root_directory_that_changes_while_it_is_read_is_noticed() {
    let place = Place::new();
    let root = root_of(&place, "root", "text");
    fs::create_dir(root.join("sub")).unwrap();
    let number = std::cell::Cell::new(0);
    change_is_noticed(&place, "root", || {
        number.set(number.get() + 1);
        fs::write(root.join(format!("sub/{}", number.get())), "new").unwrap();
    });
}

#[test]
fn docker_s_table_of_contents_in_a_layout_is_looked_at_too() {
    let place = Place::new();
    let both = layers();
    place.write_layout("layout", &oci_parts(&both, &both, &["linux/amd64"]));
    let manifest = |layers: &[Vec<u8>]| {
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
        let config = config_json(layers);
        fs::write(place.path("layout").join(blob(&config)), &config).unwrap();
        let names: Vec<_> = layers.iter().map(|layer| blob(layer)).collect();
        let text = serde_json::json!([{ "Config": blob(&config), "Layers": names }]).to_string();
        fs::write(place.path("layout/manifest.json"), text).unwrap();
        std::thread::sleep(Duration::from_millis(60));
    };
    manifest(&both);
    let two = place.open_path("layout").unwrap();
    manifest(&both[..1]);
    assert_ne!(place.open_path("layout").unwrap().digest(), two.digest());
}

#[test]
fn what_is_as_old_as_its_reading_is_read_again_however_long_that_took() {
    let place = Place::new();
    let path = place.path("image");
    let known = || recall(&path, &place.cache).map(|image| image.digest());
    fs::write(&path, docker_archive(&layers())).unwrap();
    // Another change in the same tick would have the same time stamp, and must not go unnoticed.
    let slow = Meddler(|| std::thread::sleep(Duration::from_millis(100)));
    let image = open(&Source::Path(path.clone()), &place.cache, &slow).unwrap().digest();
    assert_eq!(known(), None);
    assert_eq!(place.cache.find("image").unwrap().artifact.digest(), image, "it has its name all the same");
    assert_eq!((place.open_path("image").unwrap().digest(), known()), (image, Some(image)));
}

#[test]
fn a_directory_with_the_cache_in_it_is_not_packed_into_that_cache() {
    let place = Place::new();
    fs::write(place.path("file"), "text").unwrap();
    for _ in 0..2 {
        match place.open_path("").unwrap_err() {
            error @ ImageError::CacheInside { .. } => assert!(error.hint().unwrap().contains("XDG_CACHE_HOME")),
            other => panic!("{other:?}"),
        }
        assert_eq!(place.cached(), Vec::<PathBuf>::new());
        // It is as wrong when it is there already.
        fs::create_dir_all(place.path("cache")).unwrap();
    }
}

#[test]
fn a_directory_s_attributes_are_those_that_a_layer_may_have() {
    let place = Place::new();
    let file = root_of(&place, "root", "text").join("file");
    let set = |name: &str, value: &[u8]| xattr::set(&file, name, value);
    if let Err(error) = set("user.note", b"kept").and_then(|()| set("user.overlay.redirect", b"/etc")) {
        eprintln!("SKIPPED: no attributes here: {error}");
        return;
    }
    // Only root may have this one.
    let _refused = set("trusted.overlay.opaque", b"y");
    let image = place.open_path("root").unwrap();
    assert_eq!(seen(&image, "file").unwrap().xattrs, [(b"user.note".to_vec(), b"kept".to_vec())]);
    let values = (0..5).map(|number| set(&format!("user.{number}"), &vec![b'v'; 60_000]));
    if let Err(error) = values.collect::<Result<(), _>>() {
        eprintln!("SKIPPED: no large attributes here: {error}");
        return;
    }
    match place.open_path("root").unwrap_err() {
        ImageError::RootEntry { path, what } => assert!(path.ends_with("file") && what.contains("256 KiB"), "{what}"),
        other => panic!("{other:?}"),
    }
}
