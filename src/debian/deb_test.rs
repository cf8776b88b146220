use super::*;
use proptest::prelude::*;
use std::io::Write;

fn member(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, data.len()).unwrap();
    out.extend_from_slice(data);
    if data.len() % 2 == 1 {
        out.push(b'\n');
    }
}

/// A package whose data member is `data`, with a control member of odd length before it.
fn package(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = AR_MAGIC.to_vec();
    member(&mut out, "debian-binary", b"2.0\n");
    member(&mut out, "control.tar.xz", b"odd");
    member(&mut out, name, data);
    out
}

fn tar_of(entries: &[(&str, tar::EntryType, &[u8], &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, data, link) in entries {
        let mut header = tar::Header::new_gnu();
        // Written by hand: the builder itself refuses `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let deb = dir.path().join("p.deb");
    fs::write(&deb, bytes).unwrap();
    (dir, deb)
}

fn all(deb: &Path) -> Result<Vec<(String, Vec<u8>)>, DebError> {
    let mut seen = Vec::new();
    for_each_entry(deb, |path, entry| {
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(|source| DebError::Damaged { deb: deb.to_owned(), source })?;
        seen.push((path.display().to_string(), data));
        Ok::<_, DebError>(ControlFlow::Continue(()))
    })?;
    Ok(seen)
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn every_compression_of_dpkg_is_read() {
    let tar = tar_of(&[("./boot/vmlinuz", FILE, b"kernel", "")]);
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(&tar[..], 1).read_to_end(&mut xz).unwrap();
    let zst = zstd::encode_all(&tar[..], 1).unwrap();
    for (name, data) in [("data.tar", &tar), ("data.tar.gz", &gz), ("data.tar.xz/", &xz), ("data.tar.zst", &zst)] {
        let (_dir, deb) = written(&package(name, data));
        assert_eq!(all(&deb).unwrap(), [("boot/vmlinuz".to_owned(), b"kernel".to_vec())], "{name}");
    }
}

#[test]
fn what_is_not_a_package_is_named_so() {
    for bytes in [&b""[..], b"!<arch", b"PK\x03\x04 a zip file, say", &[0; 4096]] {
        let (_dir, deb) = written(bytes);
        assert!(matches!(all(&deb), Err(DebError::NotDeb { .. })), "{bytes:?}");
    }
    assert!(matches!(all(Path::new("/proc/self")), Err(DebError::NotDeb { .. })));
    assert!(matches!(all(Path::new("/nowhere.deb")), Err(DebError::Open { .. })));
}

#[test]
fn cut_short_at_any_place_is_an_error_and_not_less_content() {
    let bytes = package("data.tar.gz", &{
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar_of(&[("a", FILE, &[7; 3000], "")])).unwrap();
        encoder.finish().unwrap()
    });
    // The last bytes are gzip's trailer, which nothing reads once the tar archive has ended.
    for end in (0..bytes.len() - 60).step_by(7) {
        let (_dir, deb) = written(&bytes[..end]);
        assert!(all(&deb).is_err(), "cut at {end} of {}", bytes.len());
    }
}

#[test]
fn unknown_compression_and_impossible_sizes_are_errors() {
    let (_dir, deb) = written(&package("data.tar.br", b"x"));
    assert!(matches!(all(&deb), Err(DebError::Compression { .. })));
    let mut huge = AR_MAGIC.to_vec();
    writeln!(huge, "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", "debian-binary", 0, 0, 0, 0, "9999999999").unwrap();
    let (_dir, deb) = written(&huge);
    assert!(matches!(all(&deb), Err(DebError::Damaged { .. })));
}

#[test]
fn nothing_is_written_outside_the_destination() {
    let link = tar::EntryType::Symlink;
    for (what, entries) in [
        ("climbs", &[("../evil", FILE, &b"x"[..], "")][..]),
        ("climbs from inside", &[("a/../../evil", FILE, b"x", "")]),
        ("absolute", &[("/evil", FILE, b"x", "")]),
        ("through a link", &[("out", link, b"", ".."), ("out/evil", FILE, b"x", "")]),
        ("hard link out", &[("evil2", tar::EntryType::Link, b"", "../../etc/hostname")]),
    ] {
        let (dir, deb) = written(&package("data.tar", &tar_of(entries)));
        let dest = dir.path().join("dest");
        fs::create_dir(&dest).unwrap();
        assert!(unpack(&deb, &dest, |_| true).is_err(), "{what}");
        assert!(!dir.path().join("evil").exists(), "{what}");
        assert!(!dest.join("evil2").exists(), "{what}");
    }
}

#[test]
fn unpack_takes_what_is_wanted_and_read_file_stops_at_its_limit() {
    let entries =
        [("./", tar::EntryType::Directory, &b""[..], ""), ("./a/b", FILE, b"12", ""), ("./c", FILE, b"345", "")];
    let (dir, deb) = written(&package("data.tar", &tar_of(&entries)));
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    unpack(&deb, &dest, |path| path.starts_with("a")).unwrap();
    assert_eq!(fs::read(dest.join("a/b")).unwrap(), b"12");
    assert!(!dest.join("c").exists());
    assert_eq!(read_file(&deb, |path| path == Path::new("c"), 3).unwrap().as_deref(), Some(&b"345"[..]));
    assert!(matches!(read_file(&deb, |path| path == Path::new("c"), 2), Err(DebError::Entry { .. })));
    assert_eq!(read_file(&deb, |path| path == Path::new("d"), 3).unwrap(), None);
}

proptest! {
    #[test]
    fn damaged_packages_never_panic(at in 0usize..2000, byte: u8) {
        let mut bytes = package("data.tar", &tar_of(&[("a", FILE, b"12", ""), ("b", FILE, b"3", "")]));
        let at = at % bytes.len();
        bytes[at] = byte;
        let (_dir, deb) = written(&bytes);
        let _ = all(&deb);
    }
}
