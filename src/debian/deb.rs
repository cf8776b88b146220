//! Reads binary packages: deb(5), an ar(5) archive whose member `data.tar.*` is the files.
//!
//! The file may come from a person (`--deb FILE`), so it is not trusted: sizes are checked against the file, and no entry
//! reaches outside the directory that is unpacked into.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use liblzma::stream::{CONCATENATED, Stream};

/// A file of a package, to be read in place.
pub type Entry<'a> = tar::Entry<'a, Box<dyn Read>>;

/// What xz may allocate; dpkg's own archives need 65 MiB at the most (level 9).
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    #[error("cannot open package `{}`", deb.display())]
    Open { deb: PathBuf, source: io::Error },

    #[error("`{}` is not a Debian package", deb.display())]
    NotDeb { deb: PathBuf },

    #[error("package `{}` is cut short or damaged", deb.display())]
    Damaged { deb: PathBuf, source: io::Error },

    #[error("package `{}` is compressed in a way that is not known: `{member}`", deb.display())]
    Compression { deb: PathBuf, member: String },

    #[error("package `{}` has an entry that leaves its root: `{}`", deb.display(), entry.display())]
    Escape { deb: PathBuf, entry: PathBuf },

    #[error("cannot unpack `{}` of package `{}`", entry.display(), deb.display())]
    Entry { deb: PathBuf, entry: PathBuf, source: io::Error },
}

impl DebError {
    /// The way out, if there is one that a person can take.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotDeb { .. } | Self::Damaged { .. } => Some("fetch the package again".to_owned()),
            _ => None,
        }
    }
}

/// Calls `visit` with each entry and its path (relative, without `./`), in the archive's order, until it breaks.
pub fn for_each_entry<E: From<DebError>>(
    deb: &Path,
    mut visit: impl FnMut(&Path, &mut Entry<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let damaged = |source| DebError::Damaged { deb: deb.to_owned(), source };
    let mut archive = tar::Archive::new(data(deb)?);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let named = entry.path().map_err(damaged)?.into_owned();
        let path = inside(&named).ok_or_else(|| DebError::Escape { deb: deb.to_owned(), entry: named })?;
        if visit(&path, &mut entry)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Unpacks the entries whose path `wanted` accepts into `dest`, which must exist. Owners are not kept, device nodes are
/// left out: what is unpacked here is read, never run as root.
pub fn unpack(deb: &Path, dest: &Path, wanted: impl Fn(&Path) -> bool) -> Result<(), DebError> {
    for_each_entry(deb, |path, entry| {
        let kind = entry.header().entry_type();
        let plain = kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link();
        if plain && !path.as_os_str().is_empty() && wanted(path) {
            let failed = |source| DebError::Entry { deb: deb.to_owned(), entry: path.to_owned(), source };
            // tar refuses to write through a link that leads out of `dest`.
            if !entry.unpack_in(dest).map_err(failed)? {
                return Err(DebError::Escape { deb: deb.to_owned(), entry: path.to_owned() });
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Reads one file of the package whole, if it is there and not longer than `limit`.
pub fn read_file(deb: &Path, wanted: impl Fn(&Path) -> bool, limit: u64) -> Result<Option<Vec<u8>>, DebError> {
    let mut found = None;
    for_each_entry(deb, |path, entry| {
        if !entry.header().entry_type().is_file() || !wanted(path) {
            return Ok(ControlFlow::Continue(()));
        }
        let failed = |source| DebError::Entry { deb: deb.to_owned(), entry: path.to_owned(), source };
        if entry.size() > limit {
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes"))));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        found = Some(bytes);
        Ok(ControlFlow::Break(()))
    })
    .map(|()| found)
}

/// The decompressed `data.tar`.
fn data(deb: &Path) -> Result<Box<dyn Read>, DebError> {
    let open = |source| DebError::Open { deb: deb.to_owned(), source };
    let damaged = |source| DebError::Damaged { deb: deb.to_owned(), source };
    if !fs::metadata(deb).map_err(open)?.is_file() {
        return Err(DebError::NotDeb { deb: deb.to_owned() });
    }
    let mut file = BufReader::new(File::open(deb).map_err(open)?);
    let mut magic = [0; AR_MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != *AR_MAGIC {
        return Err(DebError::NotDeb { deb: deb.to_owned() });
    }
    loop {
        let member = Member::read(&mut file).map_err(damaged)?;
        if let Some(suffix) = member.name.strip_prefix("data.tar") {
            let raw = BufReader::new(file.take(member.size));
            return decoder(suffix, raw)
                .map_err(damaged)?
                .ok_or_else(|| DebError::Compression { deb: deb.to_owned(), member: member.name.clone() });
        }
        file.seek_relative(member.padded_size().map_err(damaged)?).map_err(damaged)?;
    }
}

/// None if the suffix names no compression that dpkg uses.
fn decoder(suffix: &str, raw: impl io::BufRead + 'static) -> io::Result<Option<Box<dyn Read>>> {
    Ok(Some(match suffix {
        "" => Box::new(raw),
        ".gz" => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
        ".xz" => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_LIMIT, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(raw, stream))
        }
        ".zst" => Box::new(zstd::stream::read::Decoder::with_buffer(raw)?),
        _ => return Ok(None),
    }))
}

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";

/// The header of an archive member: 60 bytes of text, ar(5).
struct Member {
    name: String,
    size: u64,
}

impl Member {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; 60];
        from.read_exact(&mut header)?;
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
        let size = text(48..58).and_then(|digits| digits.parse().ok());
        match (text(0..16), size, &header[58..60]) {
            (Some(name), Some(size), b"`\n") => Ok(Self { name: name.trim_end_matches('/').to_owned(), size }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no archive member where one should start")),
        }
    }

    /// Members start at even offsets.
    fn padded_size(&self) -> io::Result<i64> {
        i64::try_from(self.size)
            .ok()
            .and_then(|size| size.checked_add(size & 1))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an archive member of impossible size"))
    }
}

/// `path` without `./` components; None if it is absolute or climbs out.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

#[cfg(test)]
#[path = "deb_test.rs"]
mod tests;
