//! The bytes of EROFS: super block, inodes, extended attributes. Law: pure; values in, bytes out.
//!
//! Source: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. What is not compressed is written
//! as Linux 5.4 and later understand it without an incompatible feature bit.

use super::compression::Algorithm;
use super::features::{algorithms, incompatible};
use crate::image::crc32c::crc32c;
use crate::image::tree::{Device, Time, Xattrs};

/// Also the unit of `raw_blkaddr`. 4 KiB: the page of every guest, so that a block is a page-cache page.
pub(crate) const BLOCK: usize = 4096;
pub(crate) const BLOCK_U64: u64 = BLOCK as u64;
/// Inodes lie on multiples of this; a node id counts them from the start of the metadata area.
pub(crate) const SLOT: u64 = 32;

const MAGIC: u32 = 0xe0f5_e1e2;
const SUPER_OFFSET: usize = 1024;
const BLOCK_SIZE_BITS: u8 = 12;
const FEATURE_COMPAT_SB_CHKSUM: u32 = 1;
const FEATURE_COMPAT_MTIME: u32 = 2;

pub(crate) const COMPACT_BYTES: u64 = 32;
pub(crate) const EXTENDED_BYTES: u64 = 64;

const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFREG: u16 = 0o100_000;
const S_IFLNK: u16 = 0o120_000;
const S_IFSOCK: u16 = 0o140_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileType {
    File,
    Directory,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    Symlink,
}

impl FileType {
    pub(crate) fn mode_bits(self) -> u16 {
        match self {
            Self::File => S_IFREG,
            Self::Directory => S_IFDIR,
            Self::CharDevice => S_IFCHR,
            Self::BlockDevice => S_IFBLK,
            Self::Fifo => S_IFIFO,
            Self::Socket => S_IFSOCK,
            Self::Symlink => S_IFLNK,
        }
    }

    /// `file_type` of a directory entry: the kernel's `FT_*`.
    pub(crate) fn dirent_type(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// How an inode's data lies (`EROFS_INODE_*`), without the chunked way and the one with compact indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// All of it in blocks.
    FlatPlain,
    /// Whole blocks, then the rest behind the inode.
    FlatInline,
    /// A map of extents behind the inode.
    CompressedFull,
}

impl DataLayout {
    fn bits(self) -> u16 {
        match self {
            Self::FlatPlain => 0,
            Self::CompressedFull => 1 << 1,
            Self::FlatInline => 2 << 1,
        }
    }
}

/// One inode's record, all decisions taken.
#[derive(Debug, Clone)]
pub(crate) struct InodeRecord {
    pub(crate) layout: DataLayout,
    pub(crate) file_type: FileType,
    pub(crate) permissions: u16,
    pub(crate) xattr_bytes: u64,
    pub(crate) size: u64,
    /// `i_u`: first block, how many blocks (compressed), or the device number.
    pub(crate) union_field: u32,
    pub(crate) number: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) mtime: Time,
}

impl InodeRecord {
    fn mode(&self) -> u16 {
        self.file_type.mode_bits() | (self.permissions & 0o7777)
    }

    /// `i_xattr_icount`: the header counts as one, every further four bytes as one.
    fn xattr_count(&self) -> [u8; 2] {
        let count = self.xattr_bytes.checked_sub(XATTR_HEADER).map_or(0, |entries| 1 + entries / 4);
        u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes()
    }

    pub(crate) fn encode_extended(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        put(&mut bytes, 0, &(self.layout.bits() | 1).to_le_bytes());
        put(&mut bytes, 2, &self.xattr_count());
        put(&mut bytes, 4, &self.mode().to_le_bytes());
        put(&mut bytes, 8, &self.size.to_le_bytes());
        put(&mut bytes, 16, &self.union_field.to_le_bytes());
        put(&mut bytes, 20, &self.number.to_le_bytes());
        put(&mut bytes, 24, &self.uid.to_le_bytes());
        put(&mut bytes, 28, &self.gid.to_le_bytes());
        put(&mut bytes, 32, &self.mtime.seconds.to_le_bytes());
        put(&mut bytes, 40, &self.mtime.nanoseconds.to_le_bytes());
        put(&mut bytes, 44, &self.links.to_le_bytes());
        bytes
    }

    /// The short form, if everything fits. It has no time of its own: the kernel shows the super block's.
    pub(crate) fn encode_compact(&self, build_time: Time) -> Option<[u8; 32]> {
        if self.mtime != build_time {
            return None;
        }
        let links = u16::try_from(self.links).ok()?;
        let size = u32::try_from(self.size).ok()?;
        let (uid, gid) = (u16::try_from(self.uid).ok()?, u16::try_from(self.gid).ok()?);
        let mut bytes = [0; 32];
        put(&mut bytes, 0, &self.layout.bits().to_le_bytes());
        put(&mut bytes, 2, &self.xattr_count());
        put(&mut bytes, 4, &self.mode().to_le_bytes());
        put(&mut bytes, 6, &links.to_le_bytes());
        put(&mut bytes, 8, &size.to_le_bytes());
        put(&mut bytes, 16, &self.union_field.to_le_bytes());
        put(&mut bytes, 20, &self.number.to_le_bytes());
        put(&mut bytes, 24, &uid.to_le_bytes());
        put(&mut bytes, 26, &gid.to_le_bytes());
        Some(bytes)
    }
}

