//! A writer of EROFS, the kernel's read-only file system. Law: a tree and bytes in, an image file out; knows no layers,
//! archives or caches, and reads nothing back.
//!
//! Written here rather than by mkfs.erofs: no program to install, no unpacked tree (which would need root to keep owners
//! and devices), and the same bytes for the same tree on every machine. Source: fs/erofs/erofs_fs.h.

mod compressed;
mod compression;
mod data;
mod directory;
mod features;
mod format;
mod lanes;
mod map;
mod plan;

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

pub use compression::{RootCompression, UnknownCompression, ZstdLevel};
pub(crate) use data::StoreError;
pub use features::Feature;
pub(crate) use format::{device_fits, xattr_fits, xattrs_fit};

use compressed::{CompressedWriter, Pieces, Tuning};
use data::{DataWriter, Extent, PlainWriter, Stored};
use directory::Dirent;
use format::{BLOCK_U64, SuperBlock, encode_xattrs};
use map::{packed_map, pieces_of, write_pieces_map};
use plan::{FileData, MAP_ALIGNMENT, Plan};

use super::tree::{InodeId, Kind, Tree};

/// The super block has block 0 to itself.
const RESERVED_BLOCKS: u32 = 1;

/// An image is found again under this version only: counts up with each change of what is made of an image, here or before.
pub(crate) const WRITER_VERSION: u32 = 5;

/// Takes the contents of a tree's files one by one, then lays out the rest.
pub(crate) struct ImageWriter<'t> {
    tree: &'t Tree,
    data: Box<dyn DataWriter>,
    compression: RootCompression,
    /// By arena index.
    extents: Vec<Extent>,
}

impl<'t> ImageWriter<'t> {
    /// `file` is new and empty.
    pub(crate) fn new(tree: &'t Tree, file: File, compression: RootCompression) -> Self {
        Self::tuned(tree, file, compression, Tuning::of_this_machine())
    }

    fn tuned(tree: &'t Tree, file: File, compression: RootCompression, tuning: Tuning) -> Self {
        let data: Box<dyn DataWriter> = match compression.method() {
            None => Box::new(PlainWriter::new(file, RESERVED_BLOCKS)),
            Some(method) => Box::new(CompressedWriter::new(file, RESERVED_BLOCKS, method, tuning)),
        };
        Self { tree, data, compression, extents: vec![Extent::EMPTY; tree.arena_len()] }
    }

    /// Exactly the file's size is read from `content`. A file that is never given reads as the start of the image.
    pub(crate) fn store(&mut self, file: InodeId, content: &mut dyn Read) -> Result<(), StoreError> {
        if let Kind::File { size, .. } = self.tree.get(file).kind {
            self.extents[file.index()] = self.data.store(content, size)?;
        }
        Ok(())
    }

    /// The finished image, and its size in bytes.
    pub(crate) fn finish(self, uuid: [u8; 16]) -> Result<(File, u64), StoreError> {
        let Stored { mut file, next_block, pieces } = self.data.finish()?;
        let (tree, extents, pieces) = (self.tree, &self.extents, pieces.as_ref());
        let plan = Plan::new(tree, extents, pieces, next_block)?;
        let metadata = Metadata { tree, plan: &plan, extents, pieces };
        metadata.write(&mut file, u64::from(next_block)).map_err(StoreError::Write)?;
        let root = plan.place(InodeId::ROOT).nid();
        let super_block = SuperBlock {
            root_nid: u16::try_from(root).map_err(|_| StoreError::TooLarge)?,
            inodes: plan.order.len() as u64,
            build_time: plan.build_time,
            blocks: plan.blocks,
            meta_block: plan.meta_block,
            uuid,
            algorithm: self.compression.method().map(|(algorithm, _)| algorithm),
            packed_nid: plan.packed.map(|place| place.nid()),
            shared: pieces.is_some_and(|pieces| pieces.shared),
        };
        file.write_all_at(&super_block.encode(), 0).map_err(StoreError::Write)?;
        Ok((file, u64::from(plan.blocks) * BLOCK_U64))
    }
}

struct Metadata<'a> {
    tree: &'a Tree,
    plan: &'a Plan,
    extents: &'a [Extent],
    pieces: Option<&'a Pieces>,
}

