//! One layer: a tar stream, possibly compressed, read twice. Law: knows nothing of trees or caches but content ids.
//!
//! The first reading checks the digests and lists the entries; when all layers are merged, the second delivers the bytes
//! of the files that survived. So the merge is a pure function of lists (hard links into lower layers included), what an
//! image will need is known before a byte is written, and memory holds names, never contents. The price is a second
//! decompression; an uncompressed layer, as `docker save` writes them, is merely skipped through.

use std::io::{self, BufReader, Read};

use super::budget::{Budget, Exceeded};
use super::digest::{Digest, HashingReader};
use super::error::beginning;
use super::merge::EntryError;
use super::stream::{
    Compression, FileRange, LAYER_WINDOW_BYTES, Meter, Metered, READ, ReadToSkip, Stored, is_window_too_large,
};
use super::tar::{Archive, Content, Entry, Skip, TarError};
use super::tree::ContentId;

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// As the archive calls it; for errors.
    pub(crate) name: String,
    pub(crate) blob: FileRange,
    /// Of the bytes as stored, where the image states it.
    pub(crate) blob_digest: Option<Digest>,
    /// Of the tar stream.
    pub(crate) diff_id: Digest,
}

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is compressed with a window of over {} MiB", LAYER_WINDOW_BYTES >> 20)]
    Window,
    #[error("compressed with {0}")]
    Compression(&'static str),
    #[error("its {what} is {found}, not the {expected} that the image states")]
    Digest { what: &'static str, expected: String, found: String },
    #[error("the layers unpack to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the layers hold more entries than an image may have")]
    TooManyEntries,
    #[error(
        "the layers have more entries, or longer names and attributes, than the memory that an image may take has room for"
    )]
    TooMuchMemory,
    #[error("entry `{}`", beginning(entry))]
    Entry {
        entry: String,
        #[source]
        source: EntryError,
    },
    #[error("it changed while it was read")]
    Changed,
}

impl From<Exceeded> for LayerError {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Entries => Self::TooManyEntries,
            Exceeded::Bytes => Self::TooMuchMemory,
        }
    }
}

impl Layer {
    /// All entries in order, digests checked.
    pub(crate) fn entries(&self, meter: &Meter, budget: &Budget) -> Result<Vec<Entry>, LayerError> {
        self.listed(meter, budget).map_err(|error| match error {
            LayerError::Read(source) | LayerError::Tar(TarError::Read { source, .. })
                if is_window_too_large(&source) =>
            {
                self.damage().unwrap_or(LayerError::Window)
            }
            LayerError::Tar(_) | LayerError::Read(_) => self.damage().unwrap_or(error),
            error => error,
        })
    }

    /// What a decoder stumbles over is most often a layer that is not what it was; where the image states a digest, that is known.
    fn damage(&self) -> Option<LayerError> {
        let expected = self.blob_digest?;
        let mut stored = HashingReader::new(self.blob.clone());
        io::copy(&mut stored, &mut io::sink()).ok()?;
        expect("digest", &expected, &stored.digest()).err()
    }

    fn listed(&self, meter: &Meter, budget: &Budget) -> Result<Vec<Entry>, LayerError> {
        let compression = Compression::of(&self.blob).map_err(LayerError::Read)?;
        let blob = Stored::new(self.blob.clone(), meter);
        // Of a plain layer the two digests are of the same bytes, and hashing is the dearest part of this.
        let (entries, diff_id, blob_digest) = if compression == Compression::Plain {
            let (entries, digest) = list(blob, meter, budget)?;
            (entries, digest, digest)
        } else {
            let mut stored = HashingReader::new(BufReader::with_capacity(READ, blob));
            let (entries, digest) = list(open(compression, &mut stored)?, meter, budget)?;
            io::copy(&mut stored, &mut io::sink()).map_err(LayerError::Read)?;
            (entries, digest, stored.digest())
        };
        expect("content digest", &self.diff_id, &diff_id)?;
        self.blob_digest.map_or(Ok(()), |expected| expect("digest", &expected, &blob_digest))?;
        Ok(entries)
    }

    /// Gives `sink` the bytes of the `wanted` entries, which are sorted and of this layer.
    pub(crate) fn contents<E: From<LayerError>>(
        &self,
        wanted: &[ContentId],
        mut sink: impl FnMut(ContentId, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(last) = wanted.last() else { return Ok(()) };
        let compression = Compression::of(&self.blob).map_err(LayerError::Read)?;
        let input: Box<dyn Skip> = match compression {
            Compression::Plain => Box::new(BufReader::with_capacity(READ, self.blob.clone())),
            _ => Box::new(ReadToSkip(BufReader::with_capacity(READ, open(compression, self.blob.clone())?))),
        };
        let mut archive = Archive::new(input);
        let mut wanted = wanted.iter().copied().peekable();
        for index in 0..=last.index {
            archive.next().map_err(LayerError::from)?.ok_or(LayerError::Changed)?;
            if let Some(id) = wanted.next_if(|id| id.index == index) {
                let mut content: Content<'_, _> = archive.content();
                sink(id, &mut content)?;
            }
        }
        Ok(())
    }
}

impl Skip for Box<dyn Skip> {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        (**self).skip(count)
    }
}

fn open<'r>(compression: Compression, stored: impl Read + 'r) -> Result<Box<dyn Read + 'r>, LayerError> {
    if let Compression::Unsupported(name) = compression {
        return Err(LayerError::Compression(name));
    }
    compression
        .decode(stored, LAYER_WINDOW_BYTES)
        .map_err(LayerError::Read)?
        .ok_or(LayerError::Compression("an unknown method"))
}

/// The entries of a tar stream and the digest of all of it: also of what follows its end mark.
fn list(stream: impl Read, meter: &Meter, budget: &Budget) -> Result<(Vec<Entry>, Digest), LayerError> {
    let failed = |error| if meter.is_exceeded() { LayerError::TooLarge { limit: meter.limit() } } else { error };
    let mut hashing = HashingReader::new(Metered::new(stream, meter));
    let mut archive = Archive::new(ReadToSkip(BufReader::with_capacity(READ, &mut hashing)));
    let mut entries = Vec::new();
    // The meter ends a reading with an I/O error; `failed` gives it its name back.
    while let Some(entry) = archive.next().map_err(|error| failed(error.into()))? {
        budget.spend_entry(&entry)?;
        // Holes take no room in the archive, and none on the disk to speak of; but all of them has to be gone through.
        meter.add(archive.hole_bytes());
        if meter.is_exceeded() {
            return Err(LayerError::TooLarge { limit: meter.limit() });
        }
        entries.push(entry);
    }
    archive.into_inner().skip(u64::MAX).map_err(|error| failed(LayerError::Read(error)))?;
    Ok((entries, hashing.digest()))
}

fn expect(what: &'static str, expected: &Digest, found: &Digest) -> Result<(), LayerError> {
    if expected == found {
        return Ok(());
    }
    Err(LayerError::Digest { what, expected: expected.to_string(), found: found.to_string() })
}
