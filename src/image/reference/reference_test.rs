use std::fs;

use serde_json::{Value, json};

use crate::image::testing::{Place, Tar, archive_of, config_json, seen};
use crate::image::{Digest, ImageError, recall};

/// A layout of images with one file each; the index names each as it is told to.
fn layout_of(images: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let mut parts = vec![("oci-layout".to_owned(), b"{}".to_vec())];
    let mut keep = |bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        parts.push((format!("blobs/sha256/{}", digest.hex()), bytes));
        json!({ "digest": digest.to_string() })
    };
    let manifests: Vec<_> = images
        .iter()
        .map(|(name, text)| {
            let layer = Tar::default().file("file", text.as_bytes()).finish();
            let config = config_json(std::slice::from_ref(&layer));
            let manifest = json!({ "config": keep(config), "layers": [keep(layer)] });
            let mut descriptor = keep(manifest.to_string().into_bytes());
            descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
            descriptor
        })
        .collect();
    parts.push(("index.json".to_owned(), json!({ "manifests": manifests }).to_string().into_bytes()));
    parts
}

/// A docker archive of the same.
fn docker_of(images: &[(&[&str], &str)]) -> Vec<u8> {
    let mut tar = Tar::default();
    let mut listed = Vec::new();
    for (number, (tags, text)) in images.iter().enumerate() {
        let layer = Tar::default().file("file", text.as_bytes()).finish();
        let config = config_json(std::slice::from_ref(&layer));
        tar = tar.file(&format!("{number}.json"), &config).file(&format!("{number}.tar"), &layer);
        let (config, layer) = (format!("{number}.json"), format!("{number}.tar"));
        listed.push(json!({ "Config": config, "RepoTags": tags, "Layers": [layer] }));
    }
    tar.file("manifest.json", json!(listed).to_string().as_bytes()).finish()
}

