//! Loads the kernel modules that the monitor has put into the initramfs, for kernels that need any.
//!
//! `/lib/modules/*.ko` are loaded in the order of their names; whoever makes the archive numbers them so that each comes
//! after those it needs. A failure is reported and not fatal: a module may be for a device that is not there, and if it
//! was needed then what needed it says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::report;

const DIRECTORY: &str = "/lib/modules";

pub(crate) fn load() {
    for path in in_order(Path::new(DIRECTORY)) {
        if let Err(error) = load_one(&path) {
            report::critical(format_args!("module {}: {error}", path.display()));
        }
        // The initramfs is memory, and the guest wants it back.
        let _ = fs::remove_file(&path);
    }
}

fn load_one(path: &Path) -> std::io::Result<()> {
    let module = File::open(path)?;
    match finit_module(&module, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The modules of a directory by name; none if it is not there, as with a kernel that needs no modules.
fn in_order(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut modules: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "ko")).collect();
    modules.sort();
    modules
}

#[cfg(test)]
#[path = "modules_test.rs"]
mod tests;
