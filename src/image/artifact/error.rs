//! What can be wrong with an artifact. Law: facts in the variants, the way out by `hint`.

use std::fmt;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("it does not begin as an artifact does")]
    NotAnArtifact,
    #[error("it does not end as an artifact does: it was cut short, or something was written behind it")]
    Cut,
    #[error("it is of format {found}, and this bottle-vmm knows formats up to {known}")]
    Newer { found: u32, known: u32 },
    #[error("its {part} is damaged (at byte {offset})")]
    Damaged { part: Part, offset: u64 },
    #[error("{count} of the {total} blocks of its root are damaged, the first at byte {first}")]
    Blocks { count: u64, total: u64, first: u64 },
    #[error("its manifest cannot be understood")]
    Manifest(#[source] serde_json::Error),
    #[error("its manifest does not fit the rest of it: {what}")]
    Contradiction { what: &'static str },
    #[error("its root has {what} `{}`, which this bottle-vmm does not know", name.escape_debug())]
    Unknown { what: &'static str, name: String },
    #[error("its manifest would have {bytes} bytes, where {limit} are allowed")]
    LargeManifest { bytes: u64, limit: u64 },
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it cannot be written")]
    Write(#[source] io::Error),
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Beginning,
    HashTree,
    Manifest,
    Padding,
    Trailer,
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Beginning => "beginning",
            Self::HashTree => "hash tree",
            Self::Manifest => "manifest",
            Self::Padding => "padding",
            Self::Trailer => "trailer",
        })
    }
}

impl ArtifactError {
    /// Is it a file that was an artifact?
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Cut | Self::Damaged { .. } | Self::Blocks { .. } | Self::Contradiction { .. } | Self::Manifest(_)
        )
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotAnArtifact => Some(
                "`bottle-vmm pack IMAGE -o FILE.bottle` makes one; an image that `run` has packed is found by its own path too",
            ),
            Self::Newer { .. } | Self::Unknown { .. } => {
                Some("use a newer bottle-vmm, or pack the image again with this one")
            }
            damage if damage.is_damage() => Some("copy it again from where it is whole, or pack the image again"),
            Self::LargeManifest { .. } => Some("take labels and variables out of the image's configuration"),
            Self::Read(error) if error.kind() == io::ErrorKind::IsADirectory => Some(
                "a directory is an image, and no artifact yet: `bottle-vmm pack DIR -o FILE.bottle` makes one of it",
            ),
            _ => None,
        }
    }
}
