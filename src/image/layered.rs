//! All layers of an image: listed in parallel, merged, then read again for the bytes that survived. Law: knows layers
//! and trees, no archive formats.

use std::io::Read;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::erofs::StoreError;
use super::error::ImageError;
use super::layer::{EntryBudget, Layer, LayerError};
use super::limits::Limits;
use super::merge;
use super::pack::{Contents, Sink};
use super::stream::Meter;
use super::tar::Entry;
use super::tree::{ContentId, Tree};
use crate::progress::Progress;

/// How often progress is told while layers are read.
const TICK: Duration = Duration::from_millis(100);

/// The files of a merged tree: a content is (layer, number of the entry in it).
#[derive(Debug)]
pub(crate) struct Layered {
    layers: Vec<Layer>,
}

impl Layered {
    /// Checks and merges `layers`, lowest first.
    pub(crate) fn merge(
        layers: Vec<Layer>,
        limits: &Limits,
        progress: &dyn Progress,
    ) -> Result<(Tree, Self), ImageError> {
        progress.step_of_bytes("reading layers");
        let lists = list_all(&layers, limits, progress)?;
        let mut tree = Tree::new(limits.entries);
        let mut left = limits.entries;
        for (index, (layer, entries)) in (0..).zip(layers.iter().zip(lists)) {
            let merged = u32::try_from(entries.len()).ok().and_then(|count| left.checked_sub(count));
            left = merged.ok_or_else(|| failed(layer, index, LayerError::TooManyEntries { limit: limits.entries }))?;
            merge::apply(&mut tree, index, entries).map_err(|error| failed(layer, index, error))?;
        }
        Ok((tree, Self { layers }))
    }
}

impl Contents for Layered {
    fn deliver(&self, wanted: &[ContentId], sink: &mut Sink<'_>) -> Result<(), ImageError> {
        for (index, layer) in (0..).zip(&self.layers) {
            let start = wanted.partition_point(|content| content.source < index);
            let end = wanted.partition_point(|content| content.source <= index);
            let delivered = layer.contents(&wanted[start..end], |content, bytes: &mut dyn Read| {
                sink(content, bytes).map_err(Delivery::Sink)
            });
            delivered.map_err(|error| match error {
                Delivery::Layer(error) => failed(layer, index, error),
                Delivery::Sink(error) => error,
            })?;
        }
        Ok(())
    }

    fn unreadable(&self, content: ContentId, error: StoreError) -> ImageError {
        let source = match error {
            StoreError::Read(error) => LayerError::Read(error),
            // The first reading went through all of it.
            _ => LayerError::Changed,
        };
        match self.layers.get(content.source as usize) {
            Some(layer) => failed(layer, content.source, source),
            None => ImageError::Layer { number: 0, layer: String::new(), source },
        }
    }
}

enum Delivery {
    Layer(LayerError),
    Sink(ImageError),
}

impl From<LayerError> for Delivery {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

fn failed(layer: &Layer, index: u32, source: LayerError) -> ImageError {
    ImageError::Layer { number: index as usize + 1, layer: layer.name.clone(), source }
}

/// The entries of every layer. Hashing and decompressing is what takes the time, and layers are independent of each
/// other in it; the first error in layer order is the one that is told.
fn list_all(layers: &[Layer], limits: &Limits, progress: &dyn Progress) -> Result<Vec<Vec<Entry>>, ImageError> {
    let meter = Meter::new(limits.unpacked_bytes);
    let total = layers.iter().map(|layer| layer.blob.len()).sum();
    let mut lists: Vec<Option<Result<Vec<Entry>, LayerError>>> = layers.iter().map(|_| None).collect();
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(layers.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, finished) = mpsc::channel();
        for _ in 0..workers {
            let (sender, meter, next) = (sender.clone(), &meter, &next);
            scope.spawn(move || {
                while let Some((index, layer)) = layers.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let budget = EntryBudget { entries: limits.entries, name_bytes: limits.name_bytes };
                    let list = layer.entries(meter, budget);
                    let failed = list.is_err();
                    if sender.send((index, list)).is_err() || failed {
                        // Nobody needs the rest.
                        next.store(usize::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
        drop(sender);
        let mut done = 0;
        loop {
            match finished.recv_timeout(TICK) {
                Ok((index, list)) => {
                    done += layers[index].blob.len();
                    lists[index] = Some(list);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.advance(done, total);
        }
    });
    let numbered = (0..).zip(layers).zip(lists);
    // A list is missing only after an error, which then ends the collection, wherever it stands.
    let (failures, lists): (Vec<_>, Vec<_>) =
        numbered.filter_map(|(at, list)| list.map(|list| (at, list))).partition(|(_, list)| list.is_err());
    if let Some(((index, layer), Err(error))) = failures.into_iter().next() {
        return Err(failed(layer, index, error));
    }
    Ok(lists.into_iter().filter_map(|(_, list)| list.ok()).collect())
}
