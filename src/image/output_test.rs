use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::image::testing::{Place, docker_archive, layers, whole};
use crate::image::{ArtifactError, ImageError, Output, Source, open_artifact, pack};
use crate::progress::Silent;

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
    open_artifact(&place.path("x.bottle")).unwrap().verify(&Silent).unwrap();
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
fn an_output_inside_of_what_is_packed_is_refused_before_anything_is_read() {
    let place = Place::new();
    fs::create_dir_all(place.path("root/sub")).unwrap();
    fs::write(place.path("root/file"), "text").unwrap();
    std::os::unix::fs::symlink(place.path("root/sub"), place.path("way")).unwrap();
    let before = fs::metadata(place.path("root")).unwrap().modified().unwrap();
    for name in ["root/x.bottle", "root/sub/x.bottle", "way/x.bottle", "root/sub/../x.bottle"] {
        let output = Output::new(&place.path(name), true);
        match pack(&Source::Path(place.path("root")), &output, &place.cache, &Silent).unwrap_err() {
            error @ ImageError::Inside { .. } => assert!(error.hint().unwrap().contains("`-o`")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::metadata(place.path("root")).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(place.path("root/sub")).unwrap().count(), 0);
    // A neighbour whose name begins alike.
    fs::create_dir(place.path("root-2")).unwrap();
    pack(&Source::Path(place.path("root")), &Output::new(&place.path("root-2/x.bottle"), false), &place.cache, &Silent)
        .unwrap();
}
