//! Bounds on what is read. A repository's agents are somebody else's files; these keep a hostile one from costing more than an error.

/// Longest manifest file, in bytes. A prompt of a novel's length fits.
pub const FILE_MAX: u64 = 1 << 20;

/// Values in one front matter: scalars, lists, maps and keys.
pub const MAX_NODES: usize = 10_000;

/// Lists and maps inside one another. The deepest that has a meaning is 7: `egress.routes[].matches[].paths[].value`.
pub const MAX_DEPTH: usize = 16;

/// Entries of one manifest directory.
pub const MAX_FILES: usize = 10_000;
