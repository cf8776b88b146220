use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::image::Source;
use crate::image::cache::Cache;
use crate::image::erofs::WRITER_VERSION;
use crate::image::platform::Platform;
use crate::image::testing::{Tar, docker_archive};
use crate::image::{ImageError, Output, RootCompression, open, pack};
use crate::progress::Silent;

/// A small artifact, and a place for others.
struct Packed {
    directory: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Packed {
    fn new() -> Self {
        Self::of(&[7; 70_000])
    }

    /// Not compressed: every byte is where it is counted to be.
    fn of(file: &[u8]) -> Self {
        Self::compressed(file, RootCompression::None)
    }

    fn compressed(file: &[u8], compression: RootCompression) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layer = Tar::default().directory("etc", 0o755).file("etc/os", b"a test").file("big", file).finish();
        fs::write(directory.path().join("image"), docker_archive(&[layer])).unwrap();
        let path = directory.path().join("a.bottle");
        let cache = Cache::at(&directory.path().join("cache")).with_compression(compression);
        let source = Source::Path(directory.path().join("image"));
        pack(&source, &Output::new(&path, false), &cache, &Silent).unwrap();
        Self { bytes: fs::read(&path).unwrap(), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens and verifies other bytes than those that were written.
    fn check(&self, bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let path = self.path("other.bottle");
        fs::write(&path, bytes).unwrap();
        let artifact = Artifact::open(File::open(&path).unwrap(), &path)?;
        artifact.verify(&Silent)?;
        Ok(artifact)
    }

    fn good(&self) -> Artifact {
        self.check(&self.bytes).unwrap()
    }

    /// The same artifact with another manifest, everything else adjusted to it.
    fn with_manifest(&self, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let good = self.good();
        let place = good.trailer.manifest();
        let start = usize::try_from(place.offset).unwrap();
        let mut manifest =
            serde_json::from_slice(&self.bytes[start..][..usize::try_from(place.length).unwrap()]).unwrap();
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).unwrap();
        let trailer = Trailer {
            tree: good.trailer.tree.clone(),
            manifest_bytes: text.len() as u64,
            manifest_digest: Digest::of(&text),
        };
        let mut bytes = [&self.bytes[..start], &text].concat();
        bytes.resize(usize::try_from(trailer.offset()).unwrap(), 0);
        bytes.extend(trailer.encode());
        bytes
    }

    /// With another field of the trailer, its digest adjusted.
    fn with_trailer(&self, at: usize, field: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let start = bytes.len() - BLOCK;
        bytes[start + at..][..field.len()].copy_from_slice(field);
        let digest = Digest::of(&bytes[start..start + BLOCK - 32]);
        bytes[start + BLOCK - 32..].copy_from_slice(digest.bytes());
        bytes
    }
}

#[test]
fn a_manifest_says_what_the_image_said() {
    let packed = Packed::new();
    let artifact = packed.good();
    let manifest = artifact.manifest();
    assert_eq!(manifest.created_by, format!("bottle-vmm, writer {WRITER_VERSION}"));
    assert_eq!(
        (manifest.config.cmd.as_slice(), manifest.config.user.as_str()),
        (["/bin/sh".to_owned()].as_slice(), "node")
    );
    assert_eq!((manifest.source.kind, manifest.source.layers.len()), (SourceKind::Image, 1));
    assert_eq!(artifact.bytes(), packed.bytes.len() as u64);
    assert_eq!(artifact.platform(), Platform::ours());
}

#[test]
fn every_flipped_byte_is_found() {
    for compression in RootCompression::ALL {
        let packed = Packed::compressed(b"a word and a word and a word", compression);
        let path = packed.path("a.bottle");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let check = || Artifact::open(file.try_clone().unwrap(), &path).and_then(|artifact| artifact.verify(&Silent));
        // All of them: root, tree, manifest, padding, trailer.
        for (at, &byte) in (0..).zip(&packed.bytes) {
            file.write_all_at(&[byte ^ 0x20], at).unwrap();
            let error = check().err().unwrap_or_else(|| panic!("byte {at} of {}, {compression}", packed.bytes.len()));
            assert!(!error.to_string().is_empty() && error.hint().is_some(), "{error}");
            assert!(!matches!(error, ArtifactError::NotAnArtifact), "the end says that it is one");
            file.write_all_at(&[byte], at).unwrap();
        }
        check().unwrap();
    }
}

#[test]
fn damage_inside_of_compressed_bytes_is_named_like_any_other() {
    let lines: Vec<u8> = (0..40_000).flat_map(|line| format!("line {line:08}\n").into_bytes()).collect();
    for compression in [RootCompression::Lz4, RootCompression::Zstd { level: None }] {
        let packed = Packed::compressed(&lines, compression);
        assert!(packed.bytes.len() < lines.len() / 2, "{compression} did not shrink it");
        assert_eq!(packed.good().manifest().root.compression, compression);
        // Behind the super block come the extents.
        for at in [4096, 4200, 8191, 9000] {
            let mut bytes = packed.bytes.clone();
            bytes[at] ^= 1;
            let first = u64::try_from(at / BLOCK * BLOCK).unwrap();
            let error = packed.check(&bytes).unwrap_err();
            assert!(matches!(error, ArtifactError::Blocks { count: 1, first: block, .. } if block == first), "{error}");
        }
    }
}

#[test]
fn what_only_a_newer_version_knows_is_told_from_damage() {
    let packed = Packed::new();
    for (what, name, bytes) in [
        ("compression", "brotli", packed.with_manifest(|manifest| manifest["root"]["compression"] = "brotli".into())),
        ("compression", "zstd:03", packed.with_manifest(|manifest| manifest["root"]["compression"] = "zstd:03".into())),
        (
            "feature",
            "erofs-48bit",
            packed.with_manifest(|manifest| manifest["root"]["features"] = ["erofs-48bit"].as_slice().into()),
        ),
        (
            "feature",
            "\\u{1b}[2J",
            packed.with_manifest(|manifest| manifest["root"]["features"] = ["\u{1b}[2J"].as_slice().into()),
        ),
    ] {
        let error = packed.check(&bytes).unwrap_err();
        assert!(matches!(&error, ArtifactError::Unknown { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("its root has {what} `{name}`, which this bottle-vmm does not know"));
        assert!(error.hint().unwrap().contains("newer bottle-vmm"));
    }
    let long = packed.with_manifest(|manifest| manifest["root"]["compression"] = "x".repeat(1 << 20).into());
    assert!(packed.check(&long).unwrap_err().to_string().len() < 200);
}

#[test]
fn cut_or_lengthened_anywhere_it_is_refused() {
    let packed = Packed::of(b"");
    for length in 0..packed.bytes.len() {
        packed.check(&packed.bytes[..length]).unwrap_err();
    }
    for more in [1, 512, 4096, 5000] {
        let mut longer = packed.bytes.clone();
        longer.resize(longer.len() + more, 0);
        assert!(matches!(packed.check(&longer), Err(ArtifactError::Cut)));
        // With the trailer at the end again.
        longer.extend_from_slice(&packed.bytes[packed.bytes.len() - BLOCK..]);
        packed.check(&longer).unwrap_err();
    }
    let removed = [&packed.bytes[..4096], &packed.bytes[8192..]].concat();
    assert!(matches!(packed.check(&removed), Err(ArtifactError::Cut)));
}

#[test]
fn damage_is_named_by_part_and_place() {
    let packed = Packed::new();
    let trailer = packed.good().trailer;
    let flipped = |at: u64| {
        let mut bytes = packed.bytes.clone();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        packed.check(&bytes).unwrap_err().to_string()
    };
    assert_eq!(
        flipped(9000),
        format!("1 of the {} blocks of its root are damaged, the first at byte 8192", trailer.tree.data_blocks())
    );
    let tree = trailer.hash_tree();
    assert_eq!(flipped(tree.offset + 40), format!("its hash tree is damaged (at byte {})", tree.offset));
    let manifest = trailer.manifest();
    assert_eq!(flipped(manifest.offset + 9), format!("its manifest is damaged (at byte {})", manifest.offset));
    assert_eq!(flipped(manifest.end()), format!("its padding is damaged (at byte {})", manifest.end()));
    assert_eq!(flipped(trailer.offset() + 4000), format!("its trailer is damaged (at byte {})", trailer.offset()));
    let mut many = packed.bytes.clone();
    many[4096..12_288].fill(0xff);
    assert!(matches!(packed.check(&many), Err(ArtifactError::Blocks { count: 2, first: 4096, .. })));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let packed = Packed::of(b"");
    let newer = packed.with_trailer(8, &7u32.to_le_bytes());
    let error = packed.check(&newer).unwrap_err();
    assert!(matches!(error, ArtifactError::Newer { found: 7, known: FORMAT }), "{error:?}");
    assert!(error.to_string().contains("format 7") && error.to_string().contains("up to 1"));
    assert!(error.hint().unwrap().contains("newer bottle-vmm"));
    // The digest does not fit: then the version means nothing.
    let mut damaged = newer;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(packed.check(&damaged), Err(ArtifactError::Damaged { part: Part::Trailer, .. })));
}

#[test]
fn offsets_and_lengths_are_believed_only_if_they_are_the_ones_we_would_write() {
    let packed = Packed::of(b"");
    for at in [12, 16, 24, 32, 40, 48, 56, 96, 2000] {
        for value in [1, 4096, 1 << 20, 1 << 44, u64::MAX] {
            let bytes = packed.with_trailer(at, &value.to_le_bytes());
            if bytes != packed.bytes {
                let error = packed.check(&bytes).unwrap_err();
                let expected = matches!(
                    error,
                    // A manifest of another length that ends in the same block.
                    ArtifactError::Damaged { part: Part::Trailer | Part::Manifest, .. } | ArtifactError::Cut
                );
                assert!(expected, "{at}, {value}: {error:?}");
            }
        }
    }
}

#[test]
fn manifests_that_contradict_the_file_are_refused() {
    let packed = Packed::of(b"");
    packed.check(&packed.with_manifest(|_| {})).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| packed.check(&packed.with_manifest(change)).unwrap_err();
    for (what, error) in [
        ("format", refused(&|manifest| manifest["format"] = 2.into())),
        ("root bytes", refused(&|manifest| manifest["root"]["bytes"] = 4096.into())),
        ("block size", refused(&|manifest| manifest["root"]["block_size"] = 512.into())),
        ("features", refused(&|manifest| manifest["root"]["features"] = ["erofs-lz4"].as_slice().into())),
        ("compression", refused(&|manifest| manifest["root"]["compression"] = "lz4".into())),
        ("root digest", refused(&|manifest| manifest["tree"]["root_digest"] = Digest::of(b"").to_string().into())),
    ] {
        assert!(matches!(error, ArtifactError::Contradiction { .. }), "{what}: {error:?}");
    }
    for (what, error) in [
        ("unknown field", refused(&|manifest| manifest["new"] = 1.into())),
        ("unknown field inside", refused(&|manifest| manifest["config"]["new"] = 1.into())),
        ("unknown algorithm", refused(&|manifest| manifest["tree"]["algorithm"] = "md5".into())),
        ("compression by number", refused(&|manifest| manifest["root"]["compression"] = 1.into())),
        ("no digest", refused(&|manifest| manifest["tree"]["digest"] = "sha256:0".into())),
        ("missing field", refused(&|manifest| drop(manifest.as_object_mut().unwrap().remove("root")))),
        ("no object", refused(&|manifest| *manifest = 1.into())),
    ] {
        assert!(matches!(error, ArtifactError::Manifest(_)), "{what}: {error:?}");
    }
    let tree = refused(&|manifest| manifest["tree"]["digest"] = Digest::of(b"").to_string().into());
    assert!(matches!(tree, ArtifactError::Damaged { part: Part::HashTree, .. }));
}

#[test]
fn another_architecture_is_named() {
    let packed = Packed::of(b"");
    let bytes = packed.with_manifest(|manifest| manifest["config"]["architecture"] = "arm64".into());
    fs::write(packed.path("arm.bottle"), bytes).unwrap();
    let cache = Cache::at(&packed.path("cache"));
    match open(&Source::Path(packed.path("arm.bottle")), &cache, &Silent) {
        Err(ImageError::Platform { found, wanted }) => {
            assert_eq!((found[0].to_string(), wanted), ("linux/arm64".to_owned(), Platform::ours()));
        }
        other => panic!("{other:?}"),
    }
    // What others' documents may leave out or call otherwise, ours do not.
    for ours in ["", "x86_64", "AMD64"] {
        fs::write(
            packed.path("arm.bottle"),
            packed.with_manifest(|manifest| manifest["config"]["architecture"] = ours.into()),
        )
        .unwrap();
        let opened = open(&Source::Path(packed.path("arm.bottle")), &cache, &Silent);
        assert!(matches!(opened, Err(ImageError::Platform { .. })), "{ours}");
    }
}

/// The opinion of cryptsetup; skipped, loudly, where it is not installed.
#[test]
fn the_hash_tree_is_one_of_dm_verity() {
    for data in [Vec::new(), vec![3; 4096 * 500], (0..3_000_000u32).flat_map(u32::to_le_bytes).collect()] {
        let packed = Packed::of(&data);
        let artifact = packed.good();
        let tree = artifact.tree();
        let path = artifact.path().to_str().unwrap();
        let (blocks, offset) = (tree.data_blocks.to_string(), tree.offset.to_string());
        let root = artifact.manifest().tree.root_digest.hex();
        let arguments =
            ["verify", "--no-superblock", "--format=1", "--hash=sha256", "--salt=-", "--data-block-size=4096"];
        let run = Command::new("/sbin/veritysetup")
            .args(arguments)
            .args(["--hash-block-size=4096", "--data-blocks", &blocks, "--hash-offset", &offset, path, path, &root])
            .output();
        match run {
            Err(_) => eprintln!("SKIPPED: no veritysetup (Debian: cryptsetup-bin)"),
            Ok(run) => assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr)),
        }
    }
}

