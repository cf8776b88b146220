//! How long a root file system takes to be packed, and how big it gets: for each compression, in turns.
//!
//! `cargo bench --bench roots -- ARCHIVE [ROUNDS] [DIRECTORY]`; ARCHIVE is what `docker save` writes. Prints a line for each
//! compression with the least time of ROUNDS, the size and the peak of memory so far; the images stay in DIRECTORY if one
//! is named. With `ONLY=lz4` in the environment, that one alone. `benches/roots.sh` runs the peers beside it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on says where")]

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use bottle_vmm::image::{RootCompression, write_root};
use bottle_vmm::progress::Silent;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(archive) = arguments.next().map(PathBuf::from) else {
        println!("roots: skipped, no archive named");
        return;
    };
    let rounds: u32 = arguments.next().map_or(5, |rounds| rounds.parse().unwrap());
    let keep = arguments.next().map(PathBuf::from);
    let scratch = tempfile::tempdir().unwrap();
    let directory = keep.as_deref().unwrap_or(scratch.path());
    let only: Option<RootCompression> = std::env::var("ONLY").ok().map(|name| name.parse().unwrap());
    let mut best = RootCompression::ALL.map(|compression| (compression, f64::INFINITY, 0));
    for _ in 0..rounds {
        for (compression, seconds, bytes) in best.iter_mut().filter(|best| only.is_none_or(|only| only == best.0)) {
            let path = directory.join(format!("root.{compression}"));
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
            let start = Instant::now();
            *bytes = write_root(&archive, (file, &path), *compression, &Silent).unwrap();
            *seconds = seconds.min(start.elapsed().as_secs_f64());
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for (compression, seconds, bytes) in best.into_iter().filter(|best| best.2 > 0) {
        println!("{compression:5} {seconds:8.3} s {bytes:12} bytes");
    }
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
}
