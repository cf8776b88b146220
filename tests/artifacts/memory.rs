//! Images that are made to take memory: refused in time, or packed, in 150 MiB.

use super::{Place, failed, succeeded};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

const MOST_KIB: u64 = 150 << 10;

/// What is written is hashed.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

enum Encoder {
    Gzip(GzEncoder<Hashed<File>>),
    Zstd(zstd::Encoder<'static, Hashed<File>>),
}

impl Encoder {
    fn gzip(file: Hashed<File>) -> Self {
        Self::Gzip(GzEncoder::new(file, Compression::fast()))
    }

    /// The layer's decoder will keep as much as it may.
    fn zstd(file: Hashed<File>) -> Self {
        let mut encoder = zstd::Encoder::new(file, 1).unwrap();
        encoder.window_log(25).unwrap();
        Self::Zstd(encoder)
    }

    fn finish(self) -> Hashed<File> {
        match self {
            Self::Gzip(encoder) => encoder.finish().unwrap(),
            Self::Zstd(encoder) => encoder.finish().unwrap(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

type Layer = BufWriter<Hashed<Encoder>>;

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layout of one layer, whose entries `write` writes one by one: the test takes no memory of its own.
fn layout(directory: &Path, encoder: fn(Hashed<File>) -> Encoder, write: impl Fn(&mut Layer)) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let file = Hashed { inner: File::create(blobs.join("layer")).unwrap(), hash: Sha256::new() };
    let mut layer = BufWriter::new(Hashed { inner: encoder(file), hash: Sha256::new() });
    write(&mut layer);
    layer.write_all(&[0; 1024]).unwrap();
    let Hashed { inner, hash } = layer.into_inner().map_err(io::IntoInnerError::into_error).unwrap();
    let (diff_id, digest) = (hex(hash), hex(inner.finish().hash));
    fs::rename(blobs.join("layer"), blobs.join(&digest)).unwrap();
    let document = |text: String| {
        let digest = hex(Sha256::new_with_prefix(&text));
        fs::write(blobs.join(&digest), &text).unwrap();
        format!(r#"{{"digest":"sha256:{digest}","size":{}}}"#, text.len())
    };
    let config = document(format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#
    ));
    let manifest = document(format!(r#"{{"config":{config},"layers":[{{"digest":"sha256:{digest}","size":1}}]}}"#));
    fs::write(directory.join("index.json"), format!(r#"{{"manifests":[{manifest}]}}"#)).unwrap();
    fs::write(directory.join("oci-layout"), "{}").unwrap();
}

fn entry(out: &mut Layer, kind: u8, name: &str, data: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes()).unwrap();
    out.write_all(data).unwrap();
    out.write_all(&[0; 512][..data.len().next_multiple_of(512) - data.len()]).unwrap();
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let body = format!("{key}={value}\n");
    let length = (body.len()..).find(|length| format!("{length} {body}").len() == *length).unwrap();
    format!("{length} {body}").into_bytes()
}

/// Runs it, and sees that it takes little memory. The kernel's account of a child (getrusage) would have what this process held when the
/// child began, and what others' children took; so it is watched, and only what it takes in its last millisecond goes unseen.
#[track_caller]
fn modest(place: &Place, arguments: &[&str]) -> Output {
    let mut child = place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(high_water_kib(&fs::read_to_string(&status).unwrap_or_default()));
        thread::sleep(Duration::from_millis(1));
    }
    assert!((1..=MOST_KIB).contains(&most), "{most} KiB");
    child.wait_with_output().unwrap()
}

fn high_water_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn refused(write: impl Fn(&mut Layer), parts: &[&str]) {
    refused_from(Encoder::gzip, write, parts);
}

fn refused_from(encoder: fn(Hashed<File>) -> Encoder, write: impl Fn(&mut Layer), parts: &[&str]) {
    let place = Place::new();
    layout(&place.path("layout"), encoder, write);
    failed(&modest(&place, &["pack", "layout", "-o", "a.bottle"]), parts);
    assert_eq!(place.names(), ["layout", "root"]);
}

const REFUSED: &[&str] = &["layer 1 of the image", "memory", "hint: "];

#[test]
fn more_entries_than_there_is_room_for() {
    refused(|layer| (0..600_000).for_each(|number| entry(layer, b'0', &format!("d/{number}"), b"")), REFUSED);
}

#[test]
fn more_entries_than_there_is_room_for_beside_a_decoder_s_window() {
    let write = |layer: &mut Layer| (0..450_000).for_each(|number| entry(layer, b'0', &format!("d/{number}"), b""));
    refused_from(Encoder::zstd, write, REFUSED);
}

#[test]
fn directories_with_one_file_each() {
    let write = |layer: &mut Layer| {
        for number in 0..300_000 {
            entry(layer, b'5', &format!("{number}/"), b"");
            entry(layer, b'0', &format!("{number}/x"), b"");
        }
    };
    refused(write, REFUSED);
}

#[test]
fn links_and_attributes_that_are_as_long_as_they_may_be() {
    let target = "t".repeat(4095);
    let links = |layer: &mut Layer| {
        for number in 0..60_000 {
            entry(layer, b'K', "link", target.as_bytes());
            entry(layer, b'2', &number.to_string(), b"");
        }
    };
    refused(links, REFUSED);
    let value = "v".repeat(60_000);
    let attributes = |layer: &mut Layer| {
        for number in 0..4_000 {
            entry(layer, b'x', "pax", &record("SCHILY.xattr.user.a", &value));
            entry(layer, b'0', &number.to_string(), b"");
        }
    };
    refused(attributes, REFUSED);
}

#[test]
fn headers_for_all_entries_that_grow_and_grow() {
    let value = "v".repeat(500_000);
    let write = |layer: &mut Layer| {
        for number in 0..500 {
            entry(layer, b'g', "pax", &record(&format!("SCHILY.xattr.user.{number}"), &value));
        }
    };
    refused(write, &["layer 1 of the image", "extended headers that take"]);
}

#[test]
fn an_image_of_very_many_files_is_packed() {
    let place = Place::new();
    layout(&place.path("layout"), Encoder::gzip, |layer| {
        for number in 0..200_000 {
            entry(layer, b'0', &format!("usr/lib/node_modules/{}/lib/{number}.js", number / 20), b"");
        }
    });
    succeeded(&modest(&place, &["pack", "layout", "-o", "a.bottle"]));
}

#[test]
fn a_directory_of_more_files_than_there_is_room_for() {
    let place = Place::new();
    let directory = place.path("root/many");
    fs::create_dir(&directory).unwrap();
    File::create(place.path("root/one")).unwrap();
    for number in 0..600_000 {
        // Names of one file: it is names that take room.
        if fs::hard_link(place.path("root/one"), directory.join(number.to_string())).is_err() {
            File::create(place.path("root/one.new")).unwrap();
            fs::rename(place.path("root/one.new"), place.path("root/one")).unwrap();
        }
    }
    failed(&modest(&place, &["pack", "root", "-o", "a.bottle"]), &["cannot be part of an image", "too many entries"]);
}
