use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::digest::Digest;
use super::testing::{Seen, Tar, config_json, docker_archive, fsck_erofs, read_erofs};
use super::{
    Artifact, ArtifactError, Cache, ImageError, Limits, Output, Source, open, open_default_root, open_limited, pack,
};
use crate::progress::Silent;

/// A directory with a cache in it.
struct Place {
    directory: tempfile::TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("cache"));
        Self { directory, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn open(&self, bytes: &[u8]) -> Result<Artifact, ImageError> {
        // A new file: ext4 waits for the disk when one is emptied and written again.
        let _absent = fs::remove_file(self.path("image"));
        fs::write(self.path("image"), bytes).unwrap();
        self.open_path("image")
    }

    fn open_path(&self, name: &str) -> Result<Artifact, ImageError> {
        open(&Source::Path(self.path(name)), &self.cache, &Silent)
    }

    /// Files in the cache, of whatever kind.
    fn cached(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.path("cache")];
        while let Some(directory) = todo.pop() {
            // A cache that nothing was put into is not even there.
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// The root file system.
fn contents(image: &Artifact) -> Vec<u8> {
    read(image, image.manifest().root.bytes)
}

fn read(image: &Artifact, length: u64) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    image.file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The file.
fn whole(image: &Artifact) -> Vec<u8> {
    read(image, image.bytes())
}

fn seen(image: &Artifact, path: &str) -> Option<Seen> {
    read_erofs(&contents(image)).remove(path.as_bytes())
}

fn layers() -> Vec<Vec<u8>> {
    vec![
        Tar::default()
            .directory("etc", 0o755)
            .file("etc/os", b"lower")
            .file("big", &[7; 70_000])
            .file("gone", b"x")
            .finish(),
        Tar::default()
            .file("etc/os", b"upper")
            .hard_link("kept", "big")
            .file(".wh.gone", b"")
            .file(".wh.big", b"")
            .finish(),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout as name and bytes: layers as `stored`, for the given platforms.
fn oci_parts(layers: &[Vec<u8>], stored: &[Vec<u8>], platforms: &[&str]) -> Vec<(String, Vec<u8>)> {
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec());
    let describe = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let config = config_json(layers);
    let listed: Vec<_> = stored.iter().map(|layer| describe("application/vnd.oci.image.layer.v1.tar", layer)).collect();
    let manifest = json!({ "schemaVersion": 2, "config": describe("application/vnd.oci.image.config.v1+json", &config), "layers": listed });
    let manifest = manifest.to_string().into_bytes();
    let mut parts: Vec<_> = stored.iter().map(|layer| blob(layer)).chain([blob(&config), blob(&manifest)]).collect();
    let manifests: Vec<_> = platforms
        .iter()
        .map(|platform| {
            let (os, architecture) = platform.split_once('/').unwrap();
            let bytes = if *platform == "linux/amd64" { manifest.clone() } else { platform.as_bytes().to_vec() };
            let mut descriptor = describe("application/vnd.oci.image.manifest.v1+json", &bytes);
            descriptor["platform"] = json!({ "os": os, "architecture": architecture });
            descriptor
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes();
    let index_blob = blob(&index);
    let outer =
        json!({ "schemaVersion": 2, "manifests": [describe("application/vnd.oci.image.index.v1+json", &index)] });
    parts.extend([
        index_blob,
        ("index.json".to_owned(), outer.to_string().into_bytes()),
        ("oci-layout".to_owned(), b"{}".to_vec()),
    ]);
    parts
}

fn archive_of(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    parts.iter().fold(Tar::default(), |tar, (name, bytes)| tar.file(name, bytes)).finish()
}

#[test]
fn every_form_of_one_image_gives_the_same_bytes() {
    let layers = layers();
    let docker = docker_archive(&layers);
    let place = Place::new();
    let image = place.open(&docker).unwrap();
    fsck_erofs(image.path());
    let config = &image.manifest().config;
    assert_eq!(
        (config.user.as_str(), config.cmd[0].as_str(), config.env[0].as_str()),
        ("node", "/bin/sh", "PATH=/bin")
    );
    assert_eq!(image.manifest().source.id.to_string(), Digest::of(&config_json(&layers)).to_string());
    assert_eq!(seen(&image, "etc/os").unwrap().data, b"upper");
    assert_eq!(seen(&image, "kept").unwrap().data, [7; 70_000]);
    assert!(seen(&image, "gone").is_none() && seen(&image, "big").is_none());
    let expected = whole(&image);
    let gzipped: Vec<_> = layers.iter().map(|layer| gzip(layer)).collect();
    let zstd: Vec<_> = layers.iter().map(|layer| zstd::encode_all(layer.as_slice(), 1).unwrap()).collect();
    let both = ["linux/arm64", "linux/amd64", "unknown/unknown"];
    for archive in [
        docker.clone(),
        gzip(&docker),
        zstd::encode_all(docker.as_slice(), 1).unwrap(),
        archive_of(&oci_parts(&layers, &layers, &both)),
        archive_of(&oci_parts(&layers, &gzipped, &both)),
        archive_of(&oci_parts(&layers, &zstd, &["linux/amd64"])),
    ] {
        let image = Place::new().open(&archive).unwrap();
        assert!(whole(&image) == expected);
    }
    let place = Place::new();
    for (name, bytes) in oci_parts(&layers, &gzipped, &both) {
        let path = place.path("layout").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert!(whole(&place.open_path("layout").unwrap()) == expected);
}

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
fn cut_anywhere_it_is_refused_and_nothing_remains() {
    let layer = Tar::default().file("f", b"x").symlink("l", "f").finish();
    let archive = docker_archive(&[layer]);
    let end = archive.len() - 1024;
    let place = Place::new();
    for cut in 0..end {
        let error = place.open(&archive[..cut]).unwrap_err();
        assert!(!error.to_string().is_empty());
        assert_eq!(place.cached(), Vec::<PathBuf>::new(), "cut at {cut}: {error}");
    }
    let place = Place::new();
    let packed = gzip(&archive);
    for cut in 0..packed.len() {
        place.open(&packed[..cut]).unwrap_err();
    }
    assert_eq!(place.cached(), Vec::<PathBuf>::new());
}

#[test]
fn a_flipped_byte_in_a_layer_is_found() {
    let place = Place::new();
    let archive = docker_archive(&layers());
    for at in [600, 3000, 40_000] {
        let mut wrong = archive.clone();
        wrong[at] ^= 1;
        let error = place.open(&wrong).unwrap_err();
        assert!(matches!(error, ImageError::Layer { .. } | ImageError::Archive { .. }), "{at}: {error:?}");
    }
    let layers = layers();
    let mut parts = oci_parts(&layers, &layers, &["linux/amd64"]);
    let manifest = parts.iter_mut().rev().nth(3).unwrap();
    manifest.1.push(b' ');
    assert!(matches!(place.open(&archive_of(&parts)), Err(ImageError::Digest { .. })));
    let gzipped: Vec<_> = layers.iter().map(|layer| gzip(layer)).collect();
    let mut parts = oci_parts(&layers, &gzipped, &["linux/amd64"]);
    parts[0].1 = gzip(&[layers[0].as_slice(), &[0; 512]].concat());
    assert!(matches!(place.open(&archive_of(&parts)), Err(ImageError::Layer { number: 1, .. })));
    assert_eq!(place.cached(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_image_is_told_so() {
    let place = Place::new();
    let not_found = open(&Source::Path(place.path("none")), &place.cache, &Silent).unwrap_err();
    assert!(not_found.hint().is_some());
    assert!(matches!(place.open(b""), Err(ImageError::Empty { .. })));
    assert!(matches!(place.open(b"#!/bin/sh\n"), Err(ImageError::NotAnImage { .. })));
    assert!(matches!(place.open(&[0; 4096]), Err(ImageError::NotAnImage { .. })));
    assert!(matches!(place.open(&Tar::default().file("etc/passwd", b"").finish()), Err(ImageError::NotAnImage { .. })));
    assert!(matches!(place.open(b"\xfd7zXZ\0..."), Err(ImageError::Compression { method: "xz", .. })));
    fs::create_dir(place.path("empty")).unwrap();
    assert!(matches!(place.open_path("empty"), Err(ImageError::Empty { .. })));
}

#[test]
fn documents_that_make_no_sense_are_errors() {
    let place = Place::new();
    let with = |manifest: serde_json::Value| {
        let layer = Tar::default().file("f", b"").finish();
        let config = config_json(std::slice::from_ref(&layer));
        let tar = Tar::default().file("c", &config).file("l", &layer).symlink("a", "b").symlink("b", "a");
        place.open(&tar.file("manifest.json", manifest.to_string().as_bytes()).finish())
    };
    assert!(matches!(with(json!([])), Err(ImageError::NoImages)));
    assert!(matches!(with(json!({})), Err(ImageError::Json { .. })));
    let two = json!([{ "Config": "c", "RepoTags": ["x:1"], "Layers": [] }, { "Config": "d", "Layers": null }]);
    assert!(matches!(with(two), Err(ImageError::ManyImages { names }) if names == ["x:1", "d"]));
    assert!(matches!(with(json!([{ "Config": "none", "Layers": ["l"] }])), Err(ImageError::MissingPart { .. })));
    assert!(matches!(with(json!([{ "Config": "a", "Layers": ["l"] }])), Err(ImageError::MissingPart { .. })));
    assert!(matches!(
        with(json!([{ "Config": "../../etc/passwd", "Layers": ["l"] }])),
        Err(ImageError::MissingPart { .. })
    ));
    assert!(matches!(
        with(json!([{ "Config": "c", "Layers": [] }])),
        Err(ImageError::LayerCount { layers: 0, listed: 1 })
    ));
    with(json!([{ "Config": "c", "Layers": ["l"] }])).unwrap();
}

#[test]
fn other_platforms_are_named() {
    let place = Place::new();
    let layers = layers();
    let parts = oci_parts(&layers, &layers, &["linux/arm64", "windows/amd64"]);
    match place.open(&archive_of(&parts)).unwrap_err() {
        ImageError::Platform { found, .. } => assert_eq!(found, ["linux/arm64", "windows/amd64"]),
        other => panic!("{other:?}"),
    }
    let parts = oci_parts(&layers, &layers, &["unknown/unknown"]);
    assert!(matches!(place.open(&archive_of(&parts)), Err(ImageError::NoImages)));
}

#[test]
fn a_bomb_is_stopped_where_the_limit_is() {
    let place = Place::new();
    let limits = Limits { unpacked_bytes: 1 << 20, ..Limits::default() };
    let layer = Tar::default().file("zeros", &vec![0; 4 << 20]).finish();
    let layers = [layer];
    let open_with = |bytes: &[u8], limits: &Limits| {
        fs::write(place.path("image"), bytes).unwrap();
        open_limited(&Source::Path(place.path("image")), &place.cache, limits, &Silent)
    };
    let too_large = |result: Result<Artifact, ImageError>| {
        let chain = result.map(drop).unwrap_err();
        let inner = std::error::Error::source(&chain).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{chain} {inner}").contains("more than 1048576 bytes"), "{chain}: {inner}");
    };
    too_large(open_with(&gzip(&docker_archive(&layers)), &limits));
    too_large(open_with(&archive_of(&oci_parts(&layers, &[gzip(&layers[0])], &["linux/amd64"])), &limits));
    too_large(open_with(&docker_archive(&layers), &limits));
    let few = Limits { entries: 2, ..Limits::default() };
    let layer = Tar::default().file("a", b"").file("b", b"").file("c", b"").finish();
    assert!(matches!(open_with(&docker_archive(&[layer]), &few), Err(ImageError::Layer { .. })));
    assert_eq!(place.cached(), Vec::<PathBuf>::new());
}

#[test]
fn a_hostile_layer_writes_nothing_on_the_host() {
    let place = Place::new();
    let victim = place.path("victim");
    fs::create_dir(&victim).unwrap();
    let target = victim.display().to_string();
    let layer = Tar::default().symlink("a", &target).file("a/x", b"1").file(&format!("{target}/y"), b"2").finish();
    let image = place.open(&docker_archive(&[layer])).unwrap();
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    assert_eq!(seen(&image, &format!("{}/x", &target[1..])).unwrap().data, b"1");
    assert_eq!(seen(&image, &format!("{}/y", &target[1..])).unwrap().data, b"2");
}

#[test]
fn a_layout_names_nothing_outside_itself() {
    let place = Place::new();
    let layer = Tar::default().file("f", b"").finish();
    fs::create_dir(place.path("layout")).unwrap();
    fs::write(place.path("config.json"), config_json(std::slice::from_ref(&layer))).unwrap();
    fs::write(place.path("layer"), layer).unwrap();
    for (name, text) in [("oci-layout", "{}"), ("index.json", "{}")] {
        fs::write(place.path("layout").join(name), text).unwrap();
    }
    for (config, layer) in
        [("../config.json", "../layer"), ("config.json", "../layer"), ("config.json", "/etc/hostname")]
    {
        fs::copy(place.path("config.json"), place.path("layout/config.json")).unwrap();
        let manifest = json!([{ "Config": config, "Layers": [layer] }]).to_string();
        fs::write(place.path("layout/manifest.json"), manifest).unwrap();
        assert!(matches!(place.open_path("layout"), Err(ImageError::MissingPart { .. })), "{config} {layer}");
    }
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

#[test]
fn packing_twice_or_from_the_cache_gives_the_same_file_and_never_half_of_one() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let to = |name: &str, force| {
        pack(&Source::Path(place.path("image")), &Output::new(&place.path(name), force), &place.cache, &Silent)
    };
    let first = to("a.bottle", false).unwrap();
    assert_eq!(place.cached(), Vec::<PathBuf>::new(), "packing leaves the cache alone");
    let bytes = fs::read(place.path("a.bottle")).unwrap();
    assert_eq!(to("b.bottle", false).unwrap().digest(), first.digest());
    let cached = place.open_path("image").unwrap();
    assert!(whole(&cached) == bytes && to("c.bottle", false).is_ok());
    let artifact = pack(
        &Source::Path(place.path("a.bottle")),
        &Output::new(&place.path("d.bottle"), false),
        &place.cache,
        &Silent,
    );
    assert_eq!(artifact.unwrap().digest(), first.digest());
    for name in ["b.bottle", "c.bottle", "d.bottle"] {
        assert!(fs::read(place.path(name)).unwrap() == bytes, "{name}");
    }
    let error = to("a.bottle", false).unwrap_err();
    assert!(matches!(error, ImageError::Exists { .. }) && error.hint().unwrap().contains("--force"));
    fs::write(place.path("a.bottle"), "something else").unwrap();
    to("a.bottle", true).unwrap();
    assert!(fs::read(place.path("a.bottle")).unwrap() == bytes);
    fs::create_dir(place.path("directory")).unwrap();
    for (name, force) in [("directory", true), ("directory/", false), ("none/", false), ("none/x.bottle", false)] {
        to(name, force).unwrap_err();
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 7, "a to d, the image, the cache, a directory");
}

#[test]
fn two_packs_at_once_make_one_file() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let to = || {
            let output = Output::new(&place.path("x.bottle"), false);
            pack(&Source::Path(place.path("image")), &output, &place.cache, &Silent)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(to)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results.iter().flat_map(|result| result.as_ref().err()).all(|error| matches!(error, ImageError::Exists { .. }))
    );
    super::open_artifact(&place.path("x.bottle")).unwrap().verify(&Silent).unwrap();
}

#[test]
fn damage_is_not_copied() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    let source = Source::Path(place.path("image"));
    pack(&source, &Output::new(&place.path("a.bottle"), false), &place.cache, &Silent).unwrap();
    let mut bytes = fs::read(place.path("a.bottle")).unwrap();
    bytes[5000] ^= 1;
    fs::write(place.path("a.bottle"), bytes).unwrap();
    let again = Source::Path(place.path("a.bottle"));
    let error = pack(&again, &Output::new(&place.path("b.bottle"), false), &place.cache, &Silent).unwrap_err();
    assert!(matches!(error, ImageError::Artifact { source: ArtifactError::Blocks { count: 1, .. }, .. }), "{error:?}");
    assert!(!place.path("b.bottle").exists());
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

fn root_of(place: &Place, name: &str, text: &str) -> PathBuf {
    let root = place.path(name);
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), text).unwrap();
    root
}

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
    let pruned = place.cache.prune(1, false).unwrap();
    assert_eq!((pruned.removed.len(), pruned.stale.len()), (0, 3), "{:?}", pruned.stale);
    assert_eq!(place.cached().len(), 2, "{:?}", place.cached());
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
