//! Which modules the emulated host loads at boot, and in what order.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is loaded, by its purpose; dependencies come with it.
pub(crate) const WANTED: [&str; 15] = [
    "kvm_amd", // the point of it all
    "virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay", // the job's way in and its root directory
    "tun", "vhost_net", "vhost_vsock", "vsock_loopback", // what other monitors, which ours is compared with, need
    "crc32c_generic", "loop", "virtio_blk", "ext4", "erofs", // disks and images, mounted to be looked at
];

#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the kernel in {} has no module {name}", dir.display())]
    Missing { dir: PathBuf, name: String },
    #[error("{} is compressed in a way not known here", .0.display())]
    Compressed(PathBuf),
}

/// One module, ready for insmod.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// `wanted` and what they depend on, dependencies first. Those built into the kernel are left out.
pub(crate) fn in_load_order(dir: &Path, wanted: &[&str]) -> Result<Vec<Module>, ModulesError> {
    let mut loader = Loader { dir, files: HashMap::new(), seen: HashSet::new(), order: Vec::new() };
    loader.find_files(dir)?;
    let builtin = read_text(&dir.join("modules.builtin"))?;
    for &name in wanted {
        let is_builtin = builtin.lines().any(|line| name_of(Path::new(line)).as_deref() == Some(name));
        if !is_builtin {
            loader.add(name)?;
        }
    }
    Ok(loader.order)
}

struct Loader<'a> {
    dir: &'a Path,
    files: HashMap<String, PathBuf>,
    seen: HashSet<String>,
    order: Vec<Module>,
}

impl Loader<'_> {
    fn find_files(&mut self, dir: &Path) -> Result<(), ModulesError> {
        let failed = |source| ModulesError::Read { path: dir.into(), source };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            // A link (`build`, `source`) leads out of the modules.
            if entry.file_type().map_err(failed)?.is_dir() {
                self.find_files(&path)?;
            } else if let Some(name) = name_of(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str) -> Result<(), ModulesError> {
        if !self.seen.insert(name.into()) {
            return Ok(());
        }
        let path = self.files.get(name).ok_or_else(|| ModulesError::Missing { dir: self.dir.into(), name: name.into() })?;
        if path.extension().is_none_or(|extension| extension != "ko") {
            return Err(ModulesError::Compressed(path.clone()));
        }
        let bytes = fs::read(path).map_err(|source| ModulesError::Read { path: path.clone(), source })?;
        for dependency in dependencies(&bytes) {
            self.add(&dependency)?;
        }
        self.order.push(Module { name: name.into(), bytes });
        Ok(())
    }
}

/// `virtio-pci.ko.xz` is the module virtio_pci.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, compression) = file.split_once(".ko")?;
    matches!(compression, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// The `depends` of the section `.modinfo`: NUL-separated `key=value` (scripts/mod/modpost.c).
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module.get(start + KEY.len()..).unwrap_or_default();
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn read_text(path: &Path) -> Result<String, ModulesError> {
    fs::read_to_string(path).map_err(|source| ModulesError::Read { path: path.into(), source })
}

#[cfg(test)]
#[path = "modules_test.rs"]
mod tests;
