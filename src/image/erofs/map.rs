//! The map behind a compressed inode: where its extents begin and where their blocks are. Law: pure.
//!
//! Source: fs/erofs/erofs_fs.h, `struct z_erofs_map_header` and `z_erofs_lcluster_index`; fs/erofs/zmap.c. This is the
//! map with full indexes, eight bytes for every 4 KiB of file. The compact one would take a quarter, half a percent of an
//! image, and needs arithmetic over packed bits in the reader; this one is looked up.

use std::io::{self, Write};

use super::compressed::{Piece, Pieces};
use super::compression::Algorithm;
use super::data::Extent;
use super::format::{BLOCK, BLOCK_U64};

/// The header alone.
const HEADER: u64 = 8;
/// The header, and as much that is reserved.
const BEFORE_INDEXES: u64 = 16;
const INDEX: u64 = 8;

/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1`: extents may take several blocks.
const ADVISE_BIG_CLUSTERS: u16 = 2;
/// In `h_clusterbits`: all of the file is in the packed one, at the offset that is the header's other 63 bits.
const PACKED: u64 = 1 << 63;

/// `Z_EROFS_LCLUSTER_TYPE_*`.
const TYPE_PLAIN: u16 = 0;
const TYPE_HEAD: u16 = 1;
const TYPE_NONHEAD: u16 = 2;
/// `Z_EROFS_LI_D0_CBLKCNT`: the first one after a head says how many blocks the extent takes.
const BLOCK_COUNT: u16 = 1 << 11;

/// How many bytes the map of a file of `size` bytes takes. It begins on a multiple of eight.
pub(crate) fn map_bytes(extent: Extent, size: u64) -> u64 {
    match extent {
        Extent::Plain { .. } => 0,
        Extent::Packed { .. } => HEADER,
        Extent::Pieces { .. } => pieces_map_bytes(size),
    }
}

pub(crate) fn pieces_map_bytes(size: u64) -> u64 {
    BEFORE_INDEXES + size.div_ceil(BLOCK_U64) * INDEX
}

/// The map of a file that is all in the packed one.
pub(crate) fn packed_map(offset: u64) -> [u8; 8] {
    (offset | PACKED).to_le_bytes()
}

/// Writes the map of a file of `size` bytes that is these pieces, one by one: that of 64 GiB is 128 MiB.
pub(crate) fn write_pieces_map<'p>(
    out: &mut dyn Write,
    algorithm: Algorithm,
    size: u64,
    pieces: impl Iterator<Item = &'p Piece>,
) -> io::Result<()> {
    let mut map = vec![0; 4];
    map.extend(ADVISE_BIG_CLUSTERS.to_le_bytes());
    map.extend([algorithm.number(), 0]);
    map.extend([0; 8]);
    let mut clusters = size.div_ceil(BLOCK_U64);
    let most = (algorithm.extent_bytes() / BLOCK) as u64;
    for piece in pieces {
        let count = clusters.min(most);
        clusters -= count;
        index(piece, u16::try_from(count).unwrap_or(u16::MAX), &mut map);
        out.write_all(&map)?;
        map.clear();
    }
    out.write_all(&map)
}

/// The indexes of one extent.
fn index(piece: &Piece, clusters: u16, map: &mut Vec<u8>) {
    let mut put = |kind: u16, low: u16, high: u16| {
        map.extend(kind.to_le_bytes());
        map.extend([0; 2]);
        map.extend(low.to_le_bytes());
        map.extend(high.to_le_bytes());
    };
    let halves = |block: u32| {
        let [a, b, c, d] = block.to_le_bytes();
        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
    };
    if piece.plain {
        for cluster in 0..clusters {
            // Each is an extent of its own: Linux 6.1 knows plain ones of one block only.
            let (low, high) = halves(piece.first_block + u32::from(cluster));
            put(TYPE_PLAIN, low, high);
        }
        return;
    }
    let (low, high) = halves(piece.first_block);
    put(TYPE_HEAD, low, high);
    let blocks = u16::try_from(piece.blocks).unwrap_or(u16::MAX);
    for cluster in 1..clusters {
        // Back to the head, and on to the next one.
        let back = if cluster == 1 { blocks | BLOCK_COUNT } else { cluster };
        put(TYPE_NONHEAD, back, clusters - cluster);
    }
}

/// The pieces of a file, and the blocks they take.
pub(crate) fn pieces_of(pieces: &Pieces, first: u32, size: u64) -> &[Piece] {
    let extents = size.div_ceil(pieces.algorithm.extent_bytes() as u64);
    let rest = pieces.all.get(first as usize..).unwrap_or_default();
    &rest[..usize::try_from(extents).map_or(rest.len(), |extents| extents.min(rest.len()))]
}
