//! The kernel's own build, watched.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::KernelError;
use super::error::io_error;
use crate::progress::Progress;

/// Lines that a build with our configuration prints: one for each thing made. An estimate.
const LINES: u64 = 1_650;

/// How much of the build's output an error carries.
const LAST_LINES: usize = 12;

/// A line longer than this is cut in the error: linker command lines have been seen at 100 KiB.
const LINE_LENGTH: usize = 400;

/// Nothing of this machine or moment gets into the kernel: the same source makes the same bytes.
const REPRODUCIBLE: [&str; 3] =
    ["KBUILD_BUILD_USER=bottle", "KBUILD_BUILD_HOST=bottle", "KBUILD_BUILD_TIMESTAMP=1970-01-01"];

pub(super) struct Make {
    tree: PathBuf,
}

impl Make {
    pub(super) fn new(tree: &Path) -> Self {
        Self { tree: tree.to_owned() }
    }

    /// Everything off but what `config` names.
    pub(super) fn configure(&self, config: &Path) -> Result<(), KernelError> {
        let mut command = self.make();
        command.arg("allnoconfig").env("KCONFIG_ALLCONFIG", config);
        self.watch(command, "make allnoconfig", |_| ())
    }

    /// The ELF alone: its compressed form would be unpacked again at once.
    pub(super) fn vmlinux(&self, jobs: usize, progress: &dyn Progress) -> Result<(), KernelError> {
        let mut command = self.make();
        command.arg(format!("-j{jobs}")).args(REPRODUCIBLE).arg("vmlinux");
        self.watch(command, "make vmlinux", |lines| progress.advance(lines, LINES.max(lines)))
    }

    /// Leaves what is loaded: symbols are a third of the file, and nothing reads them.
    pub(super) fn strip(&self, vmlinux: &Path, to: &Path) -> Result<(), KernelError> {
        let mut command = Command::new("strip");
        command.arg("--strip-all").arg("-o").arg(to).arg(vmlinux);
        self.watch(command, "strip vmlinux", |_| ())
    }

    fn make(&self) -> Command {
        let mut command = Command::new("make");
        command.arg("-C").arg(&self.tree);
        // A caller that is itself run by make or configures one must not reach into this build.
        for variable in
            ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARCH", "CROSS_COMPILE", "KBUILD_OUTPUT", "O", "LLVM", "CC"]
        {
            command.env_remove(variable);
        }
        command
    }

    /// Runs `command`, tells the number of lines so far, keeps the whole output in `build.log` and its end for the error.
    fn watch(&self, mut command: Command, name: &str, mut told: impl FnMut(u64)) -> Result<(), KernelError> {
        let failed = |error| io_error("build in", &self.tree)(error);
        // One pipe for both, so that errors stand between the lines they belong to.
        let (reader, writer) = io::pipe().map_err(failed)?;
        command.stdin(Stdio::null()).stderr(writer.try_clone().map_err(failed)?).stdout(writer).env("LC_ALL", "C");
        let mut child = command.spawn().map_err(failed)?;
        // It holds the ends that were given to the child; the pipe would never end.
        drop(command);
        let log = self.tree.with_extension("log");
        let output = tail(reader, &log, &mut told);
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return output.map(drop);
        }
        Err(KernelError::Build { command: name.to_owned(), status, last_lines: output?.into() })
    }
}

fn tail(output: impl io::Read, log: &Path, told: &mut impl FnMut(u64)) -> Result<VecDeque<String>, KernelError> {
    let failed = |error| io_error("write", log)(error);
    let mut log_file = File::options().create(true).append(true).open(log).map_err(failed)?;
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let mut lines = 0;
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line.map_err(failed)?;
        line.push(b'\n');
        log_file.write_all(&line).map_err(failed)?;
        lines += 1;
        told(lines);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        let text = String::from_utf8_lossy(&line);
        last.push_back(text.trim_end().chars().take(LINE_LENGTH).collect());
    }
    Ok(last)
}

#[cfg(test)]
#[path = "make_test.rs"]
mod tests;
