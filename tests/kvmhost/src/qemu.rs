//! One QEMU process and its connections: virtio-serial ports, 9p shares and the monitor.
//!
//! All sockets are pairs made before QEMU starts: there are no names in the file system to collide or to be left, and
//! the end of QEMU is the end of file on every one of them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::machine::{Machine, Snapshot};
use crate::qmp::{Qmp, QmpError};
use crate::sys;

/// Directories that one run can share read-write. The number of devices is part of the snapshot.
pub(crate) const MAX_SHARES: usize = 4;

/// How much of the console an error carries.
const TAIL_LINES: usize = 25;
const TAIL_BYTES: u64 = 16 << 10;

/// The longest line the first process may send; what is longer is not from it.
const MAX_LINE_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("cannot start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot connect to QEMU")]
    Wire(#[source] io::Error),
    #[error("the emulated host failed{}", after(console))]
    Monitor { source: QmpError, console: String },
    #[error("the emulated host ended ({status}){}", after(console))]
    Ended { status: String, console: String },
    #[error("the emulated host failed: {what}{}", after(console))]
    Inside { what: String, console: String },
    #[error("the emulated host was not ready in {} s{}", patience.as_secs(), after(console))]
    NotReady { patience: Duration, console: String },
}

impl QemuError {
    pub fn hint(&self) -> Option<String> {
        match self {
            QemuError::Ended { console, .. } | QemuError::Monitor { console, .. }
                if console.contains("shared libraries") =>
            {
                Some("`cargo kvmhost --setup` as root installs QEMU's shared libraries".into())
            }
            QemuError::NotReady { .. } => Some("is the machine busy with other things?".into()),
            _ => None,
        }
    }
}

fn after(console: &str) -> String {
    if console.is_empty() { String::new() } else { format!("; the end of its console:\n{console}") }
}

/// Where the machine's memory is.
pub(crate) enum Memory<'a> {
    /// A new file, shared, to be kept.
    Save { ram: &'a Path },
    /// A private view of a kept one.
    Restore { ram: &'a Path },
}

/// A line from the emulated host's first process.
#[derive(Debug)]
pub(crate) enum Line {
    Text(String),
    /// No line before the time was up.
    Late,
    /// The machine ended.
    End,
}

/// A running QEMU; dropped, it is killed. It dies with the thread that started it and so cannot be sent to another.
#[derive(Debug)]
pub(crate) struct Qemu {
    _bound_to_thread: PhantomData<*const ()>,
    child: Child,
    qmp: Qmp,
    control: UnixStream,
    unread: Vec<u8>,
    pub(crate) out: UnixStream,
    pub(crate) err: UnixStream,
    pub(crate) input: UnixStream,
    console: File,
}

impl Qemu {
    /// Starts the machine: it boots, or waits to be restored.
    pub(crate) fn start(
        machine: &Machine,
        memory: &Memory<'_>,
        shares: &[PathBuf],
        log: Option<&Path>,
    ) -> Result<Qemu, QemuError> {
        let (control, control_peer) = UnixStream::pair().map_err(QemuError::Wire)?;
        let (out, out_peer) = UnixStream::pair().map_err(QemuError::Wire)?;
        let (err, err_peer) = UnixStream::pair().map_err(QemuError::Wire)?;
        let (input, input_peer) = UnixStream::pair().map_err(QemuError::Wire)?;
        let (monitor, monitor_peer) = UnixStream::pair().map_err(QemuError::Wire)?;
        let ports = [&control_peer, &out_peer, &err_peer, &input_peer].map(AsRawFd::as_raw_fd);
        let console = console_file(log).map_err(QemuError::Wire)?;

        let program = machine.parts.qemu();
        let mut command = Command::new(&program);
        command
            .args(machine.arguments())
            .args(memory_arguments(machine, memory))
            .args(port_arguments(&ports, monitor_peer.as_raw_fd()))
            .args(share_arguments(shares))
            .stdin(Stdio::null())
            .stdout(console.try_clone().map_err(QemuError::Wire)?)
            .stderr(console.try_clone().map_err(QemuError::Wire)?);
        sys::bind_to_caller(&mut command, [&ports[..], &[monitor_peer.as_raw_fd()]].concat());
        let mut child = command.spawn().map_err(|source| QemuError::Start { program, source })?;
        // QEMU's ends must be QEMU's only, or its end would not be seen.
        drop((control_peer, out_peer, err_peer, input_peer, monitor_peer));
        match Qmp::greet(monitor) {
            Ok(qmp) => Ok(Qemu {
                _bound_to_thread: PhantomData,
                child,
                qmp,
                control,
                unread: Vec::new(),
                out,
                err,
                input,
                console,
            }),
            Err(source) => {
                // Already ended, or useless.
                let _ = child.kill();
                let _ = child.wait();
                Err(QemuError::Monitor { source, console: tail(&console) })
            }
        }
    }

    /// A copy of the saved machine, running and waiting for a job.
    pub(crate) fn restore(snapshot: &Snapshot, shares: &[PathBuf], log: Option<&Path>) -> Result<Qemu, QemuError> {
        let memory = Memory::Restore { ram: &snapshot.ram };
        let mut qemu = Qemu::start(&snapshot.machine, &memory, shares, log)?;
        let loaded = qemu.qmp.leave_ram_in_place().and_then(|()| qemu.qmp.restore(&file_uri(&snapshot.state)));
        loaded.map_err(|source| QemuError::Monitor { source, console: tail(&qemu.console) })?;
        Ok(qemu)
    }

    /// Saves the machine, which is stopped by that.
    pub(crate) fn save(&mut self, state: &Path) -> Result<(), QemuError> {
        let saved = self.qmp.leave_ram_in_place().and_then(|()| self.qmp.save(&file_uri(state)));
        saved.map_err(|source| QemuError::Monitor { source, console: tail(&self.console) })
    }

    pub(crate) fn await_ready(&mut self, patience: Duration) -> Result<(), QemuError> {
        match self.line(Some(Instant::now() + patience)).map_err(QemuError::Wire)? {
            Line::Text(line) if line == "READY" => Ok(()),
            Line::Text(line) => Err(self.failed_inside(&line)),
            Line::Late => Err(QemuError::NotReady { patience, console: tail(&self.console) }),
            Line::End => Err(self.ended()),
        }
    }

    /// The connection to the first process, for writing.
    pub(crate) fn control(&self) -> &UnixStream {
        &self.control
    }

    /// The next line of the first process.
    pub(crate) fn line(&mut self, deadline: Option<Instant>) -> io::Result<Line> {
        let mut buffer = [0; 256];
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Line::Text(String::from_utf8_lossy(&line).trim().to_owned()));
            }
            if self.unread.len() > MAX_LINE_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A time-out of zero means none to the socket.
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Line::Late);
            }
            self.control.set_read_timeout(left)?;
            match self.control.read(&mut buffer) {
                Ok(0) => return Ok(Line::End),
                Ok(count) => self.unread.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Line::End),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The error for a line that is not the expected one.
    pub(crate) fn failed_inside(&self, line: &str) -> QemuError {
        let what = line.strip_prefix("FAILED ").unwrap_or(line).to_owned();
        QemuError::Inside { what, console: tail(&self.console) }
    }

    /// The error for an end that nobody asked for.
    pub(crate) fn ended(&mut self) -> QemuError {
        let status = self.end().map_or_else(|error| error.to_string(), |status| status.to_string());
        QemuError::Ended { status, console: tail(&self.console) }
    }

    /// Ends the machine if it runs. SIGKILL loses nothing: all that is kept has been written through 9p before.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.child.kill()?;
        self.child.wait()
    }

    pub(crate) fn console_tail(&self) -> String {
        tail(&self.console)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed; it dies with this thread at the latest.
        let _ = self.end();
    }
}