#[test]
fn a_root_of_many_groups_is_verified_and_its_damage_counted() {
    let data: Vec<u8> = (0..20_000_000u32).map(|at| u8::try_from((at >> 9 ^ at) % 256).unwrap()).collect();
    let packed = Packed::of(&data);
    let artifact = packed.good();
    assert!(artifact.trailer.tree.levels().len() == 2 && artifact.trailer.tree.blocks() > 30);
    let mut bytes = packed.bytes.clone();
    for block in [4000, 700, 701, 2500] {
        bytes[block * BLOCK] ^= 1;
    }
    assert!(matches!(packed.check(&bytes), Err(ArtifactError::Blocks { count: 4, first, .. }) if first == 700 * 4096));
}

#[test]
fn opening_reads_no_more_of_a_large_artifact() {
    let packed = Packed::of(&vec![0; 8 << 20]);
    let path = packed.path("holes.bottle");
    // The root is not even there: only trailer and manifest are looked at.
    let good = packed.good();
    let start = usize::try_from(good.trailer.manifest().offset).unwrap();
    let file = File::create_new(&path).unwrap();
    file.write_all_at(&trailer::MAGIC, 0).unwrap();
    file.write_all_at(&packed.bytes[start..], start as u64).unwrap();
    let artifact = Artifact::open(File::open(&path).unwrap(), Path::new("holes")).unwrap();
    assert_eq!(artifact.digest(), good.digest());
    artifact.verify(&Silent).unwrap_err();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Several bytes at once, anywhere.
    #[test]
    fn random_damage_is_found(flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..8)) {
        static PACKED: std::sync::OnceLock<Packed> = std::sync::OnceLock::new();
        let packed = PACKED.get_or_init(Packed::new);
        let mut bytes = packed.bytes.clone();
        for (at, bits) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, &bytes).unwrap();
        let found = Artifact::open(File::open(&path).unwrap(), &path).and_then(|artifact| artifact.verify(&Silent));
        // Two flips of one byte may undo each other.
        prop_assert_eq!(found.is_ok(), bytes == packed.bytes);
    }

    /// Whatever a trailer says, its digest right or wrong: no panic, no large allocation.
    #[test]
    fn any_trailer_is_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 96), length in any::<u64>(), sealed in any::<bool>(), ours in any::<bool>()) {
        let mut block = [0; BLOCK];
        block[..96].copy_from_slice(&bytes);
        if ours {
            block[..8].copy_from_slice(&trailer::MAGIC);
            block[8..16].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        }
        if sealed {
            let digest = Digest::of(&block[..BLOCK - 32]);
            block[BLOCK - 32..].copy_from_slice(digest.bytes());
        }
        if let Ok(trailer) = Trailer::parse(&block, length) {
            prop_assert_eq!((trailer.encode(), trailer.file_bytes()), (block, length));
        }
    }
}
