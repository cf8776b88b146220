use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use proptest::prelude::*;

use super::{Feature, ImageWriter, RootCompression, StoreError, Tuning};
use crate::image::testing::{fsck_erofs, read_erofs};
use crate::image::tree::{ContentId, Device, Inode, InodeId, Kind, Meta, Time, Tree};

fn meta(mode: u16) -> Meta {
    Meta { mode, uid: 1, gid: 2, mtime: Time { seconds: 1_000, nanoseconds: 5 }, ..Meta::default() }
}

fn add(tree: &mut Tree, directory: InodeId, name: &[u8], kind: Kind) -> InodeId {
    let id = tree.add(Inode { meta: meta(0o644), kind }).unwrap();
    tree.link(directory, name, id).unwrap();
    id
}

fn file(size: usize) -> Kind {
    Kind::File { size: size as u64, content: ContentId { source: 0, index: 0 } }
}

/// The image of a tree whose files hold the bytes of `data`, each from its start.
fn image(tree: &Tree, data: &[u8]) -> Vec<u8> {
    filled(ImageWriter::new(tree, tempfile::tempfile().unwrap(), RootCompression::None), tree, |_| data.to_vec())
}

fn filled(mut writer: ImageWriter<'_>, tree: &Tree, data: impl Fn(InodeId) -> Vec<u8>) -> Vec<u8> {
    for (id, _) in tree.breadth_first() {
        writer.store(id, &mut data(id).as_slice()).unwrap();
    }
    let (mut out, bytes) = writer.finish([7; 16]).unwrap();
    let mut image = Vec::new();
    out.seek(SeekFrom::Start(0)).unwrap();
    out.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, bytes);
    image
}

const ZSTD: RootCompression = RootCompression::Zstd { level: None };
const COMPRESSIONS: [RootCompression; 2] = [RootCompression::Lz4, ZSTD];

/// Bytes that do not shrink.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = (seed << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(step).collect();
    bytes.truncate(size);
    bytes
}

/// Bytes that shrink to a half or less, no two seeds alike.
fn text(size: usize, seed: u64) -> Vec<u8> {
    let words = noise(size / 4 + 8, seed);
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| format!("w{:02} ", word % 50).into_bytes()).collect();
    bytes.truncate(size);
    bytes
}

/// A tree of one directory with these files, `f0` first.
fn files_of(contents: &[Vec<u8>]) -> (Tree, Vec<InodeId>) {
    let mut tree = Tree::new(100_000);
    let ids = contents
        .iter()
        .enumerate()
        .map(|(number, bytes)| add(&mut tree, InodeId::ROOT, format!("f{number}").as_bytes(), file(bytes.len())));
    let ids = ids.collect();
    (tree, ids)
}

fn packed(contents: &[Vec<u8>], compression: RootCompression, tuning: Tuning) -> Vec<u8> {
    let (tree, ids) = files_of(contents);
    let writer = ImageWriter::tuned(&tree, tempfile::tempfile().unwrap(), compression, tuning);
    let number: HashMap<_, _> = ids.into_iter().zip(0..).collect();
    let data = |id| number.get(&id).map_or_else(Vec::new, |&number: &usize| contents[number].clone());
    filled(writer, &tree, data)
}

fn check_contents(image: &[u8], contents: &[Vec<u8>]) {
    let seen = read_erofs(image);
    for (number, bytes) in contents.iter().enumerate() {
        let found = &seen[format!("f{number}").as_bytes()].data;
        assert!(found == bytes, "f{number} of {} bytes", bytes.len());
    }
}

const USUAL: Tuning = Tuning { threads: 2, pack_below: None };
const NOTHING_PACKED: Tuning = Tuning { threads: 2, pack_below: Some(0) };

/// Sizes around everything that is a boundary to some layout.
fn sizes() -> Vec<usize> {
    let mut sizes = vec![0, 1, 2, 100];
    for boundary in [4096, 8192, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20] {
        sizes.extend([boundary - 1, boundary, boundary + 1]);
    }
    sizes.push((1 << 20) + 70_000);
    sizes
}

