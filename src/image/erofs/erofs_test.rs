use std::io::{self, Read, Seek, SeekFrom};

use proptest::prelude::*;

use super::{ImageWriter, RootCompression, StoreError};
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
    let mut writer = ImageWriter::new(tree, tempfile::tempfile().unwrap(), RootCompression::None);
    for (id, _) in tree.breadth_first() {
        writer.store(id, &mut &*data).unwrap();
    }
    let (mut out, bytes) = writer.finish([7; 16]).unwrap();
    let mut image = Vec::new();
    out.seek(SeekFrom::Start(0)).unwrap();
    out.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, bytes);
    image
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
    let mut writer = ImageWriter::new(&tree, tempfile::tempfile().unwrap(), RootCompression::None);
    assert!(matches!(writer.store(id, &mut &b"123"[..]), Err(StoreError::Short { got: 3, size: 10 })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes, attributes and times: what goes in comes out.
    #[test]
    fn what_goes_in_comes_out(
        files in prop::collection::vec((0_usize..20_000, 0_u16..0o7777, any::<u32>(), any::<i64>(), prop::collection::vec(0_usize..5_000, 0..3)), 1..40),
        depth in 0_usize..30,
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
        let seen = read_erofs(&image(&tree, &data));
        for (index, (size, mode, uid, seconds, xattrs)) in files.iter().enumerate() {
            let path = [prefix.as_slice(), format!("f{index}").as_bytes()].concat();
            let seen = &seen[&path];
            prop_assert_eq!((seen.mode, seen.uid, seen.mtime), (0o100_000 | mode, *uid, (*seconds, 1)));
            prop_assert!(seen.data == data[..*size]);
            prop_assert_eq!(seen.xattrs.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), xattrs.clone());
        }
    }
}
