//! What can go wrong between asking for a package and having it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::Suite;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    #[error("cannot {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },

    #[error("`{program}` is not on this machine")]
    NoApt { program: &'static str },

    #[error("`{program}` could not be started")]
    Start { program: &'static str, source: io::Error },

    #[error("no Debian archive among the sources of apt in `{}`", etc_apt.display())]
    NoSources { etc_apt: PathBuf },

    #[error("no package `{package}` in {suite}")]
    NoPackage { package: String, suite: Suite },

    #[error("`{package}` depends on no `{prefix}*`")]
    NoDependency { package: String, prefix: String },

    #[error("`{command}` failed ({status}){}", indented(last_lines))]
    Failed { command: String, status: ExitStatus, last_lines: Vec<String> },

    #[error("`apt-get download {package}` left no file `{}`", file.display())]
    NotDownloaded { package: String, file: PathBuf },

    #[error("not installed here: {}", packages.join(", "))]
    NeedsRoot { packages: Vec<String> },
}

impl DebianError {
    /// The way out, if there is one that a person can take.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoApt { .. } | Self::NoSources { .. } => {
                Some("fetch the package elsewhere and give the file with `--deb FILE`".to_owned())
            }
            Self::NoPackage { suite: Suite::Stable, .. } => Some("the backports suite may have it".to_owned()),
            Self::Failed { .. } => Some(
                "`apt-get update` as root tells whether the mirror can be reached; \
                 a package fetched elsewhere can be given with `--deb FILE`"
                    .to_owned(),
            ),
            Self::NeedsRoot { packages } => {
                Some(format!("as root: apt-get install --no-install-recommends {}", packages.join(" ")))
            }
            _ => None,
        }
    }
}

/// apt's own words, each on a line of its own under ours.
fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}
