//! The parts that an image consists of, by name: files of a directory or members of an archive. Law: hands out bytes,
//! understands none of them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error as _};

use super::digest::Digest;
use super::error::{ImageError, beginning};
use super::stream::FileRange;
use super::tar::{Archive, EntryKind};

/// Manifests and configurations are kilobytes; docker's own limit is this, too.
const MAX_DOCUMENT: u64 = 4 << 20;
/// What the names of an archive's members may take in memory. An image has at most a few hundred parts; a tar of a root file system, given
/// by mistake, has more.
const MAX_NAMES: usize = 32 << 20;
/// A member takes this much beside its names.
const MEMBER: usize = 160;
/// Bytes of what is said of a document that cannot be understood.
const MAX_COMPLAINT: usize = 1024;
/// `docker save` stores a layer once and links to it.
const MAX_LINKS: usize = 8;

#[derive(Debug)]
pub(crate) enum Parts {
    Directory(PathBuf),
    Archive { file: FileRange, members: BTreeMap<String, Member> },
}

#[derive(Debug, Clone)]
pub(crate) enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// With holes that the archive leaves out: its bytes are not in one run.
    Sparse,
    Link(String),
}

impl Parts {
    pub(crate) fn of_archive(file: FileRange, origin: &str) -> Result<Self, ImageError> {
        let mut archive = Archive::new(file.clone());
        let (mut members, mut names) = (BTreeMap::new(), 0);
        loop {
            let entry = match archive.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                // Nothing at all could be read: then it is not a damaged archive, but none.
                Err(_) if members.is_empty() => return Err(ImageError::NotAnImage { origin: origin.to_owned() }),
                Err(source) => return Err(ImageError::Archive { origin: origin.to_owned(), source }),
            };
            let Some(name) = normal(&entry.path, "") else { continue };
            let member = match &entry.kind {
                EntryKind::File { .. } if archive.is_sparse() => Some(Member::Sparse),
                EntryKind::File { size } => Some(Member::File { offset: archive.offset(), size: *size }),
                EntryKind::Symlink(target) => {
                    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                    normal(target, parent).map(Member::Link)
                }
                EntryKind::HardLink(target) => normal(target, "").map(Member::Link),
                _ => None,
            };
            let Some(member) = member else { continue };
            names += name.len() + MEMBER + if let Member::Link(target) = &member { target.len() } else { 0 };
            members.insert(name, member);
            if names > MAX_NAMES {
                return Err(ImageError::NotAnImage { origin: origin.to_owned() });
            }
        }
        Ok(Self::Archive { file, members })
    }

    /// The part called `name`, if there is one.
    pub(crate) fn find(&self, name: &str) -> Result<Option<FileRange>, ImageError> {
        // A table of contents may name what it likes, but only inside.
        let Some(inside) = normal(name.as_bytes(), "") else { return Ok(None) };
        match self {
            Self::Directory(directory) => open(&directory.join(inside)),
            Self::Archive { file, members } => {
                let mut name = inside.as_str();
                for _ in 0..MAX_LINKS {
                    match members.get(name) {
                        Some(Member::File { offset, size }) => return Ok(Some(file.part(*offset, *size))),
                        Some(Member::Sparse) => return Err(ImageError::SparsePart { name: name.to_owned() }),
                        Some(Member::Link(target)) => name = target,
                        None => break,
                    }
                }
                Ok(None)
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Result<FileRange, ImageError> {
        self.find(name)?.ok_or_else(|| ImageError::MissingPart { name: name.to_owned() })
    }

    /// The bytes of a small part.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut part = self.get(name)?;
        let size = part.len();
        if size > MAX_DOCUMENT {
            return Err(ImageError::PartTooLarge { name: name.to_owned(), size, limit: MAX_DOCUMENT });
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(|source| ImageError::Io { action: "read", path: name.into(), source })?;
        Ok(bytes)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Of what is wrong in it, it tells all.
        let text = error.to_string();
        let source = if text.len() > MAX_COMPLAINT || text.contains(char::is_control) {
            serde_json::Error::custom(beginning(&text))
        } else {
            error
        };
        ImageError::Json { name: name.to_owned(), source }
    })
}

pub(crate) fn parse_digest(name: &str, text: &str) -> Result<Digest, ImageError> {
    text.parse().map_err(|_| ImageError::NotADigest { name: name.to_owned(), found: text.to_owned() })
}

fn open(path: &Path) -> Result<Option<FileRange>, ImageError> {
    // A fifo is no part of an image, and not waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    match file.and_then(FileRange::whole) {
        Ok(range) => Ok(Some(range)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ImageError::Io { action: "open", path: path.to_owned(), source }),
    }
}

/// `path` seen from `base`, without `.` and `..`; `None` if it leaves the archive or is no text.
fn normal(path: &[u8], base: &str) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut names: Vec<_> = base.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            _ => names.push(name),
        }
    }
    Some(names.join("/"))
}
