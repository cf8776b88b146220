//! A tree and the bytes of its files become an EROFS image. Law: the only place that brings the two together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::digest::{Digest, Digester, HashingReader};
use super::erofs::{ImageWriter, RootCompression, StoreError};
use super::error::ImageError;
use super::tree::{ContentId, InodeId, Kind, Tree};
use crate::progress::Progress;

/// Where the bytes of a tree's files come from.
pub(crate) trait Contents {
    /// Gives `sink` each of `wanted`, which is sorted, once, in whatever order is cheapest.
    fn deliver(&self, wanted: &[ContentId], sink: &mut Sink<'_>) -> Result<(), ImageError>;

    /// The content could not be read, or turned out shorter than listed.
    fn unreadable(&self, content: ContentId, error: StoreError) -> ImageError;
}

/// Told which content follows, and reads it.
pub(crate) type Sink<'s> = dyn FnMut(ContentId, &mut dyn Read) -> Result<(), ImageError> + 's;

/// What an image is called by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Identity {
    /// By a digest that is known to stand for its contents.
    Known(Digest),
    /// By its tree and contents, digested while they are written.
    OfContents,
}

#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

/// Writes the image into `file`, which is new, and lies in `directory` (for errors).
pub(crate) fn pack(
    tree: &Tree,
    contents: &dyn Contents,
    (file, directory): (File, &Path),
    (identity, compression): (Identity, RootCompression),
    progress: &dyn Progress,
) -> Result<Packed, ImageError> {
    let files = reachable_files(tree);
    let total = files.iter().map(|&(_, _, size)| size).fold(0, u64::saturating_add);
    let wanted: Vec<_> = files.iter().map(|&(content, ..)| content).collect();
    let mut digests = BTreeMap::new();
    let mut writer = ImageWriter::new(tree, file, compression);
    let mut done = 0;
    progress.step_of_bytes("writing the root file system");
    contents.deliver(&wanted, &mut |content, bytes| {
        let Ok(at) = files.binary_search_by_key(&content, |&(content, ..)| content) else { return Ok(()) };
        let (_, inode, size) = files[at];
        let stored = match identity {
            Identity::Known(_) => writer.store(inode, bytes),
            Identity::OfContents => {
                let mut hashing = HashingReader::new(bytes);
                let stored = writer.store(inode, &mut hashing);
                digests.insert(inode, hashing.digest());
                stored
            }
        };
        stored.map_err(|error| match error {
            StoreError::Read(_) | StoreError::Short { .. } => contents.unreadable(content, error),
            StoreError::Write(_) | StoreError::Compress(_) | StoreError::TooLarge => store_error(directory, error),
        })?;
        done += size;
        progress.advance(done, total);
        Ok(())
    })?;
    let digest = match identity {
        Identity::Known(digest) => digest,
        Identity::OfContents => tree_digest(tree, &digests),
    };
    let (file, bytes) = writer.finish(uuid(&digest)).map_err(|error| store_error(directory, error))?;
    Ok(Packed { file, bytes, digest })
}

fn store_error(directory: &Path, source: StoreError) -> ImageError {
    ImageError::Store { cache: directory.to_owned(), source }
}

/// Files that hold bytes and are still part of the tree, in the order of their contents.
fn reachable_files(tree: &Tree) -> Vec<(ContentId, InodeId, u64)> {
    let order = tree.breadth_first();
    let files = order.iter().filter_map(|&(id, _)| match tree.get(id).kind {
        Kind::File { size, content } if size > 0 => Some((content, id, size)),
        _ => None,
    });
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    files
}

/// Everything about a tree that a guest can see.
fn tree_digest(tree: &Tree, contents: &BTreeMap<InodeId, Digest>) -> Digest {
    let mut digester = Digester::default();
    for (id, _) in tree.breadth_first() {
        let inode = tree.get(id);
        let meta = &inode.meta;
        digester.number(u64::from(meta.mode));
        digester.number(u64::from(meta.uid));
        digester.number(u64::from(meta.gid));
        digester.number(meta.mtime.seconds.cast_unsigned());
        digester.number(u64::from(meta.mtime.nanoseconds));
        digester.number(meta.xattrs.len() as u64);
        for (name, value) in &meta.xattrs {
            digester.part(name);
            digester.part(value);
        }
        match &inode.kind {
            Kind::File { size, .. } => {
                digester.part(b"file");
                digester.number(*size);
                digester.part(contents.get(&id).map_or(&[], |digest| digest.bytes()));
            }
            Kind::Directory(children) => {
                digester.part(b"directory");
                digester.number(children.len() as u64);
                for (name, child) in children {
                    digester.part(name);
                    // Tells two names of one file from two equal files.
                    digester.number(child.index() as u64);
                }
            }
            Kind::Symlink(target) => {
                digester.part(b"symlink");
                digester.part(target);
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                digester.part(if matches!(inode.kind, Kind::CharDevice(_)) { b"char" } else { b"block" });
                digester.number(u64::from(device.major));
                digester.number(u64::from(device.minor));
            }
            Kind::Fifo => digester.part(b"fifo"),
            Kind::Socket => digester.part(b"socket"),
        }
    }
    digester.finish()
}

/// A UUID of version 8 (RFC 9562 §5.8: made as its maker likes), so that equal images are equal to the byte.
fn uuid(digest: &Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.bytes()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
