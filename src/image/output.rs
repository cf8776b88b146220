//! The file that an image is packed into. Law: it is there whole, under its name, or not at all.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::artifact::Artifact;
use super::error::ImageError;
use crate::draft::{Draft, Existing, drafts};
use crate::progress::Progress;

/// Copied between two words about it.
const STEP: u64 = 64 << 20;

/// Where an artifact goes.
#[derive(Debug, Clone)]
pub struct Output {
    path: PathBuf,
    /// A file of that name is replaced.
    force: bool,
}

impl Output {
    #[must_use]
    pub fn new(path: &Path, force: bool) -> Self {
        Self { path: path.to_owned(), force }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// What can be wrong with it before anything is done.
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        match fs::symlink_metadata(&self.path) {
            Ok(there) if !there.is_file() => Err(self.no_file(kind_of(&there))),
            Ok(_) if !self.force => Err(ImageError::Exists { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(self.no_file("the name of a directory")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("create")(error)),
            // `dir/`, with or without a directory of that name.
            _ if self.path.file_name().is_none() || ends_with_slash(&self.path) => {
                Err(self.no_file("the name of a directory"))
            }
            _ => self.draft().map(drop),
        }
    }

    fn no_file(&self, what: &'static str) -> ImageError {
        ImageError::NotAFile { path: self.path.clone(), what }
    }

    /// It would be replaced by what is made of it, and be gone; or be part of what it is made of.
    pub(super) fn check_against(&self, source: &Path) -> Result<(), ImageError> {
        let identity = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let same = identity(source).is_some_and(|source| identity(&self.path) == Some(source));
        if same && !source.is_dir() {
            return Err(ImageError::Itself { path: self.path.clone() });
        }
        let real = |path: &Path| path.canonicalize().ok();
        let inside =
            real(self.directory()).zip(real(source)).is_some_and(|(directory, source)| directory.starts_with(source));
        // What is mounted inside a directory is no part of the image.
        let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
        if inside && source.is_dir() && device(self.directory()) == device(source) {
            return Err(ImageError::Inside { path: self.path.clone(), directory: source.to_owned() });
        }
        Ok(())
    }

    pub(super) fn draft(&self) -> Result<Draft, ImageError> {
        let directory = self.directory();
        if !directory.is_dir() {
            return Err(ImageError::NoDirectory { path: directory.to_owned() });
        }
        Draft::new(directory, &drafts(), 0o666).map_err(|source| ImageError::Io {
            action: "create a file in",
            path: directory.to_owned(),
            source,
        })
    }

    /// Gives a finished artifact its name.
    pub(super) fn publish(&self, draft: Draft) -> Result<Artifact, ImageError> {
        let own = draft.file().sync_data().and_then(|()| draft.reader()).map_err(self.failed("write"))?;
        let artifact = Artifact::open(own, &self.path)
            .map_err(|source| ImageError::Artifact { path: self.path.clone(), source })?;
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        draft.publish(&self.path, &existing).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ImageError::Exists { path: self.path.clone() },
            _ => self.failed("create")(error),
        })?;
        // So that who then removes what it was made of loses nothing to a power cut; where a file system cannot, it cannot.
        let _synced = fs::File::open(self.directory()).and_then(|directory| directory.sync_all());
        Ok(artifact)
    }

    /// Copies an artifact, and checks the copy: damage is not passed on.
    pub(super) fn copy(&self, from: &Artifact, progress: &dyn Progress) -> Result<Artifact, ImageError> {
        let unreadable = |source| ImageError::Io { action: "read", path: from.path().to_owned(), source };
        progress.step_of_bytes("copying the artifact");
        let mut source = from.file().try_clone().map_err(unreadable)?;
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut draft = self.draft()?;
        let mut done = 0;
        while done < from.bytes() {
            let step = (&source).take(STEP.min(from.bytes() - done));
            match io::copy(&mut { step }, draft.file_mut()) {
                Ok(0) => return Err(ImageError::Changed { path: from.path().to_owned() }),
                Ok(copied) => done += copied,
                // Of which of the two files it was, reading on tells, from where the copy has come to.
                Err(error) => {
                    let position = source.stream_position().map_err(unreadable)?;
                    let is_readable = from.file().read_at(&mut [0], position).is_ok();
                    return Err(if is_readable { self.failed("write")(error) } else { unreadable(error) });
                }
            }
            progress.advance(done, from.bytes());
        }
        let damaged = |source| ImageError::Artifact { path: from.path().to_owned(), source };
        let copy = draft.writer().map_err(self.failed("write"))?;
        let checked = Artifact::open(copy, &self.path).and_then(|copy| copy.verify(progress));
        if let Err(error) = checked {
            from.verify(progress).map_err(damaged)?;
            // Then it is the disk of the copy.
            return Err(self.failed("write")(io::Error::other(error)));
        }
        self.publish(draft)
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> ImageError {
        let path = self.path.clone();
        move |source| ImageError::Io { action, path: path.clone(), source }
    }
}

fn kind_of(there: &fs::Metadata) -> &'static str {
    match there.file_type() {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        _ => "a device, a pipe or a socket",
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

#[cfg(test)]
#[path = "output_test.rs"]
mod tests;