#[test]
fn one_image_of_several_is_taken_by_its_name() {
    let place = Place::new();
    let parts = layout_of(&[("app:1", "one"), ("app:2", "two"), ("same", "two")]);
    place.write_layout("layout", &parts);
    fs::write(place.path("oci.tar"), archive_of(&parts)).unwrap();
    fs::write(place.path("docker.tar"), docker_of(&[(&["app:1"], "one"), (&["app:2", "same"], "two")])).unwrap();
    let text = |given: &str| seen(&place.open_path(given).unwrap(), "file").unwrap().data;
    for source in ["layout", "oci.tar", "docker.tar"] {
        for _ in 0..2 {
            assert_eq!(text(&format!("{source}:app:1")), b"one", "{source}");
            assert_eq!(text(&format!("{source}:app:2")), b"two", "{source}");
            assert_eq!(text(&format!("{source}:same")), b"two", "{source}");
        }
        match place.open_path(source).unwrap_err() {
            error @ ImageError::ManyImages { .. } => {
                assert!(error.to_string().ends_with("holds 2 images: app:1, app:2"), "{error}");
                assert!(error.hint().unwrap().contains("`PATH:app:1`"));
            }
            other => panic!("{other:?}"),
        }
        match place.open_path(&format!("{source}:app:3")).unwrap_err() {
            ImageError::NoSuchName { name, names } => {
                assert_eq!((name.as_str(), names.join(" ").as_str()), ("app:3", "app:1 app:2 same"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text("docker.tar:1.json"), b"two", "what has no tag goes by its configuration");
    let found = place.cache.find("layout:app:2").unwrap().artifact.digest();
    std::thread::sleep(std::time::Duration::from_millis(60));
    place.open_path("layout:app:2").unwrap();
    assert_eq!(recall(&place.path("layout:app:2"), &place.cache).map(|image| image.digest()), Some(found));
    assert!(recall(&place.path("layout:app:3"), &place.cache).is_none());
}

#[test]
fn names_of_nested_indexes_are_those_of_what_they_hold() {
    let place = Place::new();
    let mut parts = layout_of(&[("one", "1"), ("two", "2")]);
    let (_, inner) = parts.pop().unwrap();
    // Of two images that go by one name each still has its digest.
    let inner: Value = serde_json::from_slice(&inner).unwrap();
    let digests: Vec<_> = (0..2).map(|at| inner["manifests"][at]["digest"].as_str().unwrap().to_owned()).collect();
    let inner = json!({ "manifests": digests.iter().map(|digest| json!({ "digest": digest })).collect::<Vec<_>>() });
    let inner = inner.to_string().into_bytes();
    let outer = json!({ "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": Digest::of(&inner).to_string(),
        "annotations": { "org.opencontainers.image.ref.name": "both" },
    }] });
    parts.push((format!("blobs/sha256/{}", Digest::of(&inner).hex()), inner));
    parts.push(("index.json".to_owned(), outer.to_string().into_bytes()));
    place.write_layout("layout", &parts);
    match place.open_path("layout:both").unwrap_err() {
        ImageError::ManyImages { names } => assert_eq!(names, digests),
        other => panic!("{other:?}"),
    }
    let given = format!("layout:{}", digests[1]);
    let image = place.open_path(&given).unwrap();
    assert_eq!(seen(&image, "file").unwrap().data, b"2");
    let known = crate::image::last_known(&place.path(&given), &place.cache).unwrap();
    assert_eq!(known.artifact.digest(), image.digest());
}

/// The index of a layout with an image for each text, and what its descriptor says of it.
fn index_of(place: &Place, images: &[(Value, &str)]) {
    let texts: Vec<_> = images.iter().map(|(_, text)| ("", *text)).collect();
    let mut parts = layout_of(&texts);
    let index: Value = serde_json::from_slice(&parts.pop().unwrap().1).unwrap();
    let mut manifests = index["manifests"].as_array().unwrap().clone();
    for (descriptor, (said, _)) in manifests.iter_mut().zip(images) {
        let descriptor = descriptor.as_object_mut().unwrap();
        descriptor.remove("annotations");
        descriptor.extend(said.as_object().unwrap().clone());
    }
    let index = json!({ "manifests": manifests });
    parts.push(("index.json".to_owned(), index.to_string().into_bytes()));
    let _absent = fs::remove_dir_all(place.path("layout"));
    place.write_layout("layout", &parts);
}

/// What an index has beside the image that is meant.
#[test]
fn the_image_for_our_machine_is_chosen() {
    let amd64 = |variant: &str| json!({ "platform": { "os": "linux", "architecture": "amd64", "variant": variant } });
    let arm64 = json!({ "platform": { "os": "linux", "architecture": "arm64" } });
    let named = |mut of: Value, name: &str| {
        of["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        of
    };
    let bill = json!({ "artifactType": "application/spdx+json" });
    let image = json!({ "artifactType": "application/vnd.oci.image.config.v1+json" });
    let unsaid = json!({ "platform": {} });
    let place = Place::new();
    let text = |given: &str| Ok(seen(&place.open_path(given)?, "file").unwrap().data);
    for (images, chosen) in [
        (vec![(bill.clone(), "bill"), (json!({}), "image")], "image"),
        (vec![(image, "image"), (bill.clone(), "bill")], "image"),
        (vec![(unsaid, "image"), (arm64.clone(), "other")], "image"),
        (
            vec![
                (named(amd64("v3"), "x"), "three"),
                (named(amd64(""), "x"), "plain"),
                (named(amd64("v2"), "x"), "two"),
                (arm64, "other"),
            ],
            "plain",
        ),
        (vec![(named(amd64("v3"), "x"), "three"), (named(amd64("v2"), "x"), "two")], "two"),
        (vec![(amd64("v3"), "three")], "three"),
    ] {
        index_of(&place, &images);
        assert_eq!(text("layout").map_err(|error: ImageError| error.to_string()), Ok(chosen.as_bytes().to_vec()));
    }
    // Another image is no variant.
    index_of(
        &place,
        &[(named(amd64(""), "one"), "1"), (named(amd64("v3"), "two"), "2"), (named(amd64(""), "two"), "3")],
    );
    assert_eq!(text("layout:two").unwrap(), b"3");
    assert!(matches!(text("layout"), Err(ImageError::ManyImages { names }) if names == ["one", "two"]));
    for variants in [["v2", "v2"], ["v2", ""]] {
        index_of(&place, &[(amd64(variants[0]), "one"), (amd64(variants[1]), "two")]);
        assert!(matches!(text("layout"), Err(ImageError::ManyImages { .. })), "two images, whatever they need");
    }
    index_of(&place, &[(bill, "bill")]);
    assert!(matches!(text("layout"), Err(ImageError::NoImages)));
}

#[test]
fn an_image_may_name_our_machine_as_it_likes() {
    let place = Place::new();
    let layer = Tar::default().file("file", b"text").finish();
    let of = |said: Value| {
        let mut config: Value = serde_json::from_slice(&config_json(std::slice::from_ref(&layer))).unwrap();
        config["architecture"] = said;
        let listed = json!([{ "Config": "c", "Layers": ["l"] }]).to_string();
        let tar = Tar::default().file("c", config.to_string().as_bytes()).file("l", &layer);
        place.open(&tar.file("manifest.json", listed.as_bytes()).finish())
    };
    for ours in [json!("x86_64"), json!(null), json!(""), json!("AMD64")] {
        assert_eq!(of(ours).unwrap().manifest().config.architecture, "amd64");
    }
    assert!(
        of(json!("aarch64"))
            .unwrap_err()
            .to_string()
            .starts_with("the image is for linux/aarch64, not for linux/amd64")
    );
}

/// As `skopeo copy … dir:DIR` writes it; a directory that only has such files is one that is to be the root.
#[test]
fn a_directory_of_skopeo_s_is_an_image() {
    let place = Place::new();
    let bare: Vec<_> = layout_of(&[("", "text")])
        .into_iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix("blobs/sha256/")?.to_owned(), bytes)))
        .collect();
    let mut parts = bare.clone();
    parts.last_mut().unwrap().0 = "manifest.json".to_owned();
    place.write_layout("root", &parts);
    parts.push(("version".to_owned(), b"Directory Transport Version: 1.1\n".to_vec()));
    place.write_layout("dir", &parts);
    let image = place.open_path("dir").unwrap();
    assert_eq!(seen(&image, "file").unwrap().data, b"text");
    assert!(seen(&image, "manifest.json").is_none());
    assert!(seen(&place.open_path("root").unwrap(), "manifest.json").is_some());
    assert!(matches!(place.open_path("dir:latest"), Err(ImageError::NoSuchName { .. })));
    // As with `--all`.
    parts[0] = ("manifest.json".to_owned(), br#"{"manifests":[{"digest":"sha256:00","mediaType":""}]}"#.to_vec());
    let (version, several) = (parts.last().unwrap().clone(), parts[0].clone());
    place.write_layout("all", &[version, several]);
    assert!(matches!(place.open_path("all"), Err(ImageError::SkopeoIndex)));
    // Its blobs are what their names say, or it is no image.
    fs::write(place.path("dir").join(&bare[0].0), "{}").unwrap();
    place.cache.prune(0, false).unwrap();
    let error = place.open_path("dir").unwrap_err();
    assert!(matches!(error, ImageError::Digest { .. } | ImageError::Layer { .. }), "{error:?}");
}

/// As containerd, nerdctl and buildx write it: in the one annotation the tag, in the other all of the name.
#[test]
fn images_go_by_the_names_that_containerd_gives_them() {
    let place = Place::new();
    let of = |name: &str| {
        let whole = format!("docker.io/library/{name}:1");
        json!({ "annotations": { "io.containerd.image.name": whole, "org.opencontainers.image.ref.name": "1" } })
    };
    index_of(&place, &[(of("app"), "text of app"), (of("tool"), "text of tool")]);
    let text = |given: &str| Ok(seen(&place.open_path(given)?, "file").unwrap().data);
    assert_eq!(text("layout:app:1").unwrap(), b"text of app");
    assert_eq!(text("layout:docker.io/library/tool:1").unwrap(), b"text of tool");
    let names = ["docker.io/library/app:1", "docker.io/library/tool:1"];
    assert!(matches!(text("layout"), Err(ImageError::ManyImages { names: told }) if told == names));
    assert!(matches!(text("layout:1"), Err(ImageError::NoSuchName { .. })), "a tag is no name");
    // What is a tag of one image is the name of another.
    let python = json!({ "annotations": {
        "io.containerd.image.name": "docker.io/library/python:alpine", "org.opencontainers.image.ref.name": "alpine",
    } });
    let alpine = json!({ "annotations": { "io.containerd.image.name": "docker.io/library/alpine:latest" } });
    index_of(&place, &[(python, "python"), (alpine, "alpine")]);
    assert_eq!(text("layout:alpine").unwrap(), b"alpine");
}

/// A name that is empty or too long says nothing, and hides no other.
#[test]
fn useless_names_are_none() {
    let place = Place::new();
    for useless in [String::new(), "x".repeat(600)] {
        let named = json!({ "annotations": {
            "io.containerd.image.name": useless, "org.opencontainers.image.ref.name": "good",
        } });
        let unnamed = json!({ "annotations": { "org.opencontainers.image.ref.name": useless } });
        index_of(&place, &[(named, "good"), (unnamed.clone(), "one"), (unnamed, "two")]);
        assert_eq!(seen(&place.open_path("layout:good").unwrap(), "file").unwrap().data, b"good");
        assert!(matches!(place.open_path("layout"), Err(ImageError::ManyImages { names }) if names.len() == 3));
    }
}

/// An image may be in several indexes, and named by the layout besides, in any order.
#[test]
fn variants_are_those_of_one_index() {
    let place = Place::new();
    let of = |variant: &str| json!({ "platform": { "os": "linux", "architecture": "amd64", "variant": variant } });
    index_of(&place, &[(of(""), "plain"), (of("v2"), "two"), (of("v3"), "three")]);
    let index: Value = serde_json::from_slice(&fs::read(place.path("layout/index.json")).unwrap()).unwrap();
    let [plain, two, three] = <[Value; 3]>::try_from(index["manifests"].as_array().unwrap().clone()).unwrap();
    let index = |name: &str, manifests: [&Value; 2]| {
        let bytes = json!({ "manifests": manifests }).to_string().into_bytes();
        let digest = Digest::of(&bytes);
        fs::write(place.path("layout/blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest.to_string(),
            "annotations": { "org.opencontainers.image.ref.name": name },
        })
    };
    let (a, b) = (index("a", [&plain, &two]), index("b", [&plain, &three]));
    for manifests in [vec![&a, &b], vec![&plain, &a, &b], vec![&b, &a, &plain]] {
        fs::write(place.path("layout/index.json"), json!({ "manifests": manifests }).to_string()).unwrap();
        for given in ["layout:a", "layout:b", "layout"] {
            assert_eq!(seen(&place.open_path(given).unwrap(), "file").unwrap().data, b"plain", "{given}");
        }
    }
}

/// Of thousands of images in an index that has a name of megabytes.
#[test]
fn a_name_that_is_none_is_not_kept_for_each_image() {
    let place = Place::new();
    let manifests: Vec<_> =
        (0..4000).map(|number: u32| json!({ "digest": Digest::of(&number.to_le_bytes()).to_string() })).collect();
    let inner = json!({ "manifests": manifests }).to_string().into_bytes();
    let outer = json!({ "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": Digest::of(&inner).to_string(),
        "annotations": { "org.opencontainers.image.ref.name": "x".repeat(2 << 20) },
    }] });
    let parts = [
        ("oci-layout".to_owned(), b"{}".to_vec()),
        (format!("blobs/sha256/{}", Digest::of(&inner).hex()), inner),
        ("index.json".to_owned(), outer.to_string().into_bytes()),
    ];
    place.write_layout("layout", &parts);
    let ImageError::NoSuchName { names, .. } = place.open_path("layout:y").unwrap_err() else { panic!() };
    assert_eq!(names.iter().map(String::len).sum::<usize>(), 4000 * 71, "digests only");
}

/// Each in a part of the image that is right otherwise.
#[test]
fn what_is_not_supported_is_told_by_name() {
    let place = Place::new();
    let refused = |from: &str, to: &str| {
        let mut parts = layout_of(&[("", "text")]);
        parts.pop();
        let (_, manifest) = parts.pop().unwrap();
        let manifest = String::from_utf8(manifest).unwrap().replace(from, to).into_bytes();
        let digest = Digest::of(&manifest);
        parts.push((format!("blobs/sha256/{}", digest.hex()), manifest));
        let index = json!({ "manifests": [{ "digest": digest.to_string() }] });
        parts.push(("index.json".to_owned(), index.to_string().into_bytes()));
        place.open(&archive_of(&parts)).unwrap_err()
    };
    let layers = r#""layers":[{"#;
    let encrypted = r#""layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip+encrypted","#;
    let error = refused(layers, encrypted);
    assert!(
        error.to_string().ends_with("is encrypted") && error.hint().unwrap().contains("--decryption-key"),
        "{error}"
    );
    let error = refused(r#""layers":[{"digest":"sha256:"#, r#""layers":[{"digest":"sha512:"#);
    assert!(error.hint().unwrap().starts_with("SHA-512 is not supported"), "{error}");
}
