//! How an image is opened: found in the cache, or made. Law: every way to an artifact passes `make`; none gets its name before its
//! source was looked at again.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal as _, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::artifact::{About, Artifact, ArtifactError, SourceKind, claims_to_be_one, seal};
use super::cache::{Cache, Key};
use super::config::ImageConfig;
use super::error::ImageError;
use super::layered::Layered;
use super::limits::Limits;
use super::named;
use super::output::Output;
use super::pack::{Contents, Identity, pack as pack_root};
use super::parts::{self, Parts};
use super::platform::{ARCHITECTURE, OS, Platform};
use super::reference::{Described, describe, is_layout, loose_parts};
use super::root_directory::{Scan, fingerprint};
use super::stream::{ARCHIVE_WINDOW_BYTES, Compression, FileRange, Meter, Metered, is_window_too_large};
use super::tree::Tree;
use super::{Held, Source};
use crate::draft::{Draft, is_full};
use crate::progress::Progress;

/// What every way of opening an image needs.
pub(super) struct Opener<'a> {
    pub(super) cache: &'a Cache,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a dyn Progress,
    pub(super) target: Target<'a>,
}

/// Where an artifact that has to be made goes.
pub(super) enum Target<'a> {
    Cache,
    File(&'a Output),
}

/// What an archive on standard input is called.
const STDIN: &str = "standard input";

/// Looks whether a source is still what it was when it was first looked at.
pub(super) type Unchanged<'a> = &'a dyn Fn() -> Result<(), ImageError>;

/// Of what nobody else can change.
pub(super) const OURS: Unchanged<'static> = &|| Ok(());

