//! What was seen where manifests are, and not used. Law: values; whoever looked decides where they are said.

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::limits::MAX_FILES;
use super::name::Name;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A file whose stem is no name.
    Name { path: PathBuf },
    /// More of those in the directory than are told one by one.
    MoreNames { path: PathBuf, count: usize },
    /// The repository has an agent of a name that the user's own directory has too.
    Shadowed { name: Name, used: PathBuf, unused: PathBuf },
    /// The repository has bottles.
    RepositoryBottles { path: PathBuf, own: PathBuf },
    /// A directory of the repository is a link.
    Link { path: PathBuf },
    /// A directory of the repository cannot be read.
    Unreadable { path: PathBuf, errno: Errno },
    /// A directory with more files than are read.
    TooMany { path: PathBuf },
    /// A manifest of an old version in the repository.
    Old { path: PathBuf },
}

impl Warning {
    pub(super) fn unused(path: PathBuf, errno: Errno) -> Self {
        match errno {
            Errno::ELOOP | Errno::EXDEV => Self::Link { path },
            errno => Self::Unreadable { path, errno },
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { path } => write!(
                f,
                "`{}` is not read: a name is a lower-case letter, then lower-case letters, digits and `-`",
                path.to_string_lossy().chars().flat_map(char::escape_debug).collect::<String>() // any text, a repository's
            ),
            Self::MoreNames { path, count } => {
                write!(f, "`{}` has {count} more files that are not read, as they have no name", path.display())
            }
            Self::Shadowed { name, used, unused } => write!(
                f,
                "agent `{name}` is your own, `{}`; that of the repository, `{}`, is not used: rename one of them",
                used.display(),
                unused.display()
            ),
            Self::RepositoryBottles { path, own } => write!(
                f,
                "`{}` is not read: a repository cannot define bottles; what you trust, copy to `{}`",
                path.display(),
                own.join("bottles").display()
            ),
            Self::Link { path } => {
                write!(f, "`{}` is a symbolic link, which is not followed in a repository", path.display())
            }
            Self::Unreadable { path, errno } => write!(f, "`{}` cannot be read: {}", path.display(), errno.desc()),
            Self::TooMany { path } => {
                write!(f, "`{}` has more than {MAX_FILES} files: the rest is not read", path.display())
            }
            Self::Old { path } => {
                write!(
                    f,
                    "`{}` is a manifest of an old version: agents are files `.bot-bottle/agents/NAME.md`",
                    path.display()
                )
            }
        }
    }
}