#[test]
fn every_size_of_every_texture_survives_compression() {
    for compression in COMPRESSIONS {
        for (texture, bytes) in
            [("text", text as fn(usize, u64) -> Vec<u8>), ("noise", noise), ("zeros", |size, _| vec![0; size])]
        {
            let contents: Vec<_> = (0..).zip(sizes()).map(|(seed, size)| bytes(size, 99 * seed)).collect();
            let image = packed(&contents, compression, USUAL);
            check_contents(&image, &contents);
            let total: usize = sizes().iter().sum();
            match texture {
                "text" => assert!(image.len() < total / 3 * 2, "{compression}: {} of {total}", image.len()),
                "noise" => assert!(image.len() < total + total / 10, "{compression}: {} of {total}", image.len()),
                _ => assert!(image.len() < 200_000, "{compression}: {}", image.len()),
            }
        }
    }
}

#[test]
fn erofs_utils_find_nothing_wrong_with_lz4() {
    // Their 1.5 knows neither packed files nor shared extents, as two that end in the same single byte would be.
    let sizes = sizes().into_iter().filter(|size| size % (128 << 10) != 1 || *size == (128 << 10) + 1);
    let contents: Vec<_> = (0..).zip(sizes).map(|(seed, size)| text(size, seed)).collect();
    let image = packed(&contents, RootCompression::Lz4, NOTHING_PACKED);
    assert_eq!(features(&image), (3, 1));
    check_contents(&image, &contents);
    check_with_tools(&image);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let contents: Vec<_> = (0..60)
        .map(
            |seed| if seed % 7 == 0 { noise(70_000, seed) } else { text(usize::try_from(seed).unwrap() * 3_997, seed) },
        )
        .collect();
    for compression in COMPRESSIONS {
        let one = packed(&contents, compression, Tuning { threads: 1, ..USUAL });
        check_contents(&one, &contents);
        for threads in [2, 3, 16] {
            assert!(packed(&contents, compression, Tuning { threads, ..USUAL }) == one, "{threads} threads");
        }
    }
}

#[test]
fn thousands_of_tiny_files_cost_no_block_each() {
    let contents: Vec<_> = (0..20_000).map(|seed| text(usize::try_from(seed).unwrap() % 500, seed)).collect();
    for compression in COMPRESSIONS {
        let image = packed(&contents, compression, USUAL);
        check_contents(&image, &contents);
        assert!(image.len() < contents.len() * 250, "{compression}: {}", image.len());
    }
}

#[test]
fn what_comes_twice_is_stored_once() {
    let program = text(900_000, 1);
    let blob = noise(900_000, 2);
    for compression in COMPRESSIONS {
        for file in [&program, &blob] {
            let once = packed(std::slice::from_ref(file), compression, USUAL);
            let contents = vec![file.clone(); 3];
            let thrice = packed(&contents, compression, USUAL);
            check_contents(&thrice, &contents);
            assert!(thrice.len() < once.len() + 16_384, "{compression}: {} and {}", once.len(), thrice.len());
            assert_eq!(features(&thrice).0, 0x23);
        }
    }
}

/// `feature_incompat` and `available_compr_algs` of the super block.
fn features(image: &[u8]) -> (u32, u16) {
    let field = |at: usize| u32::from_le_bytes(*image[1024 + at..].first_chunk::<4>().unwrap());
    (field(80), u16::try_from(field(84) & 0xffff).unwrap())
}

#[test]
fn an_image_needs_what_is_said_of_its_compression_and_no_more() {
    let contents = [text(10_000, 1), text(1_000_000, 2)];
    for (compression, bits, needed, first_kernel) in [
        (RootCompression::None, (0, 0), &[][..], (5, 4)),
        (RootCompression::Lz4, (0x23, 1), &[Feature::Lz4, Feature::Fragments], (6, 1)),
        (ZSTD, (0x23, 1 << 3), &[Feature::Fragments, Feature::Zstd], (6, 10)),
    ] {
        assert_eq!(features(&packed(&contents, compression, USUAL)), bits);
        assert_eq!(compression.features(), needed);
        let kernels = needed.iter().map(|feature| feature.first_kernel());
        assert_eq!(kernels.max().unwrap_or((5, 4)), first_kernel);
    }
}