impl Opener<'_> {
    pub(super) fn open(&self, source: &Source) -> Result<Artifact, ImageError> {
        match source {
            // As `docker load` has it: whoever forgot the pipe would wait for ever.
            Source::Stdin if io::stdin().is_terminal() => Err(ImageError::Terminal),
            Source::Stdin => self.stream(io::stdin().lock(), Path::new(STDIN), ImageError::Stdin),
            Source::Path(path) => self.path(path),
        }
    }

    fn path(&self, given: &Path) -> Result<Artifact, ImageError> {
        let failed = |source| ImageError::Io { action: "open", path: given.to_owned(), source };
        let (path, name) = named::split(given);
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() && !metadata.is_dir() {
            // A fifo, or what a shell makes of `<(command)`: behind /dev/fd is no path that could be made canonical.
            let stream = File::open(path).map_err(failed)?;
            return self.stream(stream, path, failed);
        }
        let path = &path.canonicalize().map_err(failed)?;
        if metadata.is_file() {
            return self.archive_file(path, name);
        }
        if is_layout(path) {
            return self.layout(path, name);
        }
        if let Some(what) = loose_parts(path) {
            return Err(ImageError::Loose { path: given.to_owned(), what });
        }
        self.root_directory(path, &metadata)
    }

    fn archive_file(&self, path: &Path, name: Option<&str>) -> Result<Artifact, ImageError> {
        let failed = |source| ImageError::Io { action: "open", path: path.to_owned(), source };
        let look = || Key::of_file(path).map(|key| key.of_image(name)).map_err(failed);
        let key = look()?;
        if let Some(image) = self.taken(self.cache.recall(&key))? {
            return Ok(image);
        }
        let file = File::open(path).map_err(failed)?;
        if claims_to_be_one(&file).map_err(failed)? {
            let nameless = |name: &str| ImageError::NoSuchName { name: name.to_owned(), names: Vec::new() };
            return name.map_or_else(|| self.artifact_of(file, path), |name| Err(nameless(name)));
        }
        self.remembered(&key, || {
            let range = FileRange::whole(file).map_err(failed)?;
            let unchanged = || same(path, look()?.is_of_the_same(&key));
            self.archive(range, (&path.display().to_string(), name), &unchanged)
        })
    }

    pub(super) fn held<E: From<ImageError>>(
        &self,
        held: &Held<'_>,
        export: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<Artifact, E> {
        let name = held.name.display().to_string();
        let id = parts::parse_digest(&name, held.id)?;
        let key = Key::of_held(held.name, &id);
        if let Some(image) = self.taken(self.cache.recall(&key))? {
            return Ok(image);
        }
        if let Some(image) = self.taken(self.cache.load(&id))? {
            if matches!(self.target, Target::Cache) {
                let _nameless = self.cache.remember(&key, &image);
            }
            return Ok(image);
        }
        // It keeps the name that it may have: who exports opens it anew, which not every file system has for files without one.
        let draft = self.draft()?;
        export(draft.file())?;
        let exported = draft.writer().and_then(FileRange::whole).map_err(|source| self.unwritable(source))?;
        let image = self.archive(exported, (&name, None), OURS)?;
        if matches!(self.target, Target::Cache) && (held.pinned || image.manifest().source.id == id) {
            // Without it the image may be exported again the next time.
            let _forgotten = self.cache.remember(&key, &image);
        }
        Ok(image)
    }

    /// An artifact that is to be used here, as it is.
    fn artifact_of(&self, file: File, path: &Path) -> Result<Artifact, ImageError> {
        let failed = |source| ImageError::Artifact { path: path.to_owned(), source };
        let artifact = Artifact::open(file, path).map_err(failed)?;
        let platform = artifact.platform();
        // To the letter: what we write is written in one way.
        if platform != Platform::ours() {
            return Err(ImageError::Platform { wanted: Platform::ours(), found: vec![platform] });
        }
        let found = artifact.manifest().root.compression;
        match self.cache.wanted() {
            Some(wanted) if wanted != found => Err(ImageError::PackedAs { path: path.to_owned(), found, wanted }),
            _ => Ok(artifact),
        }
    }

    /// A layout's blobs are named by their digests: it is what its index says. While they are read they may change all the same.
    fn layout(&self, path: &Path, name: Option<&str>) -> Result<Artifact, ImageError> {
        let failed = |source| ImageError::Io { action: "read", path: path.to_owned(), source };
        let key = Key::of_layout(path).map_err(failed)?.of_image(name);
        self.remembered(&key, || {
            let origin = path.display().to_string();
            let described = describe(&Parts::Directory(path.to_owned()), name)?;
            let described = described.ok_or(ImageError::NotAnImage { origin })?;
            let blobs: Vec<_> = described.layers.iter().map(|layer| layer.blob.clone()).collect();
            let look = || blobs.iter().map(FileRange::state).collect::<io::Result<Vec<_>>>().map_err(failed);
            let before = look()?;
            let unchanged = || {
                let index = Key::of_layout(path).map_err(failed)?.of_image(name);
                same(path, index.is_of_the_same(&key) && look()? == before)
            };
            self.described(described, &unchanged)
        })
    }

    fn root_directory(&self, path: &Path, metadata: &Metadata) -> Result<Artifact, ImageError> {
        if matches!(self.target, Target::Cache) {
            self.cache.check_against(path, metadata.dev())?;
        }
        self.progress.step("looking through the root directory");
        let scan = Scan::of(path, self.limits)?;
        if scan.is_empty() {
            return Err(ImageError::Empty { origin: path.display().to_string() });
        }
        let key = Key::of_directory(path, &scan);
        let before = scan.fingerprint();
        self.remembered(&key, || {
            let about = About { config: root_config(), kind: SourceKind::Directory, layers: Vec::new() };
            let unchanged = || same(path, fingerprint(path, self.limits)? == before);
            self.make(Identity::OfContents, about, &unchanged, || scan.into_tree(self.limits))
        })
    }

    /// An archive that can only be read once. Its table of contents may come last, so it is kept first.
    fn stream(
        &self,
        stream: impl Read,
        origin: &Path,
        unreadable: impl FnOnce(io::Error) -> ImageError,
    ) -> Result<Artifact, ImageError> {
        self.progress.step_of_bytes("reading the image");
        let kept = self.spool(stream, unreadable)?;
        let failed = |source| ImageError::Io { action: "read", path: origin.to_owned(), source };
        if claims_to_be_one(&kept).map_err(failed)? {
            return self.artifact_of(kept, origin);
        }
        self.archive(FileRange::whole(kept).map_err(failed)?, (&origin.display().to_string(), None), OURS)
    }

    /// The image in an archive that is called `origin`; the one with that name, if there is one.
    fn archive(
        &self,
        file: FileRange,
        (origin, name): (&str, Option<&str>),
        unchanged: Unchanged<'_>,
    ) -> Result<Artifact, ImageError> {
        let origin = || origin.to_owned();
        if file.len() == 0 {
            return Err(ImageError::Empty { origin: origin() });
        }
        let unpack = |source| match is_window_too_large(&source) {
            true => ImageError::Window { origin: origin() },
            false => ImageError::Unpack { origin: origin(), source },
        };
        let file = match Compression::of(&file).map_err(unpack)? {
            Compression::Plain => file,
            Compression::Unsupported(method) => return Err(ImageError::Compression { origin: origin(), method }),
            compression => {
                self.progress.step_of_bytes("unpacking the archive");
                let plain = compression.decode(file, ARCHIVE_WINDOW_BYTES).map_err(unpack)?;
                let kept = self.spool(plain.unwrap_or_else(|| Box::new(io::empty())), unpack)?;
                FileRange::whole(kept).map_err(unpack)?
            }
        };
        let described = describe(&Parts::of_archive(file, &origin())?, name)?;
        self.described(described.ok_or_else(|| ImageError::NotAnImage { origin: origin() })?, unchanged)
    }

    /// Into a file without a name, where the artifact goes: /tmp is often memory.
    fn spool(&self, stream: impl Read, unreadable: impl FnOnce(io::Error) -> ImageError) -> Result<File, ImageError> {
        let meter = Meter::new(self.limits.unpacked_bytes);
        let mut draft = self.draft()?;
        let mut metered = Metered::new(stream, &meter);
        let copied = loop {
            match io::copy(&mut (&mut metered).take(SPOOL_STEP), draft.file_mut()) {
                Ok(0) => break Ok(()),
                Ok(_) => self.progress.advance(meter.bytes(), 0),
                Err(error) => break Err(error),
            }
        };
        match copied {
            Ok(()) => Ok(draft.into_file()),
            Err(_) if meter.is_exceeded() => Err(ImageError::TooLarge { limit: meter.limit() }),
            Err(error) if is_full(&error) => Err(self.unwritable(error)),
            Err(error) => Err(unreadable(error)),
        }
    }

    fn described(&self, image: Described, unchanged: Unchanged<'_>) -> Result<Artifact, ImageError> {
        let Described { id, config, layers, volumes } = image;
        let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        let about = About { config, kind: SourceKind::Image, layers: diff_ids };
        self.make(Identity::Known(id), about, unchanged, || {
            Layered::merge(layers, &volumes, self.limits, self.progress)
        })
    }

    /// The image, from the cache if it is there by its identity. `unchanged` is asked when all of it is read.
    pub(super) fn make<C: Contents>(
        &self,
        identity: Identity,
        about: About,
        unchanged: Unchanged<'_>,
        source: impl FnOnce() -> Result<(Tree, C), ImageError>,
    ) -> Result<Artifact, ImageError> {
        let Identity::Known(id) = identity else { return self.make_new(identity, about, unchanged, source()?) };
        let known = || match self.cache.load(&id) {
            Some(image) => unchanged().and_then(|()| self.taken(Some(image))),
            None => Ok(None),
        };
        if let Some(image) = known()? {
            return Ok(image);
        }
        if matches!(self.target, Target::File(_)) {
            return self.make_new(identity, about, unchanged, source()?);
        }
        let _lock = self.cache.lock(&id)?;
        match known()? {
            Some(image) => Ok(image),
            None => self.make_new(identity, about, unchanged, source()?),
        }
    }

    /// An image of the cache, where it is wanted. One that turns out to be damaged when it is copied is dropped, as if it had not been there.
    fn taken(&self, cached: Option<Artifact>) -> Result<Option<Artifact>, ImageError> {
        let (Some(image), Target::File(output)) = (&cached, &self.target) else { return Ok(cached) };
        match output.copy(image, self.progress) {
            Ok(copy) => Ok(Some(copy)),
            Err(ImageError::Artifact { path, .. } | ImageError::Changed { path }) if path == image.path() => {
                self.cache.drop_damaged(image);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn make_new<C: Contents>(
        &self,
        identity: Identity,
        about: About,
        unchanged: Unchanged<'_>,
        (tree, contents): (Tree, C),
    ) -> Result<Artifact, ImageError> {
        let draft = self.draft()?;
        let directory = self.directory();
        let compression = self.cache.compression();
        let file = draft.writer().map_err(|source| self.unwritable(source))?;
        let packed = pack_root(&tree, &contents, (file, directory), (identity, compression), self.progress)?;
        let id = packed.digest;
        let sealed = seal(&packed.file, (packed.bytes, compression), (about, id), self.progress);
        let digest = sealed.map_err(|error| match error {
            ArtifactError::Write(source) => self.unwritable(source),
            source => ImageError::Artifact { path: directory.to_owned(), source },
        })?;
        // Contents are read twice, and the digests are those of the first reading: what changed in between must not get the name.
        unchanged()?;
        self.progress.step("writing to the disk");
        match self.target {
            Target::Cache => self.cache.publish(draft, &id, &digest),
            Target::File(output) => output.publish(draft),
        }
    }

    fn draft(&self) -> Result<Draft, ImageError> {
        match self.target {
            Target::Cache => self.cache.draft(),
            Target::File(output) => output.draft(),
        }
    }

    /// Where drafts lie.
    fn directory(&self) -> &Path {
        match self.target {
            Target::Cache => self.cache.directory(),
            Target::File(output) => output.directory(),
        }
    }

    fn unwritable(&self, source: io::Error) -> ImageError {
        ImageError::Io { action: "write to", path: self.directory().to_owned(), source }
    }

    /// What `key` came to before; else what `make` makes of it, which is then remembered.
    pub(super) fn remembered(
        &self,
        key: &Key,
        make: impl FnOnce() -> Result<Artifact, ImageError>,
    ) -> Result<Artifact, ImageError> {
        if let Some(image) = self.taken(self.cache.recall(key))? {
            return Ok(image);
        }
        let image = make()?;
        // What a file was packed for is not in the cache.
        if matches!(self.target, Target::Cache) {
            // Without it the source is read again the next time; the image is as good.
            let _forgotten = self.cache.remember(key, &image);
        }
        Ok(image)
    }
}

/// Copied from a stream between two words about it.
const SPOOL_STEP: u64 = 8 << 20;

/// A directory says nothing about how to run it.
fn root_config() -> ImageConfig {
    ImageConfig { architecture: ARCHITECTURE.to_owned(), os: OS.to_owned(), ..ImageConfig::default() }
}

fn same(path: &Path, same: bool) -> Result<(), ImageError> {
    if same { Ok(()) } else { Err(ImageError::Changed { path: path.to_owned() }) }
}

#[cfg(test)]
#[path = "opener_test.rs"]
mod tests;
