//! For tests: tar streams and archives made by hand, a place to open them in, and a reader of EROFS that shares no code with the writer.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::digest::Digest;
use super::{Artifact, Cache, ImageError, Source, open};
use crate::progress::Silent;

/// A tar stream, header by header; nothing is checked, so that it can be wrong.
#[derive(Default, Clone)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
    pax: Vec<u8>,
}

impl Tar {
    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(b'0', path, "", 0o644, data)
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(b'5', path, "", mode, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, 0o777, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path, target, 0o644, b"")
    }

    /// A PAX record for the entry that comes next.
    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        let body = key.len() + value.len() + 3;
        let digits = (1..).find(|digits| (body + digits).to_string().len() == *digits).unwrap();
        self.pax.extend((body + digits).to_string().bytes());
        self.pax.extend([b" ", key.as_bytes(), b"=", value, b"\n"].concat());
        self
    }

    pub(crate) fn entry(mut self, flag: u8, path: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        if !self.pax.is_empty() {
            let records = std::mem::take(&mut self.pax);
            self = self.raw(header(b'x', b"pax", b"", 0o644, records.len() as u64), &records);
        }
        for (kind, name) in [(b'L', path), (b'K', link)] {
            if name.len() > 100 {
                self = self.raw(
                    header(kind, b"././@LongLink", b"", 0o644, name.len() as u64 + 1),
                    &[name.as_bytes(), b"\0"].concat(),
                );
            }
        }
        let short = |name: &str| name.as_bytes()[..name.len().min(100)].to_vec();
        self.raw(header(flag, &short(path), &short(link), mode, data.len() as u64), data)
    }

    pub(crate) fn raw(mut self, header: [u8; 512], data: &[u8]) -> Self {
        self.bytes.extend(header);
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

/// A ustar header; devices are 1:3, owners 10 and 20, the time 1,000,000.
pub(crate) fn header(flag: u8, path: &[u8], link: &[u8], mode: u32, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, path);
    put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0{size:011o}\0{:011o}\0", 10, 20, 1_000_000).as_bytes());
    put(156, &[flag]);
    put(157, link);
    put(257, b"ustar\x0000");
    put(329, b"0000001\x000000003\0");
    seal(block)
}

pub(crate) fn seal(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub(crate) fn config_json(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "User": "node" },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }))
    .unwrap()
}

/// What `docker save` writes: plain layers, the table of contents last.
pub(crate) fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<_> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["test:latest"], "Layers": names }]);
    let mut tar = Tar::default();
    for (name, layer) in names.iter().zip(layers) {
        tar = tar.file(name, layer);
    }
    tar.file("config.json", &config_json(layers)).file("manifest.json", manifest.to_string().as_bytes()).finish()
}

