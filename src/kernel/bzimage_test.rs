use super::super::testing;
use super::*;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
}

fn with_length(mut compressed: Vec<u8>, length: usize) -> Vec<u8> {
    compressed.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    compressed
}

fn lz4_legacy_of(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x02, 0x21, 0x4c, 0x18];
    for block in bytes.chunks(8 << 20) {
        let packed = lz4_flex::block::compress(block);
        out.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

fn compressed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut xz).unwrap();
    let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    let mut lzma = Vec::new();
    let encoder = Stream::new_lzma_encoder(&options).unwrap();
    liblzma::read::XzEncoder::new_stream(bytes, encoder).read_to_end(&mut lzma).unwrap();
    let len = bytes.len();
    vec![
        ("gzip", gzip.finish().unwrap()),
        ("xz", with_length(xz, len)),
        ("lzma", with_length(lzma, len)),
        ("zstd", with_length(testing::zstd(bytes), len)),
        ("lz4", with_length(lz4_legacy_of(bytes), len)),
    ]
}

fn unpacked(payload: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut out = Vec::new();
    unpack(payload, &mut out).map(|()| out)
}

#[test]
fn every_compression_is_undone() {
    let bytes = sample();
    for (name, payload) in compressed(&bytes) {
        assert_eq!(unpacked(&payload).unwrap(), bytes, "{name}");
    }
}

#[test]
fn lz4_of_several_blocks() {
    let bytes = vec![7; (8 << 20) + 5];
    assert_eq!(unpacked(&with_length(lz4_legacy_of(&bytes), bytes.len())).unwrap(), bytes);
}

#[test]
fn a_payload_cut_anywhere_is_an_error() {
    for (name, payload) in compressed(&sample()) {
        for part in 1..20 {
            let end = payload.len() * part / 20;
            assert!(unpacked(&payload[..end]).is_err(), "{name} cut at {end}");
        }
        assert!(unpacked(&payload[..payload.len() - 1]).is_err(), "{name} without its last byte");
    }
}

#[test]
fn another_length_than_announced_is_an_error() {
    let bytes = sample();
    for (name, mut payload) in compressed(&bytes) {
        let last = payload.len() - 4;
        payload[last] ^= 1;
        assert!(unpacked(&payload).is_err(), "{name}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = io::repeat(0).take(MAX_VMLINUX + 1);
    let bomb = zstd::encode_all(zeros, 1).unwrap();
    assert!(bomb.len() < 1 << 20);
    let error = unpack(&with_length(bomb, 1), io::sink()).unwrap_err();
    assert!(error.to_string().contains("unpacks to over"), "{error}");
}

#[test]
fn unsupported_and_unknown_are_different() {
    assert!(matches!(unpacked(b"BZh91AY&SY..."), Err(UnpackError::Unsupported("bzip2"))));
    assert!(matches!(unpacked(b"\x89LZO\0\r\n\x1a\n..."), Err(UnpackError::Unsupported("LZO"))));
    assert!(matches!(unpacked(b"hello world"), Err(UnpackError::Io(_))));
    assert!(matches!(unpacked(b""), Err(UnpackError::Io(_))));
}

#[test]
fn header_fields() {
    let image = testing::bzimage(0x20f, b"abcd", 9);
    assert_eq!(header(&image), Some(Header::Payload(Payload { offset: 1024 + 64, length: 8 })));
    let mut four_sectors = image.clone();
    four_sectors[0x1f1] = 0;
    assert_eq!(header(&four_sectors), Some(Header::Payload(Payload { offset: 5 * 512 + 64, length: 8 })));
    assert_eq!(header(&testing::bzimage(0x207, b"abcd", 9)), Some(Header::OldProtocol(0x207)));
    let mut no_magic = image.clone();
    no_magic[0x202] = b'x';
    assert_eq!(header(&no_magic), None);
    assert_eq!(header(&image[..0x24f]), None);
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(at in 0usize..64, byte: u8, tail in prop::collection::vec(any::<u8>(), 0..64)) {
        for (_, payload) in compressed(b"a short kernel, twice: a short kernel") {
            let mut payload = payload;
            let at = at % payload.len();
            payload[at] = byte;
            let _ = unpacked(&payload);
            payload.truncate(at);
            payload.extend_from_slice(&tail);
            let _ = unpacked(&payload);
        }
    }
}
