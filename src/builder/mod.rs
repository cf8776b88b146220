//! Images that lie in no file: built from a Dockerfile, or kept by a docker daemon or a container storage. Law: runs other
//! people's programs and hands what they export to `image`; knows no machines, and prints nothing.
//!
//! ```text
//! dockerfile   the first builder that works here: build, image id, export
//! isolation    what the commands of a Dockerfile can be run in here
//! kept         `docker-daemon:` and `containers-storage:`, through skopeo
//! job          one run of such a program: its output watched, its end awaited, on a signal ended
//! gate         none is started after the signal that ends us
//! tail         the last lines of its output, fit to be shown
//! ```
//!
//! Each gives the image's id first, so that one that is in the cache is not exported at all. The export goes into a file
//! without a name: nothing remains of it, whatever ends the process.

mod dockerfile;
mod error;
mod gate;
mod isolation;
mod job;
mod kept;
mod tail;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

pub use error::BuilderError;
pub use gate::Gate;
pub use job::configures_programs;
pub use kept::Store;

use crate::image::{self, Artifact, Cache, Held, Output};
use crate::progress::Progress;
use job::Surroundings;

/// An image that a program has to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// What a Dockerfile describes; the context is its own directory unless another is given.
    Dockerfile { path: PathBuf, context: Option<PathBuf> },
    /// What a store has under a name.
    Kept { store: Store, name: String },
}

impl Origin {
    /// `docker-daemon:NAME` or `containers-storage:NAME`; `None` for everything else, `./docker-daemon:x` included.
    #[must_use]
    pub fn parse(image: &OsStr) -> Option<Self> {
        kept::parse(image.to_str()?)
    }
}

/// The image at `origin`, from the cache if it is there as it is now.
///
/// `withheld` are variables of our environment that are meant for the guest; the programs do not get them (but for those
/// they themselves are configured by). To be called while every other thread of the process holds the signals (see
/// [`crate::sys::held_signals`]): they are held here while a program runs, so that it can be ended and cleaned up after, and would
/// end us through a thread that does not.
///
/// # Errors
/// [`BuilderError`]; its texts are ready to be shown, without control characters or credentials in addresses.
pub fn open(
    origin: &Origin,
    withheld: &[OsString],
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Artifact, BuilderError> {
    let surroundings = Surroundings::of_process(withheld);
    let image = find(origin, &surroundings, progress)?;
    image::open_held(&image.held(), cache, progress, |file| image.export(file, progress))
}

/// The same, packed into a file, which is checked for before anything is built.
///
/// # Errors
/// As for [`open`].
pub fn pack(
    origin: &Origin,
    output: &Output,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Artifact, BuilderError> {
    output.check()?;
    let surroundings = Surroundings::of_process(&[]);
    let image = find(origin, &surroundings, progress)?;
    image::pack_held(&image.held(), output, cache, progress, |file| image.export(file, progress))
}

/// An image that is known by its id, and can be exported.
trait Exportable {
    /// Its id changes whenever it does.
    fn held(&self) -> Held<'_>;

    /// Writes it into `file`, which is empty, as `docker save` would.
    fn export(&self, file: &File, progress: &dyn Progress) -> Result<(), BuilderError>;
}

fn find<'s>(
    origin: &Origin,
    surroundings: &'s Surroundings,
    progress: &dyn Progress,
) -> Result<Box<dyn Exportable + 's>, BuilderError> {
    Ok(match origin {
        Origin::Dockerfile { path, context } => {
            Box::new(dockerfile::build(path, context.as_deref(), surroundings, progress)?)
        }
        Origin::Kept { store, name } => Box::new(kept::find(*store, name, surroundings, progress)?),
    })
}

/// A digest as programs print it, blanks around it.
fn image_id(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| format!("sha256:{hex}"))
}

/// As a program sees its own standard input, if that is a file: the way to have an archive written into one without a name
/// by programs that want a path. Their standard output stays free for what they tell.
const STDIN_AS_PATH: &str = "docker-archive:/proc/self/fd/0";

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
#[path = "builder_test.rs"]
mod tests;
