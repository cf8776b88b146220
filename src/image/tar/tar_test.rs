use std::io::{self, Read};
use std::process::Command;

use proptest::prelude::*;

use super::{Archive, Entry, EntryKind, MAX_EXTENSION, TarError};
use crate::image::stream::ReadToSkip;
use crate::image::testing::{Tar, header, seal};
use crate::image::tree::Time;

fn archive(bytes: &[u8]) -> Archive<ReadToSkip<&[u8]>> {
    Archive::new(ReadToSkip(bytes))
}

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut archive = archive(bytes);
    let mut found = Vec::new();
    while let Some(entry) = archive.next()? {
        let mut data = Vec::new();
        archive.content().read_to_end(&mut data).unwrap();
        found.push((entry, data));
    }
    Ok(found)
}

fn only(bytes: &[u8]) -> (Entry, Vec<u8>) {
    let mut all = read_all(bytes).unwrap();
    assert_eq!(all.len(), 1);
    all.pop().unwrap()
}

#[test]
fn names_of_every_length_by_every_means() {
    for length in [1, 99, 100, 101, 255, 4_000] {
        let name = "n".repeat(length);
        let gnu = only(&Tar::default().symlink(&name, &name).finish()).0;
        assert_eq!((gnu.path.len(), gnu.kind), (length, EntryKind::Symlink(name.clone().into_bytes())));
        let pax =
            Tar::default().pax("path", name.as_bytes()).pax("linkpath", name.as_bytes()).symlink("short", "short");
        let pax = only(&pax.finish()).0;
        assert_eq!((pax.path.len(), pax.kind), (length, EntryKind::Symlink(name.into_bytes())));
    }
    let mut prefixed = header(b'0', b"name", b"", 0o644, 0);
    prefixed[345..351].copy_from_slice(b"prefix");
    assert_eq!(only(&Tar::default().raw(seal(prefixed), b"").finish()).0.path, b"prefix/name");
}

