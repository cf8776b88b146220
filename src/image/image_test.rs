use std::error::Error as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::erofs::WRITER_VERSION;
use super::testing::{
    Place, Tar, archive_of, config_json, docker_archive, fsck_erofs, gzip, layers, oci_parts, seen, whole,
};
use super::{Artifact, Cache, Digest, ImageError, Limits, Source, open, open_limited};
use crate::progress::Silent;

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
    // As parallel compressors write it: a frame to be skipped, with the sizes of the others, comes first.
    let skippable: Vec<_> =
        zstd.iter().map(|layer| [&[0x5d, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], layer.as_slice()].concat()).collect();
    let both = ["linux/arm64", "linux/amd64", "unknown/unknown"];
    for archive in [
        archive_of(&oci_parts(&layers, &skippable, &both)),
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
    place.write_layout("layout", &oci_parts(&layers, &gzipped, &both));
    assert!(whole(&place.open_path("layout").unwrap()) == expected);
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
        ImageError::Platform { found, .. } => {
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/arm64", "windows/amd64"]);
        }
        other => panic!("{other:?}"),
    }
    let mut parts = oci_parts(&layers, &layers, &["unknown/unknown"]);
    assert!(matches!(place.open(&archive_of(&parts)), Err(ImageError::NoImages)));
    // As an empty list is written by a program in Go.
    let index = parts.iter_mut().find(|(name, _)| name.as_str() == "index.json").unwrap();
    index.1 = br#"{"schemaVersion":2,"manifests":null}"#.to_vec();
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
fn an_image_in_parts_is_not_packed_as_a_root_directory() {
    let place = Place::new();
    let oci = oci_parts(&layers(), &layers(), &["linux/amd64"]);
    let without = |name: &str| oci.iter().filter(|(part, _)| part.as_str() != name).cloned().collect::<Vec<_>>();
    place.write_layout("unmarked", &without("oci-layout"));
    place.write_layout("unlisted", &without("index.json"));
    let manifest = json!([{ "Config": "c.json", "Layers": ["0/layer.tar"] }]).to_string();
    let docker = [("manifest.json", manifest.as_bytes()), ("c.json", b"{}"), ("0/layer.tar", b"")];
    place.write_layout("unpacked", &docker.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())));
    for name in ["unmarked", "unlisted", "unpacked"] {
        let error = place.open_path(name).unwrap_err();
        assert!(matches!(error, ImageError::Loose { .. }), "{name}: {error:?}");
        assert!(error.hint().unwrap().contains("tar c -C"), "{name}");
    }
    // A root directory may have a manifest.json of its own.
    place.write_layout("root", &[("manifest.json".to_owned(), b"{}".to_vec()), ("bin/sh".to_owned(), vec![])]);
    place.open_path("root").unwrap();
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
fn the_bounds_are_shared_by_all_layers() {
    let place = Place::new();
    let layers: Vec<_> =
        (0..3).map(|number| Tar::default().file(&format!("{number}{}", "n".repeat(200)), b"").finish()).collect();
    let open_with = |layers: &[Vec<u8>], limits: &Limits| {
        let _absent = fs::remove_file(place.path("image"));
        fs::write(place.path("image"), docker_archive(layers)).unwrap();
        open_limited(&Source::Path(place.path("image")), &place.cache, limits, &Silent)
    };
    let is = |result: Result<Artifact, ImageError>, part: &str| {
        let error = result.map(drop).unwrap_err();
        let inner = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(inner.contains(part), "{error}: {inner}");
    };
    let room_for_two = Limits { memory_bytes: 1700, ..Limits::default() };
    is(open_with(&layers, &room_for_two), "memory");
    is(open_with(&layers, &Limits { entries: 2, ..Limits::default() }), "more entries");
    // Directories that nobody lists take room as well.
    let implied = [Tar::default().file(&"d/".repeat(500), b"").finish()];
    is(open_with(&implied, &Limits { memory_bytes: 20_000, ..Limits::default() }), "entry `");
    is(open_with(&implied, &Limits { steps: 400, ..Limits::default() }), "entry `");
    // The way is gone twice: to see what is there, and to make it.
    open_with(&implied, &Limits { steps: 1000, memory_bytes: 400_000, ..Limits::default() }).unwrap();
    place.cache.prune(0, false).unwrap();
    // What is not there has its size all the same.
    let sparse = |size: &str| {
        let map = format!("0,1,{},1", size.parse::<u64>().unwrap() - 1);
        Tar::default()
            .pax("GNU.sparse.size", size.as_bytes())
            .pax("GNU.sparse.map", map.as_bytes())
            .file(size, b"ab")
            .finish()
    };
    let limits = Limits { unpacked_bytes: 3_000_000, ..Limits::default() };
    is(open_with(&[sparse("2000000"), sparse("2000001")], &limits), "more than 3000000 bytes");
    is(
        open_with(&[sparse("18446744073709551615"), sparse("18446744073709551615")], &limits),
        "more than 3000000 bytes",
    );
    assert_eq!(place.cached(), Vec::<PathBuf>::new());
    open_with(&[sparse("2000000")], &limits).unwrap();
    open_with(&layers[..2], &room_for_two).unwrap();
}

