//! Where everything but file data lies: inode positions, directory blocks, link counts. Law: pure; a tree and extents in.
//!
//! An image is block 0 (super block), file data, directory and long-symlink blocks, then the metadata area. Inodes are
//! in breadth-first order, so the inodes that one directory names lie side by side; the packed file's comes last.

use std::collections::HashMap;

use super::compressed::Pieces;
use super::data::{Extent, StoreError};
use super::directory::directory_bytes;
use super::format::{
    BLOCK_U64, COMPACT_BYTES, DataLayout, EXTENDED_BYTES, FileType, InodeRecord, SLOT, device_number, encode_xattrs,
};
use super::map::{map_bytes, pieces_map_bytes, pieces_of};
use crate::image::tree::{Inode, InodeId, Kind, Time, Tree};

/// The first slot stays empty: node 0 would be inode number 0, which readdir(3) takes for a deleted entry.
const FIRST_OFFSET: u64 = SLOT;

/// After the last inode: fsck.erofs 1.5 reads an attribute header behind inodes that have none.
const MARGIN: u64 = 12;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// From the start of the metadata area.
    pub(crate) offset: u64,
    /// Of directory and symlink data that does not lie behind the inode.
    pub(crate) first_block: u32,
    pub(crate) size: u64,
    pub(crate) inline: bool,
    links: u32,
}

impl Place {
    pub(crate) fn nid(&self) -> u64 {
        self.offset / SLOT
    }

    /// Bytes of `size` that lie in blocks.
    pub(crate) fn bytes_in_blocks(&self) -> u64 {
        if self.inline { self.size - self.size % BLOCK_U64 } else { self.size }
    }
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// Reachable inodes with the directory each was met in.
    pub(crate) order: Vec<(InodeId, InodeId)>,
    pub(crate) build_time: Time,
    pub(crate) meta_block: u32,
    pub(crate) blocks: u32,
    /// Of the packed file, if there is one.
    pub(crate) packed: Option<Place>,
    /// By arena index.
    places: Vec<Place>,
}

/// The alignment of the map behind a compressed inode.
pub(crate) const MAP_ALIGNMENT: u64 = 8;

impl Plan {
    /// `next_block` is the first one after the file data, which lies as `extents`, by arena index, say.
    pub(crate) fn new(
        tree: &Tree,
        extents: &[Extent],
        pieces: Option<&Pieces>,
        next_block: u32,
    ) -> Result<Self, StoreError> {
        let order = tree.breadth_first();
        let build_time = commonest_time(tree, &order);
        let mut places = vec![Place::default(); tree.arena_len()];
        count_links(tree, &order, &mut places);
        let mut block = u64::from(next_block);
        let mut offset = FIRST_OFFSET;
        for &(id, _) in &order {
            let inode = tree.get(id);
            let place = &mut places[id.index()];
            place.size = data_bytes(inode);
            let xattr_bytes = encode_xattrs(&inode.meta.xattrs).len() as u64;
            let file = FileData::default();
            let compact = record(inode, *place, file, 0, xattr_bytes).encode_compact(build_time).is_some();
            let header = if compact { COMPACT_BYTES } else { EXTENDED_BYTES };
            let tail = place.size % BLOCK_U64;
            let owns_blocks = matches!(inode.kind, Kind::Directory(_) | Kind::Symlink(_));
            place.inline = owns_blocks && tail > 0 && header + xattr_bytes + tail <= BLOCK_U64;
            if owns_blocks {
                place.first_block = u32::try_from(block).map_err(|_| StoreError::TooLarge)?;
                block += place.bytes_in_blocks().div_ceil(BLOCK_U64);
            }
            // The kernel wants inline data, and for a fast symlink the inode too, inside one block.
            let together = if place.inline { header + xattr_bytes + tail } else { header };
            place.offset = fit_in_block(offset, together);
            let end = place.offset + header + xattr_bytes;
            let map = map_bytes(extents[id.index()], place.size);
            let end = if map > 0 { end.next_multiple_of(MAP_ALIGNMENT) + map } else { end };
            offset = (if place.inline { end + tail } else { end }).next_multiple_of(SLOT);
        }
        let packed = pieces.filter(|pieces| !pieces.packed.is_empty()).map(|pieces| {
            let place =
                Place { offset: fit_in_block(offset, EXTENDED_BYTES), size: pieces.packed_bytes, ..Place::default() };
            offset = place.offset + EXTENDED_BYTES + pieces_map_bytes(place.size);
            place
        });
        let meta_block = u32::try_from(block).map_err(|_| StoreError::TooLarge)?;
        let blocks = u32::try_from(block + (offset + MARGIN).div_ceil(BLOCK_U64)).map_err(|_| StoreError::TooLarge)?;
        Ok(Self { order, build_time, meta_block, blocks, packed, places })
    }