#[test]
fn pax_has_the_last_word_on_numbers_and_global_headers_the_first() {
    let tar = Tar::default()
        .pax("uid", b"3000000000")
        .pax("gid", b"7")
        .pax("mtime", b"-1.5")
        .pax("SCHILY.xattr.user.k", b"v\n=");
    let entry = only(&tar.file("x", b"data").finish()).0;
    assert_eq!((entry.meta.uid, entry.meta.gid), (3_000_000_000, 7));
    assert_eq!(entry.meta.mtime, Time { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(entry.meta.xattrs, vec![(b"user.k".as_slice().into(), b"v\n=".as_slice().into())].into());
    let global = b"9 uid=99\n9 gid=98\n";
    let tar = Tar::default().raw(header(b'g', b"g", b"", 0, 18), global).pax("gid", b"5").file("a", b"").file("b", b"");
    let both = read_all(&tar.finish()).unwrap();
    assert_eq!(both.iter().map(|(entry, _)| (entry.meta.uid, entry.meta.gid)).collect::<Vec<_>>(), [(99, 5), (99, 98)]);
}

#[test]
fn data_may_be_read_in_part_or_not_at_all() {
    let bytes = Tar::default().file("a", &[1; 1000]).file("b", &[2; 513]).file("c", b"c").finish();
    let mut archive = archive(&bytes);
    archive.next().unwrap();
    archive.content().read_exact(&mut [0; 700]).unwrap();
    assert_eq!(archive.next().unwrap().unwrap().path, b"b");
    assert_eq!(archive.next().unwrap().unwrap().path, b"c");
    let mut data = String::new();
    archive.content().read_to_string(&mut data).unwrap();
    assert_eq!(data, "c");
    assert!(archive.next().unwrap().is_none());
}

#[test]
fn only_files_have_data_whatever_their_size_says() {
    let tar = Tar::default().raw(header(b'1', b"link", b"t", 0, 1 << 30), b"").file("next", b"x");
    let both = read_all(&tar.finish()).unwrap();
    assert_eq!(both[0].0.kind, EntryKind::HardLink(b"t".to_vec()));
    assert_eq!(both[1].1, b"x");
}

#[test]
fn claims_are_bounded_before_they_are_believed() {
    let huge = Tar::default().raw(header(b'x', b"pax", b"", 0, MAX_EXTENSION + 1), b"").finish();
    assert!(matches!(read_all(&huge), Err(TarError::ExtensionTooLong { .. })));
    let long = Tar::default().raw(header(b'L', b"name", b"", 0, 0o77777777777), b"").finish();
    assert!(matches!(read_all(&long), Err(TarError::ExtensionTooLong { .. })));
    let mut endless = header(b'0', b"x", b"", 0, 0);
    endless[124..136].copy_from_slice(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(
        read_all(&Tar::default().raw(seal(endless), b"").finish()),
        Err(TarError::Field { field: "size", .. })
    ));
    let size = Tar::default().pax("size", u64::MAX.to_string().as_bytes()).file("x", b"").finish();
    assert!(read_all(&size).is_err());
    assert!(matches!(
        read_all(&Tar::default().entry(b'?', "x", "", 0, b"").finish()),
        Err(TarError::UnknownType { flag: b'?', .. })
    ));
    assert!(matches!(read_all(&[1; 512]), Err(TarError::NotAHeader { offset: 0 })));
}

/// Of data 10 bytes at 0, 5 at 1000, and a size of 2000.
fn sparse_expected() -> Vec<u8> {
    let mut expected = vec![0; 2000];
    expected[..10].fill(b'a');
    expected[1000..1005].fill(b'b');
    expected
}

#[test]
fn sparse_files_of_all_four_formats() {
    let data = b"aaaaaaaaaabbbbb";
    let mut old = header(b'S', b"old", b"", 0o644, 15);
    old[257..265].copy_from_slice(b"ustar  \0");
    for (at, number) in [(386, 0), (398, 10), (410, 1000), (422, 5), (434, 2000), (446, 0), (483, 2000)] {
        old[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    let v00 = ["0", "10", "1000", "5"].iter().enumerate().fold(
        Tar::default().pax("GNU.sparse.size", b"2000"),
        |tar, (at, number)| {
            tar.pax(if at % 2 == 0 { "GNU.sparse.offset" } else { "GNU.sparse.numbytes" }, number.as_bytes())
        },
    );
    let v01 = Tar::default()
        .pax("GNU.sparse.size", b"2000")
        .pax("GNU.sparse.name", b"v01")
        .pax("GNU.sparse.map", b"0,10,1000,5");
    let v10 = Tar::default()
        .pax("GNU.sparse.major", b"1")
        .pax("GNU.sparse.minor", b"0")
        .pax("GNU.sparse.name", b"v10")
        .pax("GNU.sparse.realsize", b"2000");
    let mut with_map = b"2\n0\n10\n1000\n5\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend(data);
    for (name, tar) in [
        ("old", Tar::default().raw(seal(old), data)),
        ("v00", v00.file("v00", data)),
        ("v01", v01.file("GNUSparseFile/v01", data)),
        ("v10", v10.file("GNUSparseFile/v10", &with_map)),
    ] {
        let all = read_all(&tar.file("next", b"n").finish()).unwrap();
        assert_eq!((all[0].0.path.as_slice(), &all[0].0.kind), (name.as_bytes(), &EntryKind::File { size: 2000 }));
        assert!(all[0].1 == sparse_expected(), "{name}");
        assert_eq!(all[1].1, b"n");
    }
    for map in ["0,10,1000", "0,10,5,5", "0,16", "0,10,1999,5", "x", "0,10,1000,5,18446744073709551615,1"] {
        let tar = Tar::default().pax("GNU.sparse.size", b"2000").pax("GNU.sparse.map", map.as_bytes()).file("x", data);
        assert!(matches!(read_all(&tar.finish()), Err(TarError::Sparse { .. } | TarError::Pax { .. })), "{map}");
    }
}

#[test]
fn what_gnu_tar_writes() {
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("sparse")).unwrap();
    for number in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", number << 20).unwrap();
    }
    file.set_len(50 << 20).unwrap();
    let expected = std::fs::read(directory.path().join("sparse")).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix"],
    ] {
        let Ok(run) =
            Command::new("tar").arg("-cSf-").args(format).arg("-C").arg(directory.path()).arg("sparse").output()
        else {
            eprintln!("SKIPPED: no tar");
            return;
        };
        let (entry, data) = only(&run.stdout);
        assert_eq!(entry.path, b"sparse");
        assert!(run.stdout.len() < 10 << 20 && data == expected, "{format:?}");
    }
}

#[test]
fn cut_anywhere_it_ends_or_says_so() {
    let bytes = Tar::default()
        .pax("SCHILY.xattr.user.a", b"b")
        .file("a", &[1; 700])
        .symlink(&"l".repeat(200), "t")
        .directory("d", 0o755)
        .finish();
    let whole = read_all(&bytes).unwrap().len();
    for cut in 0..bytes.len() - 1024 {
        // On the boundary of two entries an archive without an end mark is as good as a whole one.
        match read_all(&bytes[..cut]) {
            Ok(entries) => assert!(cut % 512 == 0 && entries.len() < whole, "cut at {cut}"),
            Err(error) => assert!(matches!(error, TarError::Truncated { .. }), "cut at {cut}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is in a header, reading it ends, in an entry or an error.
    #[test]
    fn headers_of_anything(flips in prop::collection::vec((0_usize..3072, any::<u8>()), 1..12), sealed in any::<bool>()) {
        let mut bytes = Tar::default().pax("path", b"long name").pax("mtime", b"1.5").file("a", &[1; 600]).finish();
        for (at, byte) in flips {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        if sealed {
            for at in [0, 1024] {
                let block: [u8; 512] = bytes[at..at + 512].try_into().unwrap();
                bytes[at..at + 512].copy_from_slice(&seal(block));
            }
        }
        let mut archive = archive(&bytes);
        for _ in 0..20 {
            match archive.next() {
                Ok(Some(_)) => drop(io::copy(&mut archive.content().take(1 << 20), &mut io::sink())),
                _ => break,
            }
        }
    }

    #[test]
    fn what_the_tar_crate_writes(names in prop::collection::vec("[a-z/]{1,300}", 1..6), size in 0_usize..3000) {
        let mut builder = tar::Builder::new(Vec::new());
        for name in &names {
            let mut header = tar::Header::new_gnu();
            header.set_size(size as u64);
            header.set_mode(0o640);
            // Names that it does not like are not our matter.
            let _refused = builder.append_data(&mut header, name.trim_matches('/'), vec![7; size].as_slice());
        }
        let bytes = builder.into_inner().unwrap();
        let ours: Vec<_> = read_all(&bytes).unwrap().into_iter().map(|(entry, data)| (entry.path, data.len() as u64)).collect();
        let mut theirs = tar::Archive::new(bytes.as_slice());
        let theirs: Vec<_> = theirs.entries().unwrap().map(|entry| { let entry = entry.unwrap(); (entry.path_bytes().into_owned(), entry.size()) }).collect();
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn a_long_name_that_is_cut_behind_a_slash_is_still_a_files() {
    let long = format!("{}/file", "d".repeat(99));
    let gnu = Tar::default().entry(b'L', "././@LongLink", "", 0o644, format!("{long}\0").as_bytes());
    let pax = Tar::default().pax("path", long.as_bytes());
    for archive in [gnu, pax] {
        let (entry, data) = only(&archive.entry(b'0', &long[..100], "", 0o644, b"data").finish());
        assert_eq!((entry.path, entry.kind), (long.clone().into_bytes(), EntryKind::File { size: 4 }));
        assert_eq!(data, b"data");
    }
    let (old, _) = only(&Tar::default().entry(b'0', "before/posix/", "", 0o755, b"").finish());
    assert_eq!(old.kind, EntryKind::Directory);
}

#[test]
fn a_directory_has_no_data_whatever_its_size_but_for_gnu_s_dumps() {
    let size = |flag, size| header(flag, b"d", b"", 0o755, size);
    for tar in [
        Tar::default().raw(size(b'5', 1 << 30), b""),
        Tar::default().raw(size(b'5', 700), b""),
        Tar::default().raw(size(b'D', 700), &[b'Y'; 700]),
        Tar::default().pax("size", b"700").entry(b'5', "d", "", 0o755, b""),
    ] {
        let both = read_all(&tar.file("next", b"x").finish()).unwrap();
        assert_eq!((&both[0].0.kind, both[1].1.as_slice()), (&EntryKind::Directory, &b"x"[..]));
    }
}

#[test]
fn headers_do_not_pile_up_before_an_entry_or_for_all_entries() {
    let record = |number: usize, size: usize| {
        let body = format!("SCHILY.xattr.user.{number:06}={}\n", "v".repeat(size));
        let length = (body.len()..).find(|length| format!("{length} {body}").len() == *length).unwrap();
        format!("{length} {body}").into_bytes()
    };
    // Large values, and many small ones; some kilobytes and a hundred headers are nothing.
    for (flag, count, size, refused) in [
        (b'x', 12, 100_000, true),
        (b'x', 9000, 0, true),
        (b'g', 2, 40_000, true),
        (b'g', 600, 0, true),
        (b'x', 100, 600, false),
    ] {
        let records = (0..count).map(|number| record(number, size));
        let tar = records
            .fold(Tar::default(), |tar, record| tar.raw(header(flag, b"h", b"", 0, record.len() as u64), &record));
        let read = read_all(&tar.file("x", b"").finish());
        match read {
            Err(TarError::Extensions { size, limit, .. }) => {
                assert!(refused && size > limit && size < limit + (1 << 17));
            }
            other => assert!(!refused && other.is_ok(), "{count} of {size}: {other:?}"),
        }
    }
    // The same again takes no more room.
    let one = record(1, 30_000);
    let tar = (0..100).fold(Tar::default(), |tar, _| tar.raw(header(b'g', b"h", b"", 0, one.len() as u64), &one));
    assert_eq!(read_all(&tar.file("x", b"").finish()).unwrap().len(), 1);
}

#[test]
fn holes_are_told() {
    let tar = Tar::default().pax("GNU.sparse.size", b"1000000000000").pax("GNU.sparse.map", b"0,10,999999999990,5");
    let bytes = tar.file("x", b"aaaaaaaaaabbbbb").file("plain", b"x").finish();
    let mut archive = archive(&bytes);
    archive.next().unwrap();
    assert_eq!(archive.hole_bytes(), 999_999_999_985);
    archive.next().unwrap();
    assert_eq!(archive.hole_bytes(), 0);
}

#[test]
fn an_archive_ends_with_two_blocks_of_zeros_or_where_the_bytes_do() {
    let file = |name: &str| {
        let mut bytes = Tar::default().file(name, b"x").finish();
        bytes.truncate(1024);
        bytes
    };
    let with = |zeros: usize, rest: &[u8]| [file("a"), vec![0; zeros * 512], rest.to_vec()].concat();
    for ends in [with(0, b""), with(1, b""), with(2, b""), with(2, &file("b")), with(2, b"anything")] {
        assert_eq!(only(&ends).0.path, b"a");
    }
    assert!(matches!(read_all(&with(1, &file("b"))), Err(TarError::LoneZeroBlock { offset: 1024 })));
    assert!(matches!(read_all(&with(1, b"cut")), Err(TarError::Truncated { .. })));
}
