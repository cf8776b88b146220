//! Random stacks of layers, as OCI layouts: few names, so that layers meet each other's files all the time.

use crate::setup::fnv1a;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// Changes with what is generated.
pub fn version() -> u64 {
    fnv1a(include_bytes!("random.rs"))
}

/// SplitMix64: the same everywhere, for each seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// What the layers so far come to, as far as a next one has to know it: kinds by path, as the layers call them.
type Known = BTreeMap<String, Kind>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Directory,
    File,
    Symlink,
    /// A link to nothing, where going through it makes a directory.
    Passage,
    Other,
}

struct Layer<'r> {
    random: &'r mut Random,
    tar: Builder<Vec<u8>>,
    /// PAX records of the entry that comes next.
    records: Vec<(String, Vec<u8>)>,
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "with blank", "\u{fc}"];

impl Layer<'_> {
    fn name(&mut self) -> String {
        // Longer than a header has room for.
        if self.random.one_in(12) { "long".repeat(40) } else { self.random.pick(&NAMES).to_owned() }
    }

    /// A path whose parents are directories, or are to become some.
    fn path(&mut self, known: &Known) -> String {
        let passable = |kind: Kind| matches!(kind, Kind::Directory | Kind::Passage);
        let directories: Vec<_> =
            known.iter().filter(|(_, kind)| passable(**kind)).map(|(path, _)| path.clone()).collect();
        if !directories.is_empty() && self.random.one_in(10) {
            // As long as the header's field, a byte less, a byte more: with its NUL, without, and in another header.
            let parent = self.random.pick(&directories);
            let length = self.random.pick(&[98, 99, 100, 101, 102]);
            if let Some(room) = usize::checked_sub(length, parent.len() + 1).filter(|room| *room > 0) {
                return format!("{parent}/{}", "p".repeat(room));
            }
        }
        let name = self.name();
        if directories.is_empty() || self.random.one_in(4) {
            // A parent that nobody lists, perhaps. A file in the way of it is an error to umoci and docker.
            let parent = self.name();
            let free = known.get(&parent).is_none_or(|kind| passable(*kind));
            return if free && self.random.one_in(6) { format!("{parent}/{name}") } else { name };
        }
        format!("{}/{name}", self.random.pick(&directories))
    }

    fn header(&mut self, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        let random = &mut *self.random;
        header.set_entry_type(kind);
        header.set_size(size);
        let special = if random.one_in(5) { random.pick(&[0o4000, 0o2000, 0o1000, 0o6000]) } else { 0 };
        header.set_mode(random.pick(&[0o755, 0o644, 0o600, 0o777, 0o000, 0o444]) | special);
        header.set_uid(random.pick(&[0, 0, 1, 1000, 65534]));
        header.set_gid(random.pick(&[0, 0, 4, 1000, 65534]));
        header.set_mtime(1_000_000_000 + random.next() % 700_000_000);
        header
    }

    /// Appends with what only PAX can say.
    fn append(&mut self, mut header: Header, path: &str, link: Option<&str>, data: &[u8]) {
        let kind = header.entry_type();
        let mut pax = std::mem::take(&mut self.records);
        let random = &mut *self.random;
        if kind != EntryType::Link {
            if random.one_in(3) {
                let (seconds, fraction) = (header.mtime().unwrap(), random.next() % 1_000_000_000);
                pax.push(("mtime".into(), format!("{seconds}.{fraction:09}").into_bytes()));
            }
            if random.one_in(8) {
                pax.push(("uid".into(), random.pick(&["3000000", "2147483648", "4294967294"]).into()));
            }
        }
        if matches!(kind, EntryType::Regular | EntryType::Directory) && random.one_in(4) {
            pax.push((
                "SCHILY.xattr.user.note".into(),
                random.pick(&[&b"short"[..], b"", &[b'x'; 300], b"\x00\xff=\n"]).to_vec(),
            ));
        }
        if kind == EntryType::Regular && random.one_in(6) {
            // cap_net_raw+ep, version 2 (linux/capability.h).
            let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            pax.push(("SCHILY.xattr.security.capability".into(), capability.to_vec()));
        }
        if random.one_in(8) && kind != EntryType::Link {
            pax.push(("SCHILY.xattr.trusted.mark".into(), b"1".to_vec()));
        }
        let path = match (random.below(6), kind) {
            (0, _) => format!("./{path}"),
            (1, _) => format!("/{path}"),
            (2, EntryType::Directory) => format!("{path}/"),
            _ => path.to_owned(),
        };
        for (key, value, length) in [("path", Some(path.as_str()), 100), ("linkpath", link, 100)] {
            let Some(value) = value else { continue };
            if value.len() > length {
                if self.random.one_in(2) {
                    self.gnu_long(if key == "path" { b'L' } else { b'K' }, value);
                } else {
                    pax.push((key.into(), value.into()));
                }
            }
            let cut = &value.as_bytes()[..value.len().min(length)];
            let header = header.as_ustar_mut().unwrap();
            let field = if key == "path" { &mut header.name } else { &mut header.linkname };
            field[..cut.len()].copy_from_slice(cut);
        }
        self.tar.append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).unwrap();
        header.set_cksum();
        self.tar.append(&header, data).unwrap();
    }

    /// What GNU tar puts before an entry instead of a PAX header.
    fn gnu_long(&mut self, kind: u8, name: &str) {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(kind));
        header.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.tar.append(&header, format!("{name}\0").as_bytes()).unwrap();
    }

    /// `data` between holes: its bytes as stored, and the records that say where they belong. GNU's old form, with a header of its own, is
    /// left out, since umoci refuses its type; so is PAX's first one (0.0), which repeats a key, as no other record may.
    fn sparse(&mut self, data: &[u8]) -> Vec<u8> {
        let half = data.len() / 2;
        let gap = self.random.pick(&[1, 511, 4096, 150_000]);
        let size = gap + data.len() + 2 * gap;
        let numbers = [gap, half, 2 * gap + half, data.len() - half];
        let in_records = self.random.one_in(2);
        let mut record = |key: &str, value: String| self.records.push((key.to_owned(), value.into_bytes()));
        if in_records {
            let map = numbers.map(|number| number.to_string()).join(",");
            record("GNU.sparse.size", size.to_string());
            record("GNU.sparse.numblocks", "2".to_owned());
            record("GNU.sparse.map", map);
            return data.to_vec();
        }
        record("GNU.sparse.major", "1".to_owned());
        record("GNU.sparse.minor", "0".to_owned());
        record("GNU.sparse.realsize", size.to_string());
        let mut stored = format!("2\n{}\n", numbers.map(|number| number.to_string()).join("\n")).into_bytes();
        stored.resize(512, 0);
        stored.extend(data);
        stored
    }

    /// Of something that is there, or sometimes is not.
    fn white_out(&mut self, known: &mut Known) {
        let lower: Vec<_> = known.keys().cloned().collect();
        let path = if lower.is_empty() || self.random.one_in(10) { self.name() } else { self.random.pick(&lower) };
        let (parent, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(parent, name)| (parent, name));
        // Of a link: what it leads to shows nothing of lower layers.
        let opaque = matches!(known.get(&path), Some(Kind::Directory | Kind::Passage)) && self.random.one_in(3);
        let below = format!("{path}/");
        known.retain(|known, _| !known.starts_with(&below) && (opaque || *known != path));
        let whiteout = if opaque {
            format!("{path}/.wh..wh..opq")
        } else if parent.is_empty() {
            format!(".wh.{name}")
        } else {
            format!("{parent}/.wh.{name}")
        };
        let header = self.header(EntryType::Regular, 0);
        let mut plain = header.clone();
        plain.set_mode(0);
        // A whiteout has no attributes: they would be of a file that is never made.
        self.raw(plain, &whiteout);
    }

    fn raw(&mut self, mut header: Header, path: &str) {
        let mut pax = Vec::new();
        if path.len() > 100 {
            pax.push(("path", path.as_bytes()));
        }
        self.tar.append_pax_extensions(pax).unwrap();
        let cut = &path.as_bytes()[..path.len().min(100)];
        header.as_ustar_mut().unwrap().name[..cut.len()].copy_from_slice(cut);
        header.set_cksum();
        self.tar.append(&header, &[][..]).unwrap();
    }

    fn put(&mut self, known: &mut Known) {
        let path = self.path(known);
        let kind = match self.random.below(12) {
            0..4 => {
                let size = self.random.pick(&[0, 1, 100, 4095, 4096, 4097, 20_000]);
                let fill = self.random.next().to_le_bytes();
                let mut data: Vec<u8> = fill.iter().copied().cycle().take(size).collect();
                if size > 1 && self.random.one_in(4) {
                    data = self.sparse(&data);
                }
                let header = self.header(EntryType::Regular, data.len() as u64);
                self.append(header, &path, None, &data);
                Kind::File
            }
            4..7 => {
                let header = self.header(EntryType::Directory, 0);
                self.append(header, &path, None, b"");
                Kind::Directory
            }
            7 => {
                // What lies behind a link has one path only that leads there, so that what is known stays true.
                let fresh = format!("{}nowhere {}", self.random.pick(&["", "/", "./"]), self.random.next() % 1000);
                let passage = self.random.one_in(2);
                let target = if passage {
                    fresh
                } else {
                    self.random.pick(&["a", "../b", "/c/d", ".", &"far/".repeat(50)]).to_owned()
                };
                let header = self.header(EntryType::Symlink, 0);
                self.append(header, &path, Some(&target), b"");
                if passage { Kind::Passage } else { Kind::Symlink }
            }
            8..10 => {
                // Not to what would be replaced by it.
                let files: Vec<_> = known
                    .iter()
                    .filter(|(file, kind)| **kind == Kind::File && !path.starts_with(*file) && !file.starts_with(&path))
                    .map(|(file, _)| file.clone())
                    .collect();
                if files.is_empty() {
                    return;
                }
                let target = self.random.pick(&files);
                let header = self.header(EntryType::Link, 0);
                self.append(header, &path, Some(&target), b"");
                Kind::File
            }
            10 => {
                let header = self.header(EntryType::Fifo, 0);
                self.append(header, &path, None, b"");
                Kind::Other
            }
            _ => {
                let kind = self.random.pick(&[EntryType::Char, EntryType::Block]);
                let mut header = self.header(kind, 0);
                // 0:0 would be overlayfs's own whiteout.
                header.set_device_major(u32::try_from(1 + self.random.below(250)).unwrap()).unwrap();
                header.set_device_minor(u32::try_from(self.random.below(256)).unwrap()).unwrap();
                self.append(header, &path, None, b"");
                Kind::Other
            }
        };
        // Parents that nobody listed.
        for (at, _) in path.match_indices('/') {
            known.entry(path[..at].to_owned()).or_insert(Kind::Directory);
        }
        if kind != Kind::Directory || known.get(&path) != Some(&Kind::Directory) {
            let below = format!("{path}/");
            known.retain(|known, _| !known.starts_with(&below));
        }
        known.insert(path, kind);
    }
}

