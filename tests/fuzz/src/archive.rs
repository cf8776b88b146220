//! Archives as `docker save` writes them, whole but for the part that a target makes hostile.

use bottle_vmm::image::{Cache, ImageError, Limits, Source, open_limited};
use bottle_vmm::progress::Silent;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Opens an archive as `run --image` does, with a cache that lives as long as the call.
///
/// # Errors
/// What the user would read.
pub fn open(archive: &[u8]) -> Result<(), ImageError> {
    open_image(archive, None)
}

/// The same with one image of those that the archive has.
///
/// # Errors
/// What the user would read.
pub fn open_image(archive: &[u8], name: Option<&str>) -> Result<(), ImageError> {
    let directory = tempfile::tempdir_in("/dev/shm").expect("room in memory");
    let path = directory.path().join("image.tar");
    std::fs::write(&path, archive).expect("room in memory");
    let cache = Cache::at(&directory.path().join("cache"));
    let limits = Limits { unpacked_bytes: 16 << 20, entries: 2000, memory_bytes: 36 << 20, steps: 1 << 20 };
    let path = match name {
        Some(name) => format!("{}:{name}", path.display()).into(),
        None => path,
    };
    open_limited(&Source::Path(path), &cache, &limits, &Silent).map(drop)
}

/// An archive of one layer, with a configuration that fits it.
pub fn of_layer(layer: &[u8]) -> Vec<u8> {
    of(configuration("{}", layer).as_bytes(), layer)
}

/// A configuration whose `config` is `inner` and which names `layer` truly.
pub fn configuration(inner: &str, layer: &[u8]) -> String {
    let digest = hexadecimal(layer);
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{inner},"rootfs":{{"type":"layers","diff_ids":["sha256:{digest}"]}}}}"#
    )
}

/// An archive of a configuration and a layer.
pub fn of(configuration: &[u8], layer: &[u8]) -> Vec<u8> {
    let name = format!("{}.json", hexadecimal(configuration));
    let manifest = format!(r#"[{{"Config":"{name}","RepoTags":[],"Layers":["layer.tar"]}}]"#);
    tar_of([("manifest.json", manifest.as_bytes()), (&name, configuration), ("layer.tar", layer)])
}

pub(crate) fn tar_of<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes).expect("memory");
    }
    builder.into_inner().expect("memory")
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
