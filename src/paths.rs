//! Where bottle-vmm keeps things, by the XDG base directory specification (which has relative values ignored).

use std::env;
use std::path::PathBuf;

/// The variable is not an absolute path, and neither is HOME, or may not stand in for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no place to keep files: ${variable}, or else $HOME, has to be an absolute path")]
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

/// `$BOT_BOTTLE_HOME`, or `~/.bot-bottle`: bottles, agents and state, shared with bot-bottle.
///
/// # Errors
/// [`NoHome`]. A relative `BOT_BOTTLE_HOME` is an error too: which bottles there are must not depend on the current directory.
pub fn bot_bottle() -> Result<PathBuf, NoHome> {
    let no_home = NoHome { variable: "BOT_BOTTLE_HOME" };
    match env::var_os("BOT_BOTTLE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from) {
        Some(path) if path.is_absolute() => Ok(path),
        Some(_) => Err(no_home),
        None => Ok(home().ok_or(no_home)?.join(".bot-bottle")),
    }
}

/// `$HOME`, if it is an absolute path.
#[must_use]
pub fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// `$CODEX_HOME`, or `~/.codex`: where this host's Codex keeps its login.
#[must_use]
pub fn codex_home() -> Option<PathBuf> {
    let set = env::var_os("CODEX_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(home()?.join(".codex")))
}

fn base(variable: &'static str, under_home: &str) -> Result<PathBuf, NoHome> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(under_home)));
    Ok(base.ok_or(NoHome { variable })?.join("bottle-vmm"))
}
