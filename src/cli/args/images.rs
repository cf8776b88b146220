//! `bottle-vmm pack`, `inspect` and `images`, as they are typed.

use super::ProgressStyle;
use crate::image::RootCompression;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Pack an image into one file that bottles boot in place
///
/// The file holds a read-only root file system, a hash tree over it, and a manifest: how to run the image, and what it was made of. The
/// same image gives the same file, to the byte. Printed is its digest, which stands for all of it.
#[derive(Debug, Args)]
#[command(after_help = PACK_EXAMPLES)]
pub struct PackArgs {
    /// What to pack: whatever `run --image` takes
    #[arg(value_name = "IMAGE", required_unless_present = "dockerfile")]
    pub image: Option<PathBuf>,

    /// Build this Dockerfile and pack the result, as `run --dockerfile` does
    #[arg(long, value_name = "PATH", conflicts_with = "image")]
    pub dockerfile: Option<PathBuf>,

    /// What the Dockerfile copies from [default: the directory it is in]
    #[arg(long, value_name = "DIR", requires = "dockerfile", conflicts_with = "image")]
    pub context: Option<PathBuf>,

    /// The file to write
    #[arg(short, long, value_name = "FILE.bottle")]
    pub output: PathBuf,

    /// How the root file system is compressed: none, lz4 (every kernel reads it), zstd (a third smaller, much slower to pack, for Linux 6.10
    /// and later) or, with one of Zstandard's levels from 1 to 22, zstd:LEVEL [default: lz4; an artifact's own]
    #[arg(long, value_name = "HOW")]
    pub compression: Option<RootCompression>,

    /// Replace the file if it is there
    #[arg(short, long)]
    pub force: bool,

    /// Print what was packed as JSON; progress and errors (but those of the command line) are JSON lines on standard error
    #[arg(long)]
    pub json: bool,

    /// How progress is told on standard error [default: auto; json with --json]
    #[arg(long, value_name = "HOW")]
    pub progress: Option<ProgressStyle>,
}

const PACK_EXAMPLES: &str = "\
Examples:
  bottle-vmm pack agent.tar -o agent.bottle
  docker save debian:12 | bottle-vmm pack - -o debian.bottle
  bottle-vmm pack --dockerfile agent/Dockerfile -o agent.bottle
  bottle-vmm pack --compression zstd agent.tar -o agent.bottle
  bottle-vmm pack --force rootfs/ -o rootfs.bottle
  bottle-vmm run --image agent.bottle -- uname -a";

/// Show what an artifact is, and check that it is whole
///
/// Exit code 1 if it is damaged, which only --verify finds wherever it is; 125 if it could not be looked at.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// An artifact, or a name from `images`: of a source, or the beginning of a digest
    ///
    /// Whatever lies at that path comes first, and is told if an image has the name, too; with / or ./ in front it is a path and nothing
    /// else.
    #[arg(value_name = "FILE|NAME")]
    pub name: PathBuf,

    /// Read all of it and compare every byte with the digests
    #[arg(long)]
    pub verify: bool,

    /// As JSON; progress, notes and errors (but those of the command line) as JSON lines on standard error
    #[arg(long)]
    pub json: bool,

    /// How progress is told on standard error [default: auto; json with --json]
    #[arg(long, value_name = "HOW")]
    pub progress: Option<ProgressStyle>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  bottle-vmm inspect agent.bottle
  bottle-vmm inspect --verify agent.bottle
  bottle-vmm inspect --json agent.bottle | jq .manifest.config.env";

/// List cached images, the one that was used last first
///
/// `run` packs an image when it first meets it, and keeps the result here. Removing one costs packing it again, and nothing else.
#[derive(Debug, Args)]
#[command(after_help = IMAGES_EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct ImagesArgs {
    #[command(subcommand)]
    pub command: Option<ImagesCommand>,

    /// As JSON; times are seconds since 1970
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// Remove cached images that no bottle runs on
    Prune {
        /// Keep this many, those that were used last
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep: usize,
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Print what was removed as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove one cached image
    Rm {
        /// The name of its source, or the beginning of its digest
        #[arg(value_name = "NAME")]
        name: String,
        /// Even if bottles run on it; they go on undisturbed
        #[arg(short, long)]
        force: bool,
    },
}

const IMAGES_EXAMPLES: &str = "\
Examples:
  bottle-vmm images
  bottle-vmm images prune --keep 5
  bottle-vmm images prune --dry-run --json
  bottle-vmm images rm agent.tar";