#[test]
fn a_level_of_zstandard_is_a_choice_between_time_and_size() {
    let contents = [text(1_000_000, 1), text(9_000, 2)];
    let size = |compression: &str| {
        let image = packed(&contents, compression.parse().unwrap(), USUAL);
        check_contents(&image, &contents);
        image.len()
    };
    assert!(size("zstd:19") < size("zstd:1"));
    assert_ne!(packed(&contents, "zstd:1".parse().unwrap(), USUAL), packed(&contents, ZSTD, USUAL));
}

fn check_with_tools(image: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    fsck_erofs(file.path());
}

#[test]
fn one_of_each_kind() {
    let mut tree = Tree::new(100);
    let root = InodeId::ROOT;
    let data: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    let device = Device { major: 259, minor: 0x12345 };
    for (name, kind) in [
        (&b"file"[..], file(9_000)),
        (b"empty", file(0)),
        (b"link", Kind::Symlink(b"/usr/bin/x".as_slice().into())),
        (b"long link", Kind::Symlink(vec![b'a'; 4095].into())),
        (b"char", Kind::CharDevice(device)),
        (b"block", Kind::BlockDevice(Device { major: 8, minor: 1 })),
        (b"fifo", Kind::Fifo),
        (b"socket", Kind::Socket),
        // Before `.` and between `.` and `..` in the order of bytes.
        (b"#early", file(1)),
        (b".-between", file(1)),
    ] {
        add(&mut tree, root, name, kind);
    }
    let sub = add(&mut tree, root, b"directory", Kind::empty_directory());
    let twice = add(&mut tree, sub, b"one", file(4096));
    tree.link(root, b"two", twice).unwrap();
    tree.get_mut(twice).meta.mode = 0o4755;
    tree.get_mut(twice).meta.uid = 100_000;
    tree.get_mut(twice).meta.xattrs = Box::new([
        (b"security.capability".as_slice().into(), vec![1; 20].into()),
        (b"system.posix_acl_access".as_slice().into(), vec![2; 28].into()),
        (b"user.empty".as_slice().into(), Box::default()),
    ]);
    let bytes = image(&tree, &data);
    check_with_tools(&bytes);
    let seen = read_erofs(&bytes);
    let at = |path: &[u8]| &seen[path];
    assert_eq!((at(b"file").mode, &at(b"file").data), (0o100_644, &data[..9_000].to_vec()));
    assert_eq!(at(b"empty").data, b"");
    assert_eq!((at(b"link").mode, at(b"link").data.as_slice()), (0o120_644, &b"/usr/bin/x"[..]));
    assert_eq!(at(b"long link").data, vec![b'a'; 4095]);
    assert_eq!((at(b"char").mode, at(b"char").device), (0o020_644, 0x1231_0345));
    assert_eq!((at(b"block").mode, at(b"block").device), (0o060_644, 0x801));
    assert_eq!((at(b"fifo").mode, at(b"socket").mode), (0o010_644, 0o140_644));
    assert_eq!(at(b"two"), at(b"directory/one"));
    let two = at(b"two");
    assert_eq!((two.mode, two.uid, two.links, two.data.len()), (0o104_755, 100_000, 2, 4096));
    assert_eq!(two.xattrs.len(), 3);
    assert_eq!(two.xattrs[1], (b"system.posix_acl_access".to_vec(), vec![2; 28]));
    assert_eq!((at(b"").links, at(b"directory").links, at(b"file").mtime), (3, 2, (1_000, 5)));
}

#[test]
fn directories_of_every_size_around_a_block() {
    for names in [0, 1, 155, 156, 157, 200, 310, 311, 312, 5_000] {
        let mut tree = Tree::new(10_000);
        let directory = add(&mut tree, InodeId::ROOT, b"d", Kind::empty_directory());
        let leaf = add(&mut tree, directory, b"x", Kind::Fifo);
        for number in 0..names {
            tree.link(directory, format!("{number:014}").as_bytes(), leaf).unwrap();
        }
        let bytes = image(&tree, b"");
        check_with_tools(&bytes);
        assert_eq!(read_erofs(&bytes).len(), names + 3, "{names} names");
    }
}

