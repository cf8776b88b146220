//! What a kernel must be able to do to read an image. Law: pure.
//!
//! A kernel that cannot refuses to mount, and all a guest could say then is that it has no root. So an artifact says what it
//! needs, and whoever starts a guest asks before. Source: fs/erofs/erofs_fs.h, `EROFS_FEATURE_INCOMPAT_*`.

use serde::{Deserialize, Serialize};

use super::compression::Algorithm;

/// Something that not every kernel with EROFS has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Feature {
    /// LZ4, in extents of several blocks.
    #[serde(rename = "erofs-lz4")]
    Lz4,
    /// A packed file, and extents that several files share.
    #[serde(rename = "erofs-fragments")]
    Fragments,
    #[serde(rename = "erofs-zstd")]
    Zstd,
}

impl Feature {
    /// The first Linux that has it, as major and minor number.
    #[must_use]
    pub fn first_kernel(self) -> (u32, u32) {
        match self {
            Self::Lz4 => (5, 13),
            Self::Fragments => (6, 1),
            Self::Zstd => (6, 10),
        }
    }

    /// The option that such a kernel must be built with.
    #[must_use]
    pub fn kernel_option(self) -> &'static str {
        match self {
            Self::Lz4 | Self::Fragments => "CONFIG_EROFS_FS_ZIP",
            Self::Zstd => "CONFIG_EROFS_FS_ZIP_ZSTD",
        }
    }
}

const ZERO_PADDING: u32 = 1;
/// One bit for two things that came together: configurations of algorithms, and extents of several blocks.
const CONFIGURATIONS_AND_BIG_CLUSTERS: u32 = 2;
/// One bit for two things again: a packed file, and extents that are shared.
const FRAGMENTS_AND_DEDUPE: u32 = 0x20;

/// `feature_incompat` of the super block.
pub(crate) fn incompatible(algorithm: Option<Algorithm>, packed_or_shared: bool) -> u32 {
    match algorithm {
        None => 0,
        Some(_) if packed_or_shared => ZERO_PADDING | CONFIGURATIONS_AND_BIG_CLUSTERS | FRAGMENTS_AND_DEDUPE,
        Some(_) => ZERO_PADDING | CONFIGURATIONS_AND_BIG_CLUSTERS,
    }
}

/// `available_compr_algs` of the super block: a bit for each algorithm.
pub(crate) fn algorithms(algorithm: Option<Algorithm>) -> u16 {
    algorithm.map_or(0, |algorithm| 1 << algorithm.number())
}