#[test]
fn indexes_that_name_each_other_over_and_over_come_to_an_end() {
    let place = Place::new();
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut index = json!({ "schemaVersion": 2, "manifests": [] }).to_string().into_bytes();
    let mut parts = vec![("oci-layout".to_owned(), b"{}".to_vec())];
    for _ in 0..4 {
        let descriptor = json!({ "mediaType": kind, "digest": Digest::of(&index).to_string(), "size": index.len() });
        parts.push((format!("blobs/sha256/{}", Digest::of(&index).hex()), index));
        index = json!({ "schemaVersion": 2, "manifests": vec![descriptor; 1000] }).to_string().into_bytes();
    }
    parts.push(("index.json".to_owned(), index));
    assert!(matches!(place.open(&archive_of(&parts)), Err(ImageError::ManyManifests { .. })));
}

#[test]
fn indexes_are_not_too_long_together() {
    let place = Place::new();
    let kind = "application/vnd.oci.image.index.v1+json";
    let nested = |levels: usize| {
        let mut index = json!({ "schemaVersion": 2, "manifests": [] }).to_string().into_bytes();
        let mut parts = vec![("oci-layout".to_owned(), b"{}".to_vec())];
        for _ in 0..levels {
            let digest = Digest::of(&index);
            parts.push((format!("blobs/sha256/{}", digest.hex()), index));
            let annotations = json!({ "a": "a".repeat(3 << 20) });
            let descriptor = json!({ "mediaType": kind, "digest": digest.to_string(), "annotations": annotations });
            index = json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string().into_bytes();
        }
        parts.push(("index.json".to_owned(), index));
        place.open(&archive_of(&parts)).unwrap_err()
    };
    assert!(matches!(nested(2), ImageError::NoImages));
    assert!(matches!(nested(3), ImageError::LongIndexes { .. }));
}

/// A whole archive may ask for more than a layer: while it is unpacked there is no tree.
#[test]
fn a_window_that_would_take_all_memory_is_refused() {
    let place = Place::new();
    let layer = Tar::default().file("x", &vec![7; 100_000]).finish();
    let zstd = |bytes: &[u8], log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        if log > 27 {
            encoder.long_distance_matching(true).unwrap();
        }
        // Its size unknown, the frame claims the window as it is.
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let parts = |stored| oci_parts(std::slice::from_ref(&layer), &[stored], &["linux/amd64"]);
    let error = place.open(&archive_of(&parts(zstd(&layer, 27)))).unwrap_err();
    let said = error.source().unwrap().to_string();
    assert!(said.contains("a window of over 32 MiB") && error.hint().unwrap().contains("docker-archive:"), "{error:?}");
    // One that has come to ask for so much is damaged.
    let right = zstd(&layer, 25);
    let mut damaged = parts(right.clone());
    let of_layer = damaged.iter_mut().find(|(_, bytes)| *bytes == right).unwrap();
    // The window descriptor (RFC 8878 §3.1.1.1.2): 2 to the power of 10 and its upper five bits.
    of_layer.1[5] = 20 << 3;
    let error = place.open(&archive_of(&damaged)).unwrap_err();
    assert!(error.source().unwrap().to_string().starts_with("its digest is "), "{error:?}");
    place.open(&archive_of(&parts(right))).unwrap();
    let archive = archive_of(&parts(layer.clone()));
    place.open(&zstd(&archive, 27)).unwrap();
    let error = place.open(&zstd(&archive, 28)).unwrap_err();
    assert!(error.to_string().contains("a window of over 128 MiB"), "{error:?}");
    assert!(error.hint().unwrap().contains("zstd -dc"));
}

