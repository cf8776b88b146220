//! `squash ARCHIVE LAYER OUT`: the root file system of a plain layer of what `docker save` writes, as the library backhand writes it: SquashFS with LZ4, its own defaults.
//!
//! A peer of `benches/packing`. The library has no extended attributes (so no file capabilities) and no hard links for what is pushed: those
//! are left out here, the latter as empty files.

use backhand::compression::{CompressionOptions, Compressor, Lz4};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::EntryType;

/// `length` bytes of a file, from `begin` on.
struct Part {
    file: Arc<File>,
    begin: u64,
    length: u64,
    at: u64,
}

impl Part {
    fn new(file: &Arc<File>, begin: u64, length: u64) -> Self {
        Self { file: Arc::clone(file), begin, length, at: 0 }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.length - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..most], self.begin + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(by) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let by = u64::try_from(by).map_err(|_| io::ErrorKind::Unsupported)?;
        self.at = self.length.min(self.at + by);
        Ok(self.at)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [archive, name, out] = paths.as_slice() else { return Err("squash ARCHIVE LAYER OUT".into()) };
    let file = Arc::new(File::open(archive)?);
    let layer = find(&file, name)?;
    let mut squash = FilesystemWriter::default();
    let options = CompressionOptions::Lz4(Lz4 { version: 1, flags: 0 });
    squash.set_compressor(FilesystemCompressor::new(Compressor::Lz4, Some(options))?);
    let begin = layer.begin;
    for entry in tar::Archive::new(layer).entries_with_seek()? {
        add(&mut squash, &file, begin, &entry?)?;
    }
    squash.write(File::create(out)?)?;
    Ok(())
}

fn find(archive: &Arc<File>, name: &Path) -> Result<Part, Box<dyn Error>> {
    for entry in tar::Archive::new(&**archive).entries_with_seek()? {
        let entry = entry?;
        if entry.path()? == name {
            return Ok(Part::new(archive, entry.raw_file_position(), entry.size()));
        }
    }
    Err("the archive has no such layer".into())
}

fn add<R: Read>(
    squash: &mut FilesystemWriter<'_, '_, '_>,
    file: &Arc<File>,
    begin: u64,
    entry: &tar::Entry<'_, R>,
) -> Result<(), Box<dyn Error>> {
    let header = entry.header();
    let node = NodeHeader {
        permissions: u16::try_from(header.mode()? & 0o7777)?,
        uid: u32::try_from(header.uid()?)?,
        gid: u32::try_from(header.gid()?)?,
        mtime: u32::try_from(header.mtime()?)?,
    };
    let path = Path::new("/").join(entry.path()?);
    if path == Path::new("/") || path == Path::new("/./") {
        return Ok(());
    }
    match header.entry_type() {
        EntryType::Directory => squash.push_dir(path, node)?,
        EntryType::Symlink => squash.push_symlink(entry.link_name()?.unwrap_or_default(), path, node)?,
        EntryType::Regular => {
            let part = Part::new(file, begin + entry.raw_file_position(), entry.size());
            squash.push_file(part, path, node)?;
        }
        EntryType::Link => squash.push_file(io::empty(), path, node)?,
        _ => {}
    }
    Ok(())
}
