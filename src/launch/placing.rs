//! Files that the guest gets before its command starts: prompt, skills, logins' dummies, a copy of the workspace.
//!
//! Law: they are read as they are sent, and as much is under way as the window allows; a tree of any size costs a chunk of memory, and the
//! names in the directories on the way to where it is. What is neither file, directory nor link (sockets, devices) is left out.

use super::boot::{Guest, name};
use super::error::LaunchError;
use super::timings::Timings;
use bottle_protocol::{
    Entry, EntryKind, ExitStatus, INITIAL_WINDOW, MAX_DATA, ProcessId, Put, ToAgent, ToHost, Window,
};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is put, and whose it is then.
#[derive(Debug)]
pub struct Placing {
    /// As in an image's config.
    pub user: CString,
    pub files: Vec<Placed>,
}

/// A file or a directory of the host, copied with all that is in it, in place of what the image has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub host: PathBuf,
    /// Absolute.
    pub guest: PathBuf,
    /// Permission bits; without them, the host's.
    pub mode: Option<u16>,
    /// Whether an image's directory of that name is removed before, or filled up.
    pub replace: bool,
}

/// Beside the command's own.
fn transfer() -> ProcessId {
    ProcessId::new(ProcessId::FIRST.get().saturating_add(1)).unwrap_or(ProcessId::FIRST)
}

/// Mode of directories above what is put, where the image has none.
const ABOVE: u16 = 0o755;

/// Puts everything, and waits until it is there. Each answer of the guest may take `limit`.
pub(super) async fn place(
    guest: &mut Guest,
    placing: &Placing,
    limit: Duration,
    timings: &mut Timings,
) -> Result<(), LaunchError> {
    guest.sender.send(&ToAgent::Put(Put { process: transfer(), user: placing.user.clone() }))?;
    let mut sending = Sending { guest, timings, limit, window: Window::new(), buffer: Vec::new(), ready: false };
    let mut made = BTreeSet::new();
    for placed in &placing.files {
        for directory in above(&placed.guest) {
            if made.insert(directory.to_owned()) {
                sending.entry(EntryKind::Directory, ABOVE, directory, 0).await?;
            }
        }
        if placed.replace {
            sending.entry(EntryKind::Nothing, 0, &placed.guest, 0).await?;
        }
        sending.copy(placed).await?;
    }
    sending.finish().await
}

/// The directories that a path is in, the outermost first, without the root.
fn above(path: &Path) -> Vec<&Path> {
    let mut above: Vec<_> = path.ancestors().skip(1).filter(|it| it.parent().is_some()).collect();
    above.reverse();
    above
}

struct Sending<'a> {
    guest: &'a mut Guest,
    timings: &'a mut Timings,
    limit: Duration,
    window: Window,
    buffer: Vec<u8>,
    /// The guest has answered the setup, which it does once.
    ready: bool,
}