impl Metadata<'_> {
    fn write(&self, file: &mut File, first_block: u64) -> io::Result<()> {
        let bytes = u64::from(self.plan.blocks) * BLOCK_U64;
        // Zeros up to the end, so that only what is not zero has to be written.
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(first_block * BLOCK_U64))?;
        let mut out = Out { file: BufWriter::with_capacity(1 << 20, &mut *file), position: first_block * BLOCK_U64 };
        self.write_blocks(&mut out)?;
        self.write_inodes(&mut out)?;
        self.write_packed_inode(&mut out)?;
        out.pad_to(bytes)?;
        out.file.flush()
    }

    /// Directories and symlinks, as far as they do not lie behind their inodes.
    fn write_blocks(&self, out: &mut Out<'_>) -> io::Result<()> {
        for &(id, parent) in &self.plan.order {
            let place = self.plan.place(id);
            let Ok(in_blocks) = usize::try_from(place.bytes_in_blocks()) else { continue };
            if in_blocks == 0 {
                continue;
            }
            if let Some(data) = self.own_data(id, parent) {
                out.pad_to(u64::from(place.first_block) * BLOCK_U64)?;
                out.put(&data[..in_blocks])?;
            }
        }
        out.pad_to(u64::from(self.plan.meta_block) * BLOCK_U64)
    }

    fn write_inodes(&self, out: &mut Out<'_>) -> io::Result<()> {
        let start = u64::from(self.plan.meta_block) * BLOCK_U64;
        for (number, &(id, parent)) in (1_u32..).zip(&self.plan.order) {
            let (inode, place) = (self.tree.get(id), self.plan.place(id));
            let xattrs = encode_xattrs(&inode.meta.xattrs);
            let extent = self.extents[id.index()];
            let file = FileData::new(extent, place.size, self.pieces);
            let record = plan::record(inode, *place, file, number, xattrs.len() as u64);
            out.pad_to(start + place.offset)?;
            match record.encode_compact(self.plan.build_time) {
                Some(compact) => out.put(&compact)?,
                None => out.put(&record.encode_extended())?,
            }
            out.put(&xattrs)?;
            if place.inline
                && let Some(data) = self.own_data(id, parent)
            {
                let tail = usize::try_from(place.bytes_in_blocks()).map_err(io::Error::other)?;
                out.put(&data[tail..])?;
            }
            self.write_map(extent, place.size, out)?;
        }
        Ok(())
    }

    fn write_map(&self, extent: Extent, size: u64, out: &mut Out<'_>) -> io::Result<()> {
        match (extent, self.pieces) {
            (Extent::Packed { offset }, _) => {
                out.align()?;
                out.put(&packed_map(offset))
            }
            (Extent::Pieces { first }, Some(pieces)) => {
                out.align()?;
                write_pieces_map(out, pieces.algorithm, size, pieces_of(pieces, first, size).iter())
            }
            _ => Ok(()),
        }
    }

    fn write_packed_inode(&self, out: &mut Out<'_>) -> io::Result<()> {
        let (Some(place), Some(pieces)) = (self.plan.packed, self.pieces) else { return Ok(()) };
        let mine = || pieces.packed.iter().filter_map(|&index| pieces.all.get(index as usize));
        let blocks = mine().map(|piece| piece.blocks).fold(0, u32::saturating_add);
        out.pad_to(u64::from(self.plan.meta_block) * BLOCK_U64 + place.offset)?;
        out.put(&plan::packed_record(place, blocks, self.plan).encode_extended())?;
        out.align()?;
        write_pieces_map(out, pieces.algorithm, place.size, mine())
    }

    /// The data that the tree itself has: of directories and symlinks.
    fn own_data(&self, id: InodeId, parent: InodeId) -> Option<Vec<u8>> {
        match &self.tree.get(id).kind {
            Kind::Symlink(target) => Some(target.to_vec()),
            Kind::Directory(children) => {
                let entry = |name, id: InodeId| Dirent {
                    name,
                    nid: self.plan.place(id).nid(),
                    file_type: plan::file_type(&self.tree.get(id).kind).dirent_type(),
                };
                let mut entries: Vec<_> = children.iter().map(|(name, &child)| entry(&**name, child)).collect();
                entries.push(entry(b".", id));
                entries.push(entry(b"..", parent));
                entries.sort_unstable_by_key(|entry| entry.name);
                Some(directory::encode(&entries))
            }
            _ => None,
        }
    }
}

/// Sequential output that knows where it is.
struct Out<'f> {
    file: BufWriter<&'f mut File>,
    position: u64,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// To where a map may begin.
    fn align(&mut self) -> io::Result<()> {
        self.pad_to(self.position.next_multiple_of(MAP_ALIGNMENT))
    }

    fn pad_to(&mut self, position: u64) -> io::Result<()> {
        let zeros = position.saturating_sub(self.position);
        self.position += zeros;
        io::copy(&mut io::repeat(0).take(zeros), &mut self.file).map(drop)
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
#[path = "erofs_test.rs"]
mod tests;