/// Linux has no devices beyond these (include/linux/kdev_t.h).
pub(crate) fn device_fits(device: Device) -> bool {
    device.major < 1 << 12 && device.minor < 1 << 20
}

/// `new_encode_dev` of the kernel's include/linux/kdev_t.h: 12 bits of major, 20 of minor; of a device that fits.
pub(crate) fn device_number(device: Device) -> u32 {
    (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xfff00) << 12)
}

/// `struct erofs_xattr_ibody_header`, no shared attributes.
const XATTR_HEADER: u64 = 12;

/// A prefix that a number stands for in `e_name_index`. The two ACLs are whole names.
const XATTR_PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The attribute as (index, rest of its name); `None` if EROFS has no way to store it.
fn xattr_key(name: &[u8]) -> Option<(u8, &[u8])> {
    let (rest, index) =
        XATTR_PREFIXES.iter().find_map(|(prefix, index)| Some((name.strip_prefix(*prefix)?, *index)))?;
    let whole_name = matches!(index, 2 | 3);
    (rest.is_empty() == whole_name && rest.len() <= usize::from(u8::MAX)).then_some((index, rest))
}

/// Can EROFS store an attribute of this name and size?
pub(crate) fn xattr_fits(name: &[u8], value: &[u8]) -> bool {
    xattr_key(name).is_some() && value.len() <= usize::from(u16::MAX)
}

/// Can an inode have all of these? Its area is counted in words of four bytes, in 16 bits.
pub(crate) fn xattrs_fit(xattrs: &Xattrs) -> bool {
    let entries = xattrs.iter().map(|(name, value)| (name.len() + value.len() + 4).next_multiple_of(4));
    entries.sum::<usize>() + 12 <= 4 * usize::from(u16::MAX)
}

/// The inline attribute area that follows an inode; empty if there is none.
pub(crate) fn encode_xattrs(xattrs: &Xattrs) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in xattrs {
        let Some((index, rest)) = xattr_key(name) else { continue };
        let (Ok(name_length), Ok(value_length)) = (u8::try_from(rest.len()), u16::try_from(value.len())) else {
            continue;
        };
        if bytes.is_empty() {
            bytes.resize(12, 0);
        }
        bytes.extend([name_length, index]);
        bytes.extend(value_length.to_le_bytes());
        bytes.extend(rest);
        bytes.extend(&**value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[derive(Debug, Clone)]
pub(crate) struct SuperBlock {
    pub(crate) root_nid: u16,
    pub(crate) inodes: u64,
    pub(crate) build_time: Time,
    pub(crate) blocks: u32,
    pub(crate) meta_block: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) algorithm: Option<Algorithm>,
    /// Of the packed file, if there is one.
    pub(crate) packed_nid: Option<u64>,
    /// Some extent belongs to several places of files.
    pub(crate) shared: bool,
}

const SUPER_BYTES: usize = 128;

impl SuperBlock {
    /// Block 0 as a whole: 1 KiB left to boot loaders, the super block, the algorithm's configuration behind its length,
    /// zeros. The checksum covers all but the first.
    pub(crate) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let sb = &mut block[SUPER_OFFSET..];
        put(sb, 0, &MAGIC.to_le_bytes());
        put(sb, 8, &(FEATURE_COMPAT_SB_CHKSUM | FEATURE_COMPAT_MTIME).to_le_bytes());
        put(sb, 12, &[BLOCK_SIZE_BITS]);
        put(sb, 14, &self.root_nid.to_le_bytes());
        put(sb, 16, &self.inodes.to_le_bytes());
        put(sb, 24, &self.build_time.seconds.to_le_bytes());
        put(sb, 32, &self.build_time.nanoseconds.to_le_bytes());
        put(sb, 36, &self.blocks.to_le_bytes());
        put(sb, 40, &self.meta_block.to_le_bytes());
        put(sb, 48, &self.uuid);
        put(sb, 80, &incompatible(self.algorithm, self.packed_nid.is_some() || self.shared).to_le_bytes());
        put(sb, 84, &algorithms(self.algorithm).to_le_bytes());
        put(sb, 96, &self.packed_nid.unwrap_or(0).to_le_bytes());
        if let Some(algorithm) = self.algorithm {
            let configuration = algorithm.configuration();
            put(sb, SUPER_BYTES, &u16::try_from(configuration.len()).unwrap_or(0).to_le_bytes());
            put(sb, SUPER_BYTES + 2, &configuration);
        }
        let checksum = crc32c(!0, sb);
        put(sb, 4, &checksum.to_le_bytes());
        block
    }
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}
