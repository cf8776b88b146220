//! Whether a kernel can read the root of an image: asked before anything boots. Law: pure.
//!
//! A guest whose kernel cannot has no root, and no words for what its kernel lacks.

use super::report::Failure;
use crate::image::{Feature, RootCompression};
use crate::kernel::Installed;

/// A kernel and an image that do not go together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel `{kernel}` cannot read an image that is compressed with {compression}: that takes {wanted}")]
struct Unfit {
    kernel: String,
    compression: RootCompression,
    /// What the kernel lacks.
    wanted: String,
    /// What it can read.
    readable: Option<RootCompression>,
}

impl Unfit {
    fn hint(&self) -> String {
        let kernel = "take one that can (`bottle-vmm kernel build` makes it, `--kernel firmware` is its name)";
        match self.readable {
            Some(compression) => {
                format!("{kernel}, or have the image packed with `--compression {compression}`, which this one reads")
            }
            None => kernel.to_owned(),
        }
    }
}

/// Nothing is known of a kernel that is a file somewhere: it has to be tried.
pub fn check(kernel: Option<&Installed>, compression: RootCompression) -> Result<(), Failure> {
    match kernel.map(|kernel| unfit(kernel, compression)) {
        Some(Some(unfit)) => {
            let hint = unfit.hint();
            Err(Failure::new(unfit, Some(hint)))
        }
        _ => Ok(()),
    }
}

/// What to say of a kernel that does not read images as they are packed without a word.
pub fn warning(kernel: &Installed) -> Option<String> {
    let Unfit { kernel, compression, wanted, readable } = unfit(kernel, RootCompression::default())?;
    let readable = readable.map(|other| format!("; `run --compression {other}` packs one for it")).unwrap_or_default();
    Some(format!(
        "{kernel} cannot read images with the usual compression ({compression}), which takes {wanted}{readable}"
    ))
}

fn unfit(kernel: &Installed, compression: RootCompression) -> Option<Unfit> {
    let missing = |compression: RootCompression| compression.features().iter().find(|&&feature| lacks(kernel, feature));
    let feature = missing(compression)?;
    let (major, minor) = feature.first_kernel();
    Some(Unfit {
        kernel: kernel.name.clone(),
        compression,
        wanted: format!("Linux {major}.{minor} or later with {}", feature.kernel_option()),
        readable: RootCompression::ALL.into_iter().rev().find(|&other| missing(other).is_none()),
    })
}

/// A version that is none of Linux's says nothing.
fn lacks(kernel: &Installed, feature: Feature) -> bool {
    let has_option = kernel.options.iter().any(|option| option == feature.kernel_option());
    !has_option || kernel.release().is_some_and(|release| release < feature.first_kernel())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Kind, options};
    use std::path::PathBuf;

    const ZSTD: RootCompression = RootCompression::Zstd { level: None };

    fn kernel(version: &str, options: &[&str]) -> Installed {
        Installed {
            name: format!("stock-{version}"),
            kind: Kind::Stock,
            version: version.to_owned(),
            source: String::new(),
            sha256: String::new(),
            created: 0,
            options: options.iter().map(ToString::to_string).collect(),
            vmlinux: PathBuf::new(),
            modules: None,
        }
    }

    #[test]
    fn what_a_feature_needs_is_kept_on_record() {
        let features = RootCompression::ALL.iter().flat_map(|compression| compression.features());
        assert!(features.map(|feature| feature.kernel_option()).all(|option| options::RECORDED.contains(&option)));
    }

    #[test]
    fn version_and_options_both_count() {
        let both = options::RECORDED;
        for (version, options, readable) in [
            ("6.12.117", &both[..], &RootCompression::ALL[..]),
            ("6.10", &both, &RootCompression::ALL),
            ("6.12.117", &both[..1], &RootCompression::ALL[..2]),
            ("6.9.12", &both, &RootCompression::ALL[..2]),
            ("6.1.0-56-cloud-amd64", &both, &RootCompression::ALL[..2]),
            ("5.15.0", &both, &RootCompression::ALL[..1]),
            ("6.12.117", &[], &RootCompression::ALL[..1]),
            ("next-20260101", &both, &RootCompression::ALL),
        ] {
            let kernel = kernel(version, options);
            for compression in RootCompression::ALL {
                let unfit = unfit(&kernel, compression);
                assert_eq!(unfit.is_none(), readable.contains(&compression), "{version} {options:?}: {unfit:?}");
                assert!(unfit.is_none_or(|unfit| unfit.readable == readable.last().copied()));
            }
        }
    }

    #[test]
    fn who_installs_a_kernel_that_does_not_read_the_usual_is_told_so() {
        // Debian 11's: EROFS with LZ4, but of an earlier form.
        let warned = warning(&kernel("5.10.0-46-cloud-amd64", &options::RECORDED[..1])).unwrap();
        assert!(warned.contains("(lz4)") && warned.contains("`run --compression none`"), "{warned}");
        assert_eq!(warning(&kernel("6.1.0-56-cloud-amd64", &options::RECORDED[..1])), None);
    }

    #[test]
    fn what_is_lacking_is_named_with_two_ways_out() {
        let stock = kernel("6.1.0-56-cloud-amd64", &options::RECORDED[..1]);
        let unfit = unfit(&stock, ZSTD).unwrap();
        assert_eq!(
            unfit.to_string(),
            "kernel `stock-6.1.0-56-cloud-amd64` cannot read an image that is compressed with zstd: that takes Linux 6.10 or \
             later with CONFIG_EROFS_FS_ZIP_ZSTD"
        );
        assert!(unfit.hint().contains("kernel build") && unfit.hint().contains("--compression lz4"));
        assert!(check(None, ZSTD).is_ok() && check(Some(&stock), RootCompression::Lz4).is_ok());
    }
}
