//! The root file system of an archive, alone and without a cache: for measuring and comparing. Law: as `open`, but it
//! remembers nothing.

use std::fs::File;
use std::path::Path;

use super::erofs::RootCompression;
use super::error::ImageError;
use super::layered::Layered;
use super::limits::Limits;
use super::pack::{Identity, pack};
use super::parts::Parts;
use super::reference::{Described, describe};
use super::stream::FileRange;
use crate::progress::Progress;

/// Writes the root file system of the uncompressed archive at `archive` into `file`, which is new, and named `path` in
/// errors. Its size in bytes.
pub fn write_root(
    archive: &Path,
    (file, path): (File, &Path),
    compression: RootCompression,
    progress: &dyn Progress,
) -> Result<u64, ImageError> {
    let failed = |source| ImageError::Io { action: "open", path: archive.to_owned(), source };
    let origin = archive.display().to_string();
    let range = File::open(archive).and_then(FileRange::whole).map_err(failed)?;
    let described = describe(&Parts::of_archive(range, &origin)?)?;
    let Described { id, layers, .. } = described.ok_or(ImageError::NotAnImage { origin })?;
    let (tree, contents) = Layered::merge(layers, &Limits::default(), progress)?;
    Ok(pack(&tree, &contents, (file, path), (Identity::Known(id), compression), progress)?.bytes)
}
