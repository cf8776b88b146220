//! Where kernels live, by the XDG base directory specification.

use std::env;
use std::path::{Path, PathBuf};

use super::KernelError;

const OURS: &str = "bottle-vmm";

/// `$XDG_DATA_HOME/bottle-vmm`: kept until a person removes it.
pub(super) fn data() -> Result<PathBuf, KernelError> {
    base("XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CACHE_HOME/bottle-vmm`: may be removed at any time, costs work only.
pub(super) fn cache() -> Result<PathBuf, KernelError> {
    base("XDG_CACHE_HOME", ".cache")
}

fn base(variable: &'static str, under_home: &str) -> Result<PathBuf, KernelError> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home: PathBuf| home.join(under_home));
    let base = absolute(variable).or_else(home).ok_or(KernelError::NoHome { variable })?;
    Ok(base.join(Path::new(OURS)))
}