    pub(crate) fn place(&self, id: InodeId) -> &Place {
        &self.places[id.index()]
    }
}

/// What an inode's record says about a file's data.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileData {
    pub(crate) compressed: bool,
    /// The first block, or if it is compressed, how many there are.
    pub(crate) block_field: u32,
}

impl FileData {
    pub(crate) fn new(extent: Extent, size: u64, pieces: Option<&Pieces>) -> Self {
        let (compressed, block_field) = match extent {
            Extent::Plain { first_block } => (false, first_block),
            // What stat(2) shows; none at all would be taken for one big hole, by tar(1) for one.
            Extent::Packed { .. } => (true, u32::try_from(size.div_ceil(BLOCK_U64)).unwrap_or(u32::MAX)),
            Extent::Pieces { first } => {
                let pieces = pieces.map_or(&[][..], |pieces| pieces_of(pieces, first, size));
                (true, pieces.iter().map(|piece| piece.blocks).fold(0, u32::saturating_add))
            }
        };
        Self { compressed, block_field }
    }
}

/// The record of an inode that was given its place; `number` is what 32-bit stat(2) shows.
pub(crate) fn record(inode: &Inode, place: Place, file: FileData, number: u32, xattr_bytes: u64) -> InodeRecord {
    InodeRecord {
        layout: match (place.inline, file.compressed) {
            (true, _) => DataLayout::FlatInline,
            (false, true) => DataLayout::CompressedFull,
            (false, false) => DataLayout::FlatPlain,
        },
        file_type: file_type(&inode.kind),
        permissions: inode.meta.mode,
        xattr_bytes,
        size: place.size,
        union_field: match inode.kind {
            Kind::File { .. } => file.block_field,
            Kind::Directory(_) | Kind::Symlink(_) => place.first_block,
            Kind::CharDevice(device) | Kind::BlockDevice(device) => device_number(device),
            Kind::Fifo | Kind::Socket => 0,
        },
        number,
        uid: inode.meta.uid,
        gid: inode.meta.gid,
        links: place.links,
        mtime: inode.meta.mtime,
    }
}

/// The record of the packed file, which no directory names.
pub(crate) fn packed_record(place: Place, blocks: u32, plan: &Plan) -> InodeRecord {
    InodeRecord {
        layout: DataLayout::CompressedFull,
        file_type: FileType::File,
        permissions: 0o600,
        xattr_bytes: 0,
        size: place.size,
        union_field: blocks,
        number: u32::try_from(plan.order.len() + 1).unwrap_or(u32::MAX),
        uid: 0,
        gid: 0,
        links: 1,
        mtime: plan.build_time,
    }
}

pub(crate) fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::File { .. } => FileType::File,
        Kind::Directory(_) => FileType::Directory,
        Kind::Symlink(_) => FileType::Symlink,
        Kind::CharDevice(_) => FileType::CharDevice,
        Kind::BlockDevice(_) => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
    }
}

fn data_bytes(inode: &Inode) -> u64 {
    match &inode.kind {
        Kind::File { size, .. } => *size,
        Kind::Symlink(target) => target.len() as u64,
        Kind::Directory(children) => {
            let dots = [&b"."[..], b".."];
            let before = children.keys().take_while(|name| &***name < dots[0]).count();
            let between = children.keys().skip(before).take_while(|name| &***name < dots[1]).count();
            let lengths = || children.keys().map(|name| name.len());
            directory_bytes(
                lengths()
                    .take(before)
                    .chain([1])
                    .chain(lengths().skip(before).take(between))
                    .chain([2])
                    .chain(lengths().skip(before + between)),
            )
        }
        _ => 0,
    }
}

/// `offset`, or the next block's start if `bytes` would not fit in what is left of this one.
fn fit_in_block(offset: u64, bytes: u64) -> u64 {
    if offset % BLOCK_U64 + bytes > BLOCK_U64 { offset.next_multiple_of(BLOCK_U64) } else { offset }
}

/// An inode with this time can do without one of its own, which halves it. Of equally common ones the earliest.
fn commonest_time(tree: &Tree, order: &[(InodeId, InodeId)]) -> Time {
    let mut counts: HashMap<Time, u32> = HashMap::new();
    for &(id, _) in order {
        *counts.entry(tree.get(id).meta.mtime).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|&(time, count)| (count, std::cmp::Reverse(time)))
        .map_or(Time::default(), |most| most.0)
}

fn count_links(tree: &Tree, order: &[(InodeId, InodeId)], places: &mut [Place]) {
    for &(id, parent) in order {
        let Some(children) = tree.children(id) else { continue };
        for &child in children.values() {
            if !tree.get(child).kind.is_directory() {
                places[child.index()].links += 1;
            }
        }
        places[id.index()].links += 2;
        if id != InodeId::ROOT {
            places[parent.index()].links += 1;
        }
    }
}