#[test]
fn parts_are_found_by_any_spelling_of_their_names_but_sparse_ones_not_at_all() {
    let place = Place::new();
    let layer = Tar::default().file("file", b"text").finish();
    let listed = br#"[{"Config":"./c.json","Layers":[".//a/../l.tar"]}]"#;
    let config = config_json(std::slice::from_ref(&layer));
    let tar = Tar::default().file("./c.json", &config).file("manifest.json", listed);
    let image = place.open(&tar.clone().file("./l.tar", &layer).finish()).unwrap();
    assert_eq!(seen(&image, "file").unwrap().data, b"text");
    // PAX format 0.1, as `tar -S` writes it: all of it data, which nobody would be bitten by; and it is refused all the same.
    let size = layer.len().to_string();
    let sparse = tar.pax("GNU.sparse.size", size.as_bytes()).pax("GNU.sparse.numblocks", b"1");
    let sparse = sparse.pax("GNU.sparse.map", format!("0,{size}").as_bytes()).file("l.tar", &layer);
    let error = place.open(&sparse.finish()).unwrap_err();
    assert!(error.to_string().contains("`l.tar` of the image is stored sparse"), "{error:?}");
    assert!(error.hint().unwrap().contains("without `-S`"));
}

/// To the byte, whatever program made it. If this fails, what is made of an image has changed: count [`WRITER_VERSION`] up, or artifacts
/// of before are taken for those of now.
#[test]
fn the_same_image_is_the_same_artifact_for_ever() {
    let place = Place::new();
    let noise =
        |size: u32| (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect::<Vec<_>>();
    let lower = Tar::default()
        .directory("dir", 0o1777)
        .file("dir/small", b"text")
        .file("dir/twin", &noise(9_000))
        .file("twin", &noise(9_000))
        .file("large", &noise(1_000_000))
        .file("words", b"so many words ".repeat(20_000).as_slice())
        .file("zeros", &[0; 300_000])
        .pax("SCHILY.xattr.user.k", b"v")
        .pax("mtime", b"1700000000.25")
        .file("attributed", b"x")
        .entry(b'3', "null", "", 0o666, b"");
    let upper = Tar::default().file(".wh.words", b"").hard_link("hard", "twin").symlink("soft", "dir/small");
    let archive = docker_archive(&[lower.finish(), upper.finish()]);
    let digest = |compression: &str| {
        let cache = Cache::at(&place.path("cache")).with_compression(compression.parse().unwrap());
        fs::write(place.path("image"), &archive).unwrap();
        let image = open(&Source::Path(place.path("image")), &cache, &Silent).unwrap();
        format!("{WRITER_VERSION} {} {}", image.manifest().root.compression, image.digest())
    };
    let known = [
        "5 none sha256:0039c05777a0eb40c0147660fdcd07a6a0c22f98e3a618535ba3e62969819ed7",
        "5 lz4 sha256:79f1d58bfde64bd695797d1a14379624adec91bf3ca9f95b3b59aa0a7b4f6b21",
        "5 zstd sha256:05e71af0dde0055cf5885a2d0ed4266ef3fb4818c18ba5c02c9d98b5c1378134",
        "5 zstd:9 sha256:a9c8602f3e3ecd7c4fc31cace7e47604fa22fe6e3fa3d7167d0d01e0a691ee6c",
    ];
    assert_eq!(["none", "lz4", "zstd", "zstd:9"].map(digest), known);
}

#[test]
fn every_flipped_byte_of_an_archive_is_found_or_means_nothing() {
    let layer = Tar::default().file("f", b"text").symlink("l", "f").finish();
    let parts = oci_parts(std::slice::from_ref(&layer), &[gzip(&layer)], &["linux/amd64"]);
    let good = archive_of(&parts);
    let place = Place::new();
    let whole_image = place.open(&good).unwrap().digest();
    let forget = || drop(fs::remove_dir_all(place.path("cache")));
    let mut harmless = 0;
    for at in 0..good.len() {
        forget();
        let mut wrong = good.clone();
        wrong[at] ^= 1;
        match place.open(&wrong) {
            // Between the parts, and where documents say what nobody needs.
            Ok(image) => {
                assert_eq!(image.digest(), whole_image, "byte {at}");
                harmless += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(place.cached(), Vec::<PathBuf>::new(), "byte {at}: {error}");
            }
        }
    }
    let stated: usize = parts.iter().map(|(_, bytes)| 512 + bytes.len()).sum();
    assert!(good.len() - harmless > stated - 300, "{harmless} of {} mean nothing", good.len());
}

/// The decoder stumbles first; what is told is the digest where there is one, and a way out in any case.
#[test]
fn a_damaged_compressed_layer_is_told_to_be_damaged() {
    let place = Place::new();
    let layer = Tar::default().file("words", "a word ".repeat(5000).as_bytes()).finish();
    let stored = [gzip(&layer), zstd::encode_all(&layer[..], 1).unwrap()];
    for stored in stored {
        for at in [12, stored.len() / 2, stored.len() - 5] {
            let mut parts = oci_parts(std::slice::from_ref(&layer), std::slice::from_ref(&stored), &["linux/amd64"]);
            parts[0].1[at] ^= 0x10;
            let error = place.open(&archive_of(&parts)).unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("digest is sha256:"), "byte {at}: {cause}");
            assert!(error.hint().unwrap().contains("damaged"), "{error:?}");
            // An archive of docker's states no digest of what is stored.
            let manifest = json!([{ "Config": "c", "Layers": ["l"] }]).to_string();
            let tar = Tar::default().file("c", &config_json(std::slice::from_ref(&layer))).file("l", &parts[0].1);
            let error = place.open(&tar.file("manifest.json", manifest.as_bytes()).finish()).unwrap_err();
            assert!(error.hint().unwrap().contains("damaged"), "byte {at}: {error:?}");
        }
    }
}

#[test]
fn a_volume_of_the_configuration_is_in_the_image() {
    let place = Place::new();
    let layer = Tar::default().file("f", b"").finish();
    let open_with = |volumes: serde_json::Value| {
        let mut config: serde_json::Value = serde_json::from_slice(&config_json(std::slice::from_ref(&layer))).unwrap();
        config["config"]["Volumes"] = volumes;
        let manifest = json!([{ "Config": "c", "Layers": ["l"] }]).to_string();
        let tar = Tar::default().file("c", config.to_string().as_bytes()).file("l", &layer);
        place.open(&tar.file("manifest.json", manifest.as_bytes()).finish())
    };
    open_with(json!(null)).unwrap();
    let image = open_with(json!({ "/srv/data": {} })).unwrap();
    fsck_erofs(image.path());
    let made = seen(&image, "srv/data").unwrap();
    assert_eq!((made.mode, made.uid, made.gid), (0o040_755, 0, 0));
    match open_with(json!({ "/a/../../b": {} })).unwrap_err() {
        error @ ImageError::Volume { .. } => {
            let said = "volume `/a/../../b` of the image's configuration climbs out of the image by `..`";
            assert_eq!(error.to_string(), said);
        }
        other => panic!("{other:?}"),
    }
}
