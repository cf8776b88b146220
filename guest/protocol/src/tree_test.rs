use super::*;
use proptest::prelude::*;

fn entry(kind: EntryKind, path: &str, size: u64) -> Entry {
    Entry { kind, mode: 0o644, path: path.as_bytes().to_vec(), size }
}

/// Everything that comes out when `bytes` arrive in pieces; contents of one entry joined.
fn decoded(bytes: &[u8], piece: usize) -> Result<Vec<(Entry, Vec<u8>)>, ProtocolError> {
    let (mut decoder, mut entries) = (TreeDecoder::default(), Vec::<(Entry, Vec<u8>)>::new());
    for mut input in bytes.chunks(piece) {
        while let Some(piece) = decoder.next(&mut input)? {
            match piece {
                Piece::Entry(entry) => entries.push((entry, vec![])),
                Piece::Contents(contents) => entries.last_mut().unwrap().1.extend_from_slice(contents),
            }
        }
    }
    decoder.finish().map(|()| entries)
}

#[test]
fn golden() {
    let mut bytes = vec![];
    entry(EntryKind::Directory, "/a", 0).encode(&mut bytes).unwrap();
    entry(EntryKind::File, "/a/b", 2).encode(&mut bytes).unwrap();
    bytes.extend_from_slice(b"hi");
    assert_eq!(bytes, b"\x01\xa4\x01\x02\0\0\0\0\0\0\0\0\0/a\x02\xa4\x01\x04\0\x02\0\0\0\0\0\0\0/a/bhi");
}

#[test]
fn hostile_entries_are_refused() {
    for path in ["", "a", "/", "//a", "/a/", "/a//b", "/./a", "/../a", "/a/..", "/a\0"] {
        let mut bytes = vec![];
        assert_eq!(entry(EntryKind::File, path, 0).encode(&mut bytes), Err(ProtocolError::Path), "{path:?}");
        let length = u16::try_from(path.len()).unwrap().to_le_bytes();
        let bytes = [&[2, 0, 0][..], &length, &[0; 8], path.as_bytes()].concat();
        assert_eq!(decoded(&bytes, 99), Err(ProtocolError::Path), "{path:?}");
    }
    let with = |kind: u8, mode: [u8; 2], size: u8| {
        decoded(&[&[kind], &mode[..], &[2, 0, size, 0, 0, 0, 0, 0, 0, 0], b"/a"].concat(), 99).unwrap_err()
    };
    assert_eq!(with(5, [0, 0], 0), ProtocolError::UnknownValue { field: "kind of entry", value: 5 });
    assert_eq!(with(2, [0, 2], 0), ProtocolError::UnknownValue { field: "mode", value: 0o1000 });
    assert_eq!(with(1, [0, 0], 1), ProtocolError::UnknownValue { field: "size", value: 1 });
    assert_eq!(with(2, [0, 0], 1), ProtocolError::Truncated { field: "tree" });
    // A length that no path has: nothing is collected for it.
    assert_eq!(decoded(&[2, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0], 99), Err(ProtocolError::Path));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_in_pieces_of_any_size(
        files in prop::collection::vec(("/[a-z]{1,9}(/[a-z]{1,9}){0,3}", prop::collection::vec(any::<u8>(), 0..40)), 0..6),
        piece in 1usize..50,
    ) {
        let mut bytes = vec![];
        let mut expected = vec![];
        for (path, contents) in files {
            let entry = entry(EntryKind::File, &path, contents.len() as u64);
            entry.encode(&mut bytes).unwrap();
            bytes.extend_from_slice(&contents);
            expected.push((entry, contents));
        }
        prop_assert_eq!(decoded(&bytes, piece).unwrap(), expected);
    }

    #[test]
    fn nonsense_is_an_error_or_a_tree_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
        let _ = decoded(&bytes, piece);
    }
}
