//! All layers of an image: listed in parallel, merged, then read again for the bytes that survived. Law: knows layers
//! and trees, no archive formats.

use std::io::Read;

use super::budget::{Budget, IMPLIED_DIRECTORY};
use super::erofs::StoreError;
use super::error::ImageError;
use super::layer::{Layer, LayerError};
use super::limits::Limits;
use super::merge;
use super::pack::{Contents, Sink};
use super::stream::{Compression, LAYER_WINDOW_BYTES, Meter};
use super::tar::Entry;
use super::tree::{ContentId, Tree};
use super::workers;
use crate::progress::Progress;

/// Layers that are read at once: each may take some megabytes for headers and sparse maps.
const READERS: usize = 4;

/// The files of a merged tree: a content is (layer, number of the entry in it).
#[derive(Debug)]
pub(crate) struct Layered {
    layers: Vec<Layer>,
}

impl Layered {
    /// Checks and merges `layers`, lowest first, and makes those of `volumes` that they lack, as docker does.
    pub(crate) fn merge(
        layers: Vec<Layer>,
        volumes: &[String],
        limits: &Limits,
        progress: &dyn Progress,
    ) -> Result<(Tree, Self), ImageError> {
        progress.step_of_bytes("reading layers");
        // Zstandard's decoder keeps a window, of a size that the layer claims: one at a time, in both readings.
        let is_zstd = |layer: &Layer| Compression::of(&layer.blob).is_ok_and(|method| method == Compression::Zstd);
        let (readers, windows) = if layers.iter().any(is_zstd) { (1, LAYER_WINDOW_BYTES) } else { (READERS, 0) };
        let budget = Budget::new(limits.entries, limits.memory_bytes.saturating_sub(windows));
        let lists = list_all(&layers, readers, limits, &budget, progress)?;
        // All that is listed has its place already; what is left is for directories that nobody lists. Places that whiteouts and hard links
        // do not take are too cheap for these.
        let listed: u64 = lists.iter().map(|list| list.len() as u64).sum();
        let implied = budget.bytes_left() / IMPLIED_DIRECTORY;
        let inodes = u32::try_from(1 + listed + implied).unwrap_or(u32::MAX);
        let mut tree = Tree::new(inodes).with_implied(implied).with_steps(limits.steps);
        progress.step("merging layers");
        for (index, (layer, entries)) in (0..).zip(layers.iter().zip(lists)) {
            merge::apply(&mut tree, index, entries).map_err(|error| failed(layer, index, error))?;
            progress.advance(u64::from(index) + 1, layers.len() as u64);
        }
        for volume in volumes {
            let made = merge::add_volume(&mut tree, volume.as_bytes());
            made.map_err(|source| ImageError::Volume { path: volume.clone(), source })?;
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
fn list_all(
    layers: &[Layer],
    readers: usize,
    limits: &Limits,
    budget: &Budget,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Entry>>, ImageError> {
    let meter = Meter::new(limits.unpacked_bytes);
    let total = layers.iter().map(|layer| layer.blob.len()).sum();
    let mut lists: Vec<Option<Result<Vec<Entry>, LayerError>>> = layers.iter().map(|_| None).collect();
    workers::each(
        (layers.len(), workers::at_most(readers)),
        || |index: usize| layers[index].entries(&meter, budget),
        |result| {
            if let Some((index, list)) = result {
                lists[index] = Some(list);
            }
            progress.advance(meter.stored().min(total), total);
        },
    );
    let numbered = (0..).zip(layers).zip(lists);
    // A list is missing only after an error, which then ends the collection, wherever it stands.
    let (failures, lists): (Vec<_>, Vec<_>) =
        numbered.filter_map(|(at, list)| list.map(|list| (at, list))).partition(|(_, list)| list.is_err());
    if let Some(((index, layer), Err(error))) = failures.into_iter().next() {
        return Err(failed(layer, index, error));
    }
    Ok(lists.into_iter().filter_map(|(_, list)| list.ok()).collect())
}