impl Sending<'_> {
    async fn copy(&mut self, placed: &Placed) -> Result<(), LaunchError> {
        // What is named may be a link, as people keep skills in repositories; links inside are copied as links.
        let host =
            fs::canonicalize(&placed.host).map_err(|source| LaunchError::Read { path: placed.host.clone(), source })?;
        let mut left = vec![(host, placed.guest.clone(), placed.mode)];
        while let Some((host, guest, mode)) = left.pop() {
            let failed = |source| LaunchError::Read { path: host.clone(), source };
            let metadata = fs::symlink_metadata(&host).map_err(failed)?;
            if metadata.is_dir() {
                self.entry(EntryKind::Directory, mode.unwrap_or_else(|| bits(&metadata)), &guest, 0).await?;
                let mut names: Vec<_> = fs::read_dir(&host)
                    .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>())
                    .map_err(failed)?;
                names.sort_unstable_by(|one, other| other.cmp(one)); // the last is taken first
                left.extend(names.into_iter().map(|name| (host.join(&name), guest.join(&name), None)));
            } else if metadata.is_symlink() {
                let target = fs::read_link(&host).map_err(failed)?;
                let target = target.as_os_str().as_bytes();
                self.entry(EntryKind::Link, 0, &guest, target.len() as u64).await?;
                self.bytes(target).await?;
            } else if metadata.is_file() {
                self.file(&host, &guest, mode).await?;
            }
        }
        Ok(())
    }

    /// As long as it was when it was opened: one that grows is cut there, one that shrinks is an error.
    async fn file(&mut self, host: &Path, guest: &Path, mode: Option<u16>) -> Result<(), LaunchError> {
        let failed = |source| LaunchError::Read { path: host.to_owned(), source };
        let (file, metadata) = open_file(host).map_err(failed)?;
        let size = metadata.len();
        self.entry(EntryKind::File, mode.unwrap_or_else(|| bits(&metadata)), guest, size).await?;
        let mut file = file.take(size);
        let mut sent = 0u64;
        let mut chunk = vec![0; MAX_DATA as usize];
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 if sent == size => return Ok(()),
                0 => return Err(failed(io::Error::other("it became shorter while it was read"))),
                read => {
                    sent = sent.saturating_add(read as u64);
                    self.bytes(chunk.get(..read).unwrap_or_default()).await?;
                }
            }
        }
    }

    async fn entry(&mut self, kind: EntryKind, mode: u16, path: &Path, size: u64) -> Result<(), LaunchError> {
        let entry = Entry { kind, mode, path: path.as_os_str().as_bytes().to_vec(), size };
        entry.encode(&mut self.buffer).map_err(|error| LaunchError::Control(error.into()))?;
        self.send(MAX_DATA as usize).await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), LaunchError> {
        self.buffer.extend_from_slice(bytes);
        self.send(MAX_DATA as usize).await
    }

    /// Sends all that is there in frames, and keeps less than `least`.
    async fn send(&mut self, least: usize) -> Result<(), LaunchError> {
        while self.buffer.len() >= least && !self.buffer.is_empty() {
            let length = self.buffer.len().min(MAX_DATA as usize);
            while (self.window.available() as usize) < length {
                self.answer().await?;
            }
            let rest = self.buffer.split_off(length);
            let frame = std::mem::replace(&mut self.buffer, rest);
            let count = u32::try_from(length).unwrap_or(INITIAL_WINDOW);
            self.window.consume(count).map_err(|error| LaunchError::Control(error.into()))?;
            self.guest.sender.send_stdin(transfer(), &frame)?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), LaunchError> {
        self.send(1).await?;
        self.guest.sender.send(&ToAgent::StdinEof { process: transfer() })?;
        while !self.answer().await? {}
        Ok(())
    }

    /// The guest's next answer; true if it was the last.
    async fn answer(&mut self) -> Result<bool, LaunchError> {
        let next = tokio::time::timeout(self.limit, self.guest.next(self.timings)).await;
        let Ok(answer) = next else { return Err(self.guest.silent("take the bottle's files", self.limit)) };
        match answer? {
            ToHost::Ready if !std::mem::replace(&mut self.ready, true) => Ok(false),
            ToHost::Credit { process, bytes } if process == transfer() && bytes > 0 => {
                self.window.refill(bytes).map_err(|error| LaunchError::Control(error.into()))?;
                Ok(false)
            }
            ToHost::Exited { process, status: ExitStatus::Code(0) } if process == transfer() => Ok(true),
            ToHost::PutFailed { errno, detail, .. } => Err(LaunchError::Put { detail, errno_value: errno }),
            ToHost::SetupFailed { what, errno } => Err(LaunchError::Setup { what, errno_value: errno }),
            other => Err(LaunchError::Unexpected { message: name(&other), expected: "credit for the bottle's files" }),
        }
    }
}

/// It was a file a moment ago: a link leads elsewhere, and a fifo would hold us up.
fn open_file(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("it is no file any more")) }
}

fn bits(metadata: &Metadata) -> u16 {
    u16::try_from(metadata.permissions().mode() & 0o777).unwrap_or(ABOVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_link_or_a_fifo_by_now_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "mine").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open_file(&path("file")).unwrap().1.len(), 4);
        assert_eq!(open_file(&path("link")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        for name in ["fifo", "."] {
            assert_eq!(open_file(&path(name)).unwrap_err().to_string(), "it is no file any more", "{name}");
        }
    }

    #[test]
    fn directories_above_come_from_the_outside_in() {
        let expected = ["/home", "/home/node", "/home/node/.codex"].map(Path::new);
        assert_eq!(above(Path::new("/home/node/.codex/config.toml")), expected);
        assert_eq!(above(Path::new("/x")), Vec::<&Path>::new());
    }
}