#[test]
fn zeros_become_holes_and_read_as_zeros() {
    use std::os::unix::fs::MetadataExt;
    let mut tree = Tree::new(10);
    let size = 64 << 20;
    let big = add(&mut tree, InodeId::ROOT, b"zeros", file(size));
    let next = add(&mut tree, InodeId::ROOT, b"next", file(3));
    let mut writer = ImageWriter::new(&tree, tempfile::tempfile().unwrap(), RootCompression::None);
    writer.store(big, &mut io::repeat(0)).unwrap();
    writer.store(next, &mut &b"abc"[..]).unwrap();
    let (mut out, _) = writer.finish([0; 16]).unwrap();
    assert!(out.metadata().unwrap().blocks() * 512 < 1 << 20);
    let mut bytes = Vec::new();
    out.seek(SeekFrom::Start(0)).unwrap();
    out.read_to_end(&mut bytes).unwrap();
    let seen = read_erofs(&bytes);
    assert!(seen[&b"zeros"[..]].data == vec![0; size]);
    assert_eq!(seen[&b"next"[..]].data, b"abc");
}

#[test]
fn a_short_content_is_an_error() {
    let mut tree = Tree::new(10);
    let id = add(&mut tree, InodeId::ROOT, b"f", file(10));
    for compression in RootCompression::ALL {
        let mut writer = ImageWriter::new(&tree, tempfile::tempfile().unwrap(), compression);
        assert!(matches!(writer.store(id, &mut &b"123"[..]), Err(StoreError::Short { got: 3, size: 10 })));
    }
    let long = add(&mut tree, InodeId::ROOT, b"long", file(300_000));
    let mut writer = ImageWriter::new(&tree, tempfile::tempfile().unwrap(), RootCompression::Lz4);
    let stored = writer.store(long, &mut io::repeat(1).take(299_999));
    assert!(matches!(stored, Err(StoreError::Short { got: 299_999, size: 300_000 })), "{stored:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes, attributes and times: what goes in comes out.
    #[test]
    fn what_goes_in_comes_out(
        files in prop::collection::vec((0_usize..20_000, 0_u16..0o7777, any::<u32>(), any::<i64>(), prop::collection::vec(0_usize..5_000, 0..3)), 1..40),
        depth in 0_usize..30,
        compression in prop::sample::select(&RootCompression::ALL[..]),
        pack_below in prop::option::of(0_u64..30_000),
    ) {
        let data: Vec<u8> = (0..20_000_u32).map(|number| (number % 251) as u8).collect();
        let mut tree = Tree::new(1_000);
        let mut directory = InodeId::ROOT;
        let mut prefix = Vec::new();
        for _ in 0..depth {
            directory = add(&mut tree, directory, b"d", Kind::empty_directory());
            prefix.extend(b"d/");
        }
        for (index, (size, mode, uid, seconds, xattrs)) in files.iter().enumerate() {
            let id = add(&mut tree, directory, format!("f{index}").as_bytes(), file(*size));
            let xattrs = xattrs.iter().enumerate().map(|(number, &size)| (format!("user.{number}").into_bytes().into(), vec![9; size].into())).collect();
            tree.get_mut(id).meta = Meta { mode: *mode, uid: *uid, gid: 0, mtime: Time { seconds: *seconds, nanoseconds: 1 }, xattrs };
        }
        let tuning = Tuning { threads: 3, pack_below };
        let writer = ImageWriter::tuned(&tree, tempfile::tempfile().unwrap(), compression, tuning);
        let seen = read_erofs(&filled(writer, &tree, |_| data.clone()));
        for (index, (size, mode, uid, seconds, xattrs)) in files.iter().enumerate() {
            let path = [prefix.as_slice(), format!("f{index}").as_bytes()].concat();
            let seen = &seen[&path];
            prop_assert_eq!((seen.mode, seen.uid, seen.mtime), (0o100_000 | mode, *uid, (*seconds, 1)));
            prop_assert!(seen.data == data[..*size]);
            prop_assert_eq!(seen.xattrs.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), xattrs.clone());
        }
    }
}
