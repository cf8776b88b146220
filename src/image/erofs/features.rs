//! What a kernel must be able to do to read an image. Law: pure.
//!
//! A kernel that cannot refuses to mount, and all a guest could say then is that it has no root. So whoever starts one
//! asks here before. Source: fs/erofs/erofs_fs.h, `EROFS_FEATURE_INCOMPAT_*`.

use super::compression::Algorithm;

const ZERO_PADDING: u32 = 1;
/// One bit for two things that came together: configurations of algorithms, and extents of several blocks.
const CONFIGURATIONS_AND_BIG_CLUSTERS: u32 = 2;
/// One bit for two things again: a packed file, and extents that are shared.
const FRAGMENTS_AND_DEDUPE: u32 = 0x20;

const SUPER_OFFSET: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;

/// The incompatible features of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `feature_incompat` of the super block.
    pub incompatible: u32,
    /// `available_compr_algs` of the super block: a bit for each algorithm.
    pub algorithms: u16,
}

impl Features {
    pub(crate) fn new(algorithm: Option<Algorithm>, packed_or_shared: bool) -> Self {
        let Some(algorithm) = algorithm else { return Self { incompatible: 0, algorithms: 0 } };
        let fragments = if packed_or_shared { FRAGMENTS_AND_DEDUPE } else { 0 };
        Self {
            incompatible: ZERO_PADDING | CONFIGURATIONS_AND_BIG_CLUSTERS | fragments,
            algorithms: 1 << algorithm.number(),
        }
    }

    /// Those of the image that begins with `start`, of which 4 KiB are enough. `None` if it is no EROFS.
    pub fn of_image(start: &[u8]) -> Option<Self> {
        let field = |offset| start.get(SUPER_OFFSET + offset..)?.first_chunk::<4>().copied().map(u32::from_le_bytes);
        if field(0)? != MAGIC {
            return None;
        }
        let [low, high, ..] = field(84)?.to_le_bytes();
        Some(Self { incompatible: field(80)?, algorithms: u16::from_le_bytes([low, high]) })
    }

    /// The first Linux that has all of them, as major and minor number.
    pub fn first_kernel(&self) -> (u32, u32) {
        if self.needs_zstd() {
            (6, 10)
        } else if self.incompatible & FRAGMENTS_AND_DEDUPE != 0 {
            (6, 1)
        } else if self.incompatible & CONFIGURATIONS_AND_BIG_CLUSTERS != 0 {
            (5, 13)
        } else {
            (5, 4)
        }
    }

    /// The options that a kernel must be built with.
    pub fn kernel_options(&self) -> &'static [&'static str] {
        let options = &["CONFIG_EROFS_FS", "CONFIG_EROFS_FS_ZIP", "CONFIG_EROFS_FS_ZIP_ZSTD"];
        match (self.incompatible, self.needs_zstd()) {
            (0, _) => &options[..1],
            (_, false) => &options[..2],
            (_, true) => options,
        }
    }

    fn needs_zstd(&self) -> bool {
        self.algorithms & 1 << Algorithm::Zstd.number() != 0 && self.incompatible != 0
    }
}
