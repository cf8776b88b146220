use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::digest::Digest;
use super::testing::{Seen, Tar, config_json, docker_archive, fsck_erofs, read_erofs};
use super::{Bootable, Cache, ImageError, Limits, Source, open, open_default_root, open_limited};
use crate::progress::Silent;

/// A directory with a cache in it.
struct Place {
    directory: tempfile::TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("cache")).unwrap();
        Self { directory, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn open(&self, bytes: &[u8]) -> Result<Bootable, ImageError> {
        // A new file: ext4 waits for the disk when one is emptied and written again.
        let _absent = fs::remove_file(self.path("image"));
        fs::write(self.path("image"), bytes).unwrap();
        self.open_path("image")
    }

    fn open_path(&self, name: &str) -> Result<Bootable, ImageError> {
        open(&Source::Path(self.path(name)), &self.cache, &Silent)
    }

    /// Files in the cache, of whatever kind.
    fn cached(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.path("cache")];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).unwrap() {
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

fn contents(image: &Bootable) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(image.root.metadata().unwrap().len()).unwrap()];
    image.root.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn seen(image: &Bootable, path: &str) -> Option<Seen> {
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
    fsck_erofs(&place.cached().into_iter().find(|path| path.ends_with("root.erofs")).unwrap());
    assert_eq!(
        (image.config.user.as_str(), image.config.cmd[0].as_str(), image.config.env[0].as_str()),
        ("node", "/bin/sh", "PATH=/bin")
    );
    assert_eq!(image.digest, Digest::of(&config_json(&layers)).to_string());
    assert_eq!(seen(&image, "etc/os").unwrap().data, b"upper");
    assert_eq!(seen(&image, "kept").unwrap().data, [7; 70_000]);
    assert!(seen(&image, "gone").is_none() && seen(&image, "big").is_none());
    let expected = contents(&image);
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
        assert!(contents(&image) == expected);
    }
    let place = Place::new();
    for (name, bytes) in oci_parts(&layers, &gzipped, &both) {
        let path = place.path("layout").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert!(contents(&place.open_path("layout").unwrap()) == expected);
}

#[test]
fn a_source_that_has_not_changed_is_not_read_again() {
    let place = Place::new();
    fs::write(place.path("image"), docker_archive(&layers())).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let first = place.open_path("image").unwrap();
    let again = place.open_path("image").unwrap();
    assert_eq!((contents(&first), first.config, first.digest), (contents(&again), again.config, again.digest));
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
    let whole = contents(&place.open(&archive).unwrap());
    for name in ["root.erofs", "image.json"] {
        let path = place.cached().into_iter().find(|path| path.ends_with(name)).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(contents(&place.open(&archive).unwrap()) == whole);
        fs::remove_file(&path).unwrap();
        assert!(contents(&place.open(&archive).unwrap()) == whole);
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
    assert_eq!(names.len(), 2, "{names:?}");
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
    let too_large = |result: Result<Bootable, ImageError>| {
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
    assert_eq!(place.open_path("root").unwrap().digest, image.digest);
    // What only ctime tells.
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(place.open_path("root").unwrap().digest, image.digest);
}

#[test]
fn the_default_root_has_a_shell_and_the_usual_places() {
    let place = Place::new();
    fs::write(place.path("busybox"), b"\x7fELF busybox").unwrap();
    let make = || open_default_root(&place.path("busybox"), &place.cache, &Silent).unwrap();
    let image = make();
    assert_eq!(image.config.cmd, ["/bin/sh"]);
    assert_eq!(seen(&image, "bin/sh").unwrap().data, b"busybox");
    assert_eq!(seen(&image, "usr/bin/id").unwrap().data, b"../../bin/busybox");
    assert_eq!(seen(&image, "bin/busybox").unwrap().mode, 0o100_755);
    assert_eq!(seen(&image, "tmp").unwrap().mode, 0o041_777);
    for directory in ["proc", "sys", "dev", "run", "root", "home"] {
        assert_eq!(seen(&image, directory).unwrap().mode >> 12, 4, "{directory}");
    }
    assert_eq!(make().digest, image.digest);
    assert!(matches!(open_default_root(Path::new("/none"), &place.cache, &Silent), Err(ImageError::Io { .. })));
}

#[test]
fn a_cache_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    assert_eq!(fs::metadata(place.path("cache")).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(place.path("file"), b"").unwrap();
    let error = Cache::at(&place.path("file").join("cache")).unwrap_err();
    assert!(matches!(error, ImageError::Io { action: "create", .. }));
}
