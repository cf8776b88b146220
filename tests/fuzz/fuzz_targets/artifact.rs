//! An artifact with a hostile trailer or manifest, digests right or wrong: opened, verified, and read by the verified disk as a guest would.
#![no_main]

use arbitrary::Arbitrary;
use bottle_vmm::image::Artifact;
use bottle_vmm::progress::Silent;
use bottle_vmm::vmm::devices::virtio::blk::Block;
use bottle_vmm::vmm::{DiskAccess, DiskSpec};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::path::Path;

const BLOCK: usize = 4096;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Blocks of root and tree, each filled with one byte.
    blocks: Vec<u8>,
    manifest: Manifest,
    /// Offset and length of root, tree and manifest; the truth where there are none.
    extents: Option<[u64; 6]>,
    version: u8,
    sealed: bool,
}

#[derive(Arbitrary, Debug)]
enum Manifest {
    Text(Vec<u8>),
    /// Well-formed, with these values.
    Fields {
        format: u32,
        root_bytes: Option<u64>,
        architecture: String,
        variable: String,
        digest: [u8; 32],
    },
}

impl Manifest {
    fn bytes(&self, root: u64) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Fields { format, root_bytes, architecture, variable, digest } => {
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let digest = format!("sha256:{digest}");
                let value = serde_json::json!({
                    "format": format, "created_by": "", "source": { "kind": "image", "id": digest, "layers": [] },
                    "config": {
                        "entrypoint": [], "cmd": [], "env": [variable], "user": "", "working_dir": "", "labels": {},
                        "exposed_ports": [], "stop_signal": null, "architecture": architecture, "os": "linux",
                    },
                    "root": {
                        "file_system": "erofs", "bytes": root_bytes.unwrap_or(root), "block_size": 4096, "compression": "none",
                        "features": [],
                    },
                    "tree": { "algorithm": "verity-sha256", "digest": digest, "root_digest": digest },
                });
                value.to_string().into_bytes()
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let data = input.blocks.len().min(64) as u64;
    let tree = u64::from(data > 1);
    let mut file: Vec<u8> = input.blocks.iter().take(64).flat_map(|byte| [*byte; BLOCK]).collect();
    file.resize(file.len() + BLOCK * usize::try_from(tree).expect("one"), 7);
    file.resize(file.len().max(8), 0);
    file[..8].copy_from_slice(b"\x89BOTTLE\n");
    let manifest = input.manifest.bytes(data * 4096);
    let truth = [0, data * 4096, data * 4096, tree * 4096, (data + tree) * 4096, manifest.len() as u64];
    file.extend(&manifest);
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    let mut trailer = b"\x89BOTTLE\n".to_vec();
    trailer.extend([input.version % 3, 0, 0, 0, 0, 0, 0, 0]);
    trailer.extend(input.extents.unwrap_or(truth).iter().flat_map(|number| number.to_le_bytes()));
    trailer.extend(Sha256::digest(&manifest));
    trailer.resize(BLOCK - 32, 0);
    if input.sealed {
        trailer.extend(Sha256::digest(&trailer));
    }
    trailer.resize(BLOCK, 0);
    file.extend(trailer);

    let directory = tempfile::tempdir_in("/dev/shm").expect("room in memory");
    let path = directory.path().join("x");
    std::fs::write(&path, file).expect("room in memory");
    let Ok(artifact) = Artifact::open(File::open(&path).expect("it is there"), Path::new("x")) else { return };
    let _ = artifact.verify(&Silent);
    let disk = DiskSpec { access: DiskAccess::Verified(artifact.tree()), file: artifact.into_file() };
    let _ = Block::new(disk, Box::new(|_, _| ()));
});
