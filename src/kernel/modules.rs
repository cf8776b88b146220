//! The drivers that a stock kernel keeps in modules: which are needed, in which order, as an initramfs archive.
//!
//! Every byte of the archive is copied into the guest and unpacked at each boot, so it holds what a bottle needs and what
//! that depends on, and nothing else. The names carry the order, so the agent needs no table: `/lib/modules/007-vsock.ko`.
//!
//! Source: kbuild's `modules.builtin`, and each module's own `.modinfo` (`depends`, `softdep`, `alias`); there is no
//! `modules.dep` in a package, depmod makes it when one is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use liblzma::stream::{CONCATENATED, Stream};

use super::error::io_error;
use super::{KernelError, cpio, elf};

/// What a bottle needs of a stock kernel, in the order of need: the channel first, then the root, then the rest.
pub const NEEDED: [&str; 8] =
    ["virtio_mmio", "vmw_vsock_virtio_transport", "virtio_blk", "erofs", "overlay", "ext4", "virtio_net", "virtio_rng"];

/// No module of Debian's is near this.
const MAX_MODULE: u64 = 64 << 20;

/// kbuild compresses modules with a dictionary of 1 MiB (scripts/Makefile.modinst).
const XZ_MEMORY_LIMIT: u64 = 64 << 20;

/// One directory `lib/modules/RELEASE`.
#[derive(Debug)]
pub struct Tree {
    release: String,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    /// Aliases that built-in modules answer to.
    built_in_aliases: BTreeSet<String>,
}

/// A module in load order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    pub name: String,
    pub path: PathBuf,
}

/// The lines of a module's `.modinfo` that decide the order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    soft_before: Vec<String>,
    aliases: Vec<String>,
}

impl Tree {
    pub fn scan(dir: &Path) -> Result<Self, KernelError> {
        let release = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = BTreeMap::new();
        collect(&dir.join("kernel"), &mut files)?;
        let built_in =
            lines(&dir.join("modules.builtin"))?.iter().filter_map(|line| name_of(Path::new(line))).collect();
        // `module.alias=NAME`, separated by NUL like .modinfo itself.
        let built_in_aliases = lines(&dir.join("modules.builtin.modinfo"))?
            .iter()
            .flat_map(|line| line.split('\0'))
            .filter_map(|field| Some(field.split_once(".alias=")?.1.to_owned()))
            .collect();
        Ok(Self { release, files, built_in, built_in_aliases })
    }

    /// `uname -r` of the kernel that the modules belong to.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// `wanted` and all they depend on, each after its dependencies; what is built in is left out.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<Module>, KernelError> {
        let mut order = Order { tree: self, seen: BTreeSet::new(), modules: Vec::new() };
        for name in wanted {
            order.require(name)?;
        }
        Ok(order.modules)
    }

    /// The module that answers to `alias`. Of several, a generic one works on any processor.
    fn provider(&self, alias: &str) -> Result<Option<&str>, KernelError> {
        let mut found: Option<&str> = None;
        for (name, path) in &self.files {
            // Reading all modules would take seconds; an alias of a facility is part of its providers' names in all of Linux.
            if name.contains(alias) && Info::of(&read(path)?, path)?.aliases.iter().any(|known| known == alias) {
                found = Some(name);
                if name.ends_with("generic") {
                    break;
                }
            }
        }
        Ok(found)
    }
}

struct Order<'a> {
    tree: &'a Tree,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Order<'_> {
    fn require(&mut self, name: &str) -> Result<(), KernelError> {
        let name = canonical(name);
        if self.tree.built_in.contains(&name) || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(path) = self.tree.files.get(&name) else {
            return Err(KernelError::NoModule { module: name, release: self.tree.release.clone() });
        };
        let info = Info::of(&read(path)?, path)?;
        for facility in &info.soft_before {
            self.prefer(facility)?;
        }
        for dependency in &info.depends {
            self.require(dependency)?;
        }
        self.modules.push(Module { name, path: path.clone() });
        Ok(())
    }

    /// A soft dependency names a module or an alias, and may be absent.
    fn prefer(&mut self, facility: &str) -> Result<(), KernelError> {
        if self.tree.built_in_aliases.contains(facility) || self.tree.built_in.contains(&canonical(facility)) {
            return Ok(());
        }
        if self.tree.files.contains_key(&canonical(facility)) {
            return self.require(facility);
        }
        match self.tree.provider(facility)? {
            Some(name) => self.require(name),
            None => Ok(()),
        }
    }
}

impl Module {
    /// The module as the kernel takes it, decompressed.
    pub fn read(&self) -> Result<Vec<u8>, KernelError> {
        read(&self.path)
    }
}

impl Info {
    fn of(module: &[u8], path: &Path) -> Result<Self, KernelError> {
        let section =
            elf::section(module, ".modinfo").ok_or_else(|| KernelError::NotAModule { path: path.to_owned() })?;
        let mut info = Self::default();
        for field in section.split(|byte| *byte == 0).filter_map(|field| std::str::from_utf8(field).ok()) {
            match field.split_once('=') {
                Some(("depends", names)) => {
                    info.depends.extend(names.split(',').filter(|n| !n.is_empty()).map(canonical));
                }
                Some(("softdep", text)) => info.soft_before.extend(before(text)),
                Some(("alias", alias)) => info.aliases.push(alias.to_owned()),
                _ => {}
            }
        }
        Ok(info)
    }
}

/// `pre: a b post: c`: what should be loaded before.
fn before(softdep: &str) -> impl Iterator<Item = String> + '_ {
    let mut pre = false;
    softdep.split_whitespace().filter_map(move |word| match word {
        "pre:" | "post:" => {
            pre = word == "pre:";
            None
        }
        name => pre.then(|| name.to_owned()),
    })
}

/// The archive of `modules`, in their order.
pub fn archive(modules: &[Module], out: impl io::Write, path: &Path) -> Result<(), KernelError> {
    let failed = |error| io_error("write", path)(error);
    let mut archive = cpio::Archive::new(out);
    archive.directory("lib", 0o755).map_err(failed)?;
    archive.directory("lib/modules", 0o755).map_err(failed)?;
    for (at, module) in modules.iter().enumerate() {
        let name = format!("lib/modules/{at:03}-{}.ko", module.name);
        archive.file(&name, 0o644, &module.read()?).map_err(failed)?;
    }
    archive.finish().map(drop).map_err(failed)
}

/// File names and symbols differ in this alone: `virtio-rng.ko` is the module `virtio_rng`.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name, if the file is one, compressed or not.
fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    Some(canonical(stem))
}

fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), KernelError> {
    for entry in fs::read_dir(dir).map_err(io_error("read the modules in", dir))? {
        let entry = entry.map_err(io_error("read the modules in", dir))?;
        let path = entry.path();
        // Not following links: a tree that contains itself must end.
        if entry.file_type().map_err(io_error("read the modules in", dir))?.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

fn lines(path: &Path) -> Result<Vec<String>, KernelError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(io_error("read", path)(e)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KernelError> {
    let failed = |error| io_error("read the module", path)(error);
    let file = File::open(path).map_err(failed)?;
    let plain: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_LIMIT, CONCATENATED).map_err(|e| failed(e.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed)?),
        Some("gz") => Box::new(flate2::read::GzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut bytes = Vec::new();
    plain.take(MAX_MODULE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_MODULE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "modules_test.rs"]
mod tests;