/// The devices of every run, without what differs from run to run. A snapshot fits only the devices it was made with.
pub(crate) fn devices() -> Vec<OsString> {
    [port_arguments(&[0; 4], 0), share_arguments(&[])].concat()
}

fn memory_arguments(machine: &Machine, memory: &Memory<'_>) -> Vec<OsString> {
    let (ram, share) = match memory {
        Memory::Save { ram } => (ram, "on"),
        Memory::Restore { ram } => (ram, "off"),
    };
    let size = machine.shape.mem_mib;
    let mut object = OsString::from(format!("memory-backend-file,id=ram,size={size}M,share={share},mem-path="));
    object.push(option_value(ram));
    let mut arguments = vec!["-object".into(), object];
    if let Memory::Restore { .. } = memory {
        arguments.extend(["-incoming".into(), "defer".into()]);
    }
    arguments
}

/// The machine's root read-only, and the shares. One that is not used is not mounted, and shows nothing that the root
/// does not.
fn share_arguments(shares: &[PathBuf]) -> Vec<OsString> {
    let local = |path: &Path, tag: &str, more: &str| {
        let mut value =
            OsString::from(format!("local,mount_tag={tag},security_model=none,multidevs=remap{more},path="));
        value.push(option_value(path));
        ["-virtfs".into(), value]
    };
    let mut arguments = Vec::from(local(Path::new("/"), "root", ",readonly=on"));
    for slot in 0..MAX_SHARES {
        let tag = format!("share{slot}");
        arguments.extend(match shares.get(slot) {
            Some(path) => local(path, &tag, ""),
            None => local(Path::new("/"), &tag, ",readonly=on"),
        });
    }
    arguments
}

/// Before the shares, since the guest counts virtio devices from 0 and calls these ports `/dev/vport0pN`.
fn port_arguments(ports: &[RawFd; 4], monitor: RawFd) -> Vec<OsString> {
    let mut words = vec![
        // The console goes where QEMU's own messages go.
        "-chardev stdio,id=console,signal=off -serial chardev:console".to_owned(),
        format!("-chardev socket,id=monitor,fd={monitor} -mon chardev=monitor,mode=control"),
        "-device virtio-serial-pci,id=ports,max_ports=8".to_owned(),
    ];
    for (number, fd) in (1..).zip(ports) {
        words.push(format!("-chardev socket,id=port{number},fd={fd}"));
        words.push(format!("-device virtserialport,bus=ports.0,nr={number},chardev=port{number}"));
    }
    words.iter().flat_map(|words| words.split(' ')).map(OsString::from).collect()
}

/// A path in a QEMU option, where a comma ends the value and two stand for one.
fn option_value(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    let doubled = bytes.iter().flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    OsString::from_vec(doubled.collect())
}

fn file_uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

fn console_file(log: Option<&Path>) -> io::Result<File> {
    match log {
        Some(path) => File::options().read(true).write(true).create(true).truncate(true).open(path),
        None => tempfile::tempfile(),
    }
}

/// The last lines of the console. Read at an offset: the file's position is QEMU's.
fn tail(console: &File) -> String {
    let length = console.metadata().map_or(0, |data| data.len());
    let start = length.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
    let count = console.read_at(&mut bytes, start).unwrap_or(0);
    bytes.truncate(count);
    let text = String::from_utf8_lossy(&bytes);
    // EPYC has features that TCG's SVM lacks; KVM does without them.
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.contains("TCG doesn't support requested feature")).collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
#[path = "qemu_test.rs"]
mod tests;
