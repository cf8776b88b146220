//! Where bottle-vmm keeps things, by the XDG base directory specification (which has relative values ignored).

use std::env;
use std::path::PathBuf;

/// Neither the variable nor HOME is an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no place to keep files: neither ${variable} nor $HOME is an absolute path")]
pub struct NoHome {
    pub variable: &'static str,
}

impl NoHome {
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(format!("set HOME, or {} to a directory of yours", self.variable))
    }
}

/// `$XDG_DATA_HOME/bottle-vmm`: kept until a person removes it.
///
/// # Errors
/// [`NoHome`].
pub fn data() -> Result<PathBuf, NoHome> {
    base("XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CACHE_HOME/bottle-vmm`: may be removed at any time, costs work only.
///
/// # Errors
/// [`NoHome`].
pub fn cache() -> Result<PathBuf, NoHome> {
    base("XDG_CACHE_HOME", ".cache")
}

fn base(variable: &'static str, under_home: &str) -> Result<PathBuf, NoHome> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(under_home)));
    Ok(base.ok_or(NoHome { variable })?.join("bottle-vmm"))
}