/// A directory with a cache in it.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cache: Cache,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("cache"));
        Self { directory, cache }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Artifact, ImageError> {
        // A new file: ext4 waits for the disk when one is emptied and written again.
        let _absent = fs::remove_file(self.path("image"));
        fs::write(self.path("image"), bytes).unwrap();
        self.open_path("image")
    }

    pub(crate) fn open_path(&self, name: &str) -> Result<Artifact, ImageError> {
        open(&Source::Path(self.path(name)), &self.cache, &Silent)
    }

    /// A layout directory of these parts.
    pub(crate) fn write_layout(&self, name: &str, parts: &[(String, Vec<u8>)]) {
        for (part, bytes) in parts {
            let path = self.path(name).join(part);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Files in the cache, of whatever kind.
    pub(crate) fn cached(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.path("cache")];
        while let Some(directory) = todo.pop() {
            // A cache that nothing was put into is not even there.
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// The root file system.
pub(crate) fn contents(image: &Artifact) -> Vec<u8> {
    read(image, image.manifest().root.bytes)
}

pub(crate) fn read(image: &Artifact, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    image.file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The file.
pub(crate) fn whole(image: &Artifact) -> Vec<u8> {
    read(image, image.bytes())
}

pub(crate) fn seen(image: &Artifact, path: &str) -> Option<Seen> {
    read_erofs(&contents(image)).remove(path.as_bytes())
}

pub(crate) fn layers() -> Vec<Vec<u8>> {
    vec![
        Tar::default()
            .directory("etc", 0o755)
            .file("etc/os", b"lower")
            .file("big", &[7; 70_000])
            .file("gone", b"x")
            .finish(),
        Tar::default()
            .file("etc/os", b"upper")
            .hard_link("kept", "big")
            .file(".wh.gone", b"")
            .file(".wh.big", b"")
            .finish(),
    ]
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout as name and bytes: layers as `stored`, for the given platforms.
pub(crate) fn oci_parts(layers: &[Vec<u8>], stored: &[Vec<u8>], platforms: &[&str]) -> Vec<(String, Vec<u8>)> {
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec());
    let describe = |kind: &str, bytes: &[u8]| serde_json::json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let config = config_json(layers);
    let listed: Vec<_> = stored.iter().map(|layer| describe("application/vnd.oci.image.layer.v1.tar", layer)).collect();
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": describe("application/vnd.oci.image.config.v1+json", &config), "layers": listed });
    let manifest = manifest.to_string().into_bytes();
    let mut parts: Vec<_> = stored.iter().map(|layer| blob(layer)).chain([blob(&config), blob(&manifest)]).collect();
    let manifests: Vec<_> = platforms
        .iter()
        .map(|platform| {
            let (os, architecture) = platform.split_once('/').unwrap();
            let bytes = if *platform == "linux/amd64" { manifest.clone() } else { platform.as_bytes().to_vec() };
            let mut descriptor = describe("application/vnd.oci.image.manifest.v1+json", &bytes);
            descriptor["platform"] = serde_json::json!({ "os": os, "architecture": architecture });
            descriptor
        })
        .collect();
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes();
    let index_blob = blob(&index);
    let outer = serde_json::json!({ "schemaVersion": 2, "manifests": [describe("application/vnd.oci.image.index.v1+json", &index)] });
    parts.extend([
        index_blob,
        ("index.json".to_owned(), outer.to_string().into_bytes()),
        ("oci-layout".to_owned(), b"{}".to_vec()),
    ]);
    parts
}

pub(crate) fn archive_of(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    parts.iter().fold(Tar::default(), |tar, (name, bytes)| tar.file(name, bytes)).finish()
}

pub(crate) fn root_of(place: &Place, name: &str, text: &str) -> PathBuf {
    let root = place.path(name);
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), text).unwrap();
    root
}

/// One inode as the image has it. Directories have no data here: their entries are paths of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) nid: u64,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Everything in an image by path; the root is "". Panics on whatever the kernel would refuse.
pub(crate) fn read_erofs(image: &[u8]) -> BTreeMap<Vec<u8>, Seen> {
    assert_eq!(u32_at(image, 1024), 0xe0f5_e1e2);
    let mut unsealed = image[1024..4096].to_vec();
    unsealed[4..8].fill(0);
    assert_eq!(super::crc32c::crc32c(!0, &unsealed), u32_at(image, 1028), "checksum");
    assert_eq!(u64::from(u32_at(image, 1024 + 36)) * 4096, image.len() as u64, "blocks");
    let root = u64::from(u16_at(image, 1024 + 14));
    let packed_nid = u64_at(image, 1024 + 96);
    let packed = if packed_nid > 0 { read_inode(image, packed_nid, &[]).data } else { Vec::new() };
    let mut found = BTreeMap::new();
    let mut todo = vec![(Vec::new(), root, root)];
    while let Some((path, nid, parent)) = todo.pop() {
        let mut seen = read_inode(image, nid, &packed);
        if seen.mode & 0o170_000 == 0o040_000 {
            let entries = read_directory(&seen.data);
            let names: Vec<_> = entries.iter().map(|(name, ..)| name.clone()).collect();
            assert!(names.is_sorted_by(|left, right| left < right), "{names:?}");
            for (name, child, kind) in entries {
                match name.as_slice() {
                    b"." => assert_eq!(child, nid),
                    b".." => assert_eq!(child, parent),
                    _ => {
                        let expected = match u16_at(image, inode_at(image, child) + 4) >> 12 {
                            8 => 1,
                            4 => 2,
                            2 => 3,
                            6 => 4,
                            1 => 5,
                            12 => 6,
                            10 => 7,
                            other => panic!("type {other}"),
                        };
                        assert_eq!(kind, expected);
                        let below = if path.is_empty() { name } else { [path.as_slice(), b"/", &name].concat() };
                        todo.push((below, child, nid));
                    }
                }
            }
            seen.data.clear();
        }
        found.insert(path, seen);
    }
    assert_eq!(
        found.values().map(|seen| seen.nid).collect::<std::collections::BTreeSet<_>>().len() as u64,
        u64_at(image, 1024 + 16),
        "inodes"
    );
    found
}

fn inode_at(image: &[u8], nid: u64) -> usize {
    usize::try_from(u64::from(u32_at(image, 1024 + 40)) * 4096 + nid * 32).unwrap()
}

fn read_inode(image: &[u8], nid: u64, packed: &[u8]) -> Seen {
    let at = inode_at(image, nid);
    let format = u16_at(image, at);
    let (extended, layout) = (format & 1 == 1, format >> 1);
    let (size, uid, gid, links, mtime, header) = if extended {
        let mtime = (u64_at(image, at + 32).cast_signed(), u32_at(image, at + 40));
        (u64_at(image, at + 8), u32_at(image, at + 24), u32_at(image, at + 28), u32_at(image, at + 44), mtime, 64)
    } else {
        let mtime = (u64_at(image, 1024 + 24).cast_signed(), u32_at(image, 1024 + 32));
        let (uid, gid) = (u16_at(image, at + 24).into(), u16_at(image, at + 26).into());
        (u32_at(image, at + 8).into(), uid, gid, u16_at(image, at + 6).into(), mtime, 32)
    };
    assert!(at % 4096 + header <= 4096, "inode across blocks");
    let mode = u16_at(image, at + 4);
    let count = usize::from(u16_at(image, at + 2));
    let xattr_bytes = if count == 0 { 0 } else { 12 + 4 * (count - 1) };
    let xattrs = read_xattrs(&image[at + header..at + header + xattr_bytes]);
    let device_or_block = u32_at(image, at + 16);
    let size = usize::try_from(size).unwrap();
    let has_data = matches!(mode >> 12, 8 | 4 | 10);
    let data = match layout {
        _ if !has_data => Vec::new(),
        0 if size == 0 => Vec::new(),
        0 => image[device_or_block as usize * 4096..][..size].to_vec(),
        2 => {
            let start = at + header + xattr_bytes;
            assert!(start % 4096 + size % 4096 <= 4096, "inline data across blocks");
            let whole = size - size % 4096;
            [&image[device_or_block as usize * 4096..][..whole], &image[start..start + size % 4096]].concat()
        }
        1 => read_compressed(image, (at + header + xattr_bytes).next_multiple_of(8), size, packed),
        other => panic!("layout {other}"),
    };
    let device = if has_data { 0 } else { device_or_block };
    Seen { nid, mode, uid, gid, links, mtime, device, data, xattrs }
}

/// The data of a compressed inode with its map at `map`, extent by extent as the kernel would go through it.
fn read_compressed(image: &[u8], map: usize, size: usize, packed: &[u8]) -> Vec<u8> {
    let header = u64_at(image, map);
    if header >> 63 == 1 {
        assert!(u32_at(image, 1024 + 80) & 0x20 != 0, "packed without the feature");
        let offset = usize::try_from(header & !(1 << 63)).unwrap();
        return packed[offset..offset + size].to_vec();
    }
    assert!(u32_at(image, 1024 + 80) & 3 == 3, "compressed without the features");
    assert_eq!(u16_at(image, map + 4), 2, "several blocks an extent, nothing else");
    let algorithm = image[map + 6];
    assert_eq!(u16_at(image, 1024 + 84), 1 << algorithm);
    let index = |cluster: usize| {
        let at = map + 16 + cluster * 8;
        assert_eq!(u16_at(image, at + 2), 0, "extents begin at clusters");
        (u16_at(image, at), u32_at(image, at + 4), u16_at(image, at + 4), u16_at(image, at + 6))
    };
    let clusters = size.div_ceil(4096);
    let mut data = Vec::new();
    while data.len() < size {
        let head = data.len() / 4096;
        let (kind, block, ..) = index(head);
        let stored = &image[block as usize * 4096..];
        if kind == 0 {
            data.extend(&stored[..4096.min(size - data.len())]);
            continue;
        }
        assert_eq!(kind, 1);
        let length = (head + 1..clusters).take_while(|&cluster| index(cluster).0 == 2).count() + 1;
        assert!(length > 1, "nothing to be gained");
        for (distance, cluster) in (head + 1..head + length).enumerate() {
            let (_, _, back, forth) = index(cluster);
            assert!(distance == 0 || usize::from(back) == distance + 1, "{back} back");
            assert_eq!(usize::from(forth), length - distance - 1);
        }
        let count = index(head + 1).2;
        assert!(count & 0x800 != 0, "the first after a head counts blocks");
        let blocks = usize::from(count & !0x800);
        assert!(blocks < length);
        let stored = &stored[..blocks * 4096];
        let start = stored.iter().position(|&byte| byte != 0).unwrap();
        assert!(start < 4096, "a block of padding");
        let wanted = (length * 4096).min(size - data.len());
        data.extend(decompress(algorithm, &stored[start..], wanted));
    }
    data
}

fn decompress(algorithm: u8, stored: &[u8], wanted: usize) -> Vec<u8> {
    let plain = match algorithm {
        0 => lz4_flex::block::decompress(stored, wanted).unwrap(),
        3 => zstd::decode_all(stored).unwrap(),
        other => panic!("algorithm {other}"),
    };
    assert_eq!(plain.len(), wanted);
    plain
}

fn read_xattrs(area: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 12;
    while at < area.len() {
        let (name, value) = (usize::from(area[at]), usize::from(u16_at(area, at + 2)));
        let prefix = ["", "user.", "system.posix_acl_access", "system.posix_acl_default", "trusted.", "", "security."]
            [usize::from(area[at + 1])];
        let full = [prefix.as_bytes(), &area[at + 4..at + 4 + name]].concat();
        found.push((full, area[at + 4 + name..at + 4 + name + value].to_vec()));
        at = (at + 4 + name + value).next_multiple_of(4);
    }
    found
}

fn read_directory(data: &[u8]) -> Vec<(Vec<u8>, u64, u8)> {
    let mut found = Vec::new();
    for block in data.chunks(4096) {
        let count = usize::from(u16_at(block, 8)) / 12;
        for index in 0..count {
            let at = index * 12;
            let start = usize::from(u16_at(block, at + 8));
            let end = if index + 1 < count { usize::from(u16_at(block, at + 20)) } else { block.len() };
            let name: Vec<_> = block[start..end].iter().copied().take_while(|&byte| byte != 0).collect();
            found.push((name, u64_at(block, at), block[at + 10]));
        }
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The opinion of erofs-utils; skipped, loudly, where they are not installed.
pub(crate) fn fsck_erofs(image: &Path) {
    match Command::new("fsck.erofs").arg("--extract").arg(image).output() {
        Err(_) => eprintln!("SKIPPED: no fsck.erofs (Debian: erofs-utils)"),
        Ok(run) => {
            let said = String::from_utf8_lossy(&run.stderr);
            if said.contains("unidentified incompatible feature") {
                // 1.5, for one, knows no packed files. Our own reader and kernels do.
                eprintln!("SKIPPED: {said}");
                return;
            }
            assert!(run.status.success(), "{said}");
        }
    }
}