/// The layers of a seed.
fn layers(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    let mut known = Known::new();
    let count = 1 + random.below(5);
    let mut layers = Vec::new();
    for number in 0..count {
        let mut layer = Layer { random: &mut random, tar: Builder::new(Vec::new()), records: Vec::new() };
        if number == 0 {
            let header = layer.header(EntryType::Directory, 0);
            layer.append(header, "./", None, b"");
        } else {
            // First, as those who make layers have it: tools disagree on what comes before a whiteout of the same name.
            for _ in 0..layer.random.below(4) {
                layer.white_out(&mut known);
            }
        }
        for _ in 0..4 + layer.random.below(16) {
            layer.put(&mut known);
        }
        layers.push(layer.tar.into_inner().unwrap());
    }
    layers
}

/// How layers are stored.
#[derive(Clone, Copy, PartialEq)]
pub enum Stored {
    /// In every way that there is.
    AllWays,
    /// Without Zstandard, which umoci does not know before its version 0.5. The image is the same: what names it is not compressed.
    AsUmociReads,
}

/// A layer as it is stored, and the end of its media type.
fn stored(layer: &[u8], way: u64, ways: Stored) -> (Vec<u8>, &'static str) {
    match way % 3 {
        0 => (layer.to_vec(), ""),
        1 if ways == Stored::AllWays => (zstd::encode_all(layer, 1).unwrap(), "+zstd"),
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(layer).unwrap();
            (encoder.finish().unwrap(), "+gzip")
        }
    }
}

/// Writes the image of `seed` as an OCI layout with the tag `latest`.
pub fn write_layout(directory: &Path, seed: u64, ways: Stored) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let digest = |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let blob = |bytes: &[u8], media_type: &str| {
        let hex = digest(bytes);
        fs::write(blobs.join(&hex), bytes).unwrap();
        serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    };
    let layers = layers(seed);
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
    let of_layer = |(number, layer): (u64, &Vec<u8>)| {
        let (bytes, end) = stored(layer, seed + number, ways);
        blob(&bytes, &format!("application/vnd.oci.image.layer.v1.tar{end}"))
    };
    let layers: Vec<_> = (0..).zip(&layers).map(of_layer).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut manifest = blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
