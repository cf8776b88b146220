//! A directory of the host as the root. Law: reads the host's tree, follows no link out of it, stays on one file system.
//!
//! It is read with the caller's own permissions and taken as found: owners and modes are what stat(2) shows, so a root
//! that was unpacked by an ordinary user belongs to that user in the guest too. An archive keeps the real owners.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::attributes::is_storable;
use super::budget::Budget;
use super::digest::{Digest, Digester};
use super::erofs::{StoreError, xattrs_fit};
use super::error::ImageError;
use super::limits::Limits;
use super::pack::{Contents, Sink};
use super::tree::{ContentId, Device, Inode, InodeId, Kind, Meta, Time, Tree, TreeError, Xattrs};

const TOO_MANY: &str = "the directory has too many entries, or their names and attributes take too much memory";

/// A directory, seen once: paths and what stat(2) says of them, parents before children, sorted by name.
#[derive(Debug)]
pub(crate) struct Scan {
    found: Vec<Found>,
    budget: Budget,
    fingerprint: Digest,
    latest_change: (i64, i64),
    began: SystemTime,
}

#[derive(Debug)]
struct Found {
    path: PathBuf,
    /// Index of the directory it was found in; the root's is its own.
    parent: usize,
    stat: Stat,
}

/// What an image needs of stat(2), and no more: it is held for every entry at once.
#[derive(Debug)]
struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: Time,
    represented: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    has_other_names: bool,
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: Time { seconds: metadata.mtime(), nanoseconds },
            represented: metadata.rdev(),
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            has_other_names: metadata.nlink() > 1 && !metadata.is_dir(),
        }
    }
}

/// Goes through what is below `root` and on its file system: a directory's names sorted, those in it after all of its own level.
fn walk(
    root: &Path,
    limits: &Limits,
    budget: &Budget,
    mut visit: impl FnMut(PathBuf, usize, &Metadata) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let metadata = fs::metadata(root).map_err(|error| io(root, error))?;
    let device = metadata.dev();
    let mut directories = VecDeque::from([(0, root.to_owned())]);
    visit(root.to_owned(), 0, &metadata)?;
    let mut count = 1;
    while let Some((parent, directory)) = directories.pop_front() {
        // Beside what is remembered of other directories.
        let mut inside = list(&directory, &Budget::new(limits.entries, budget.bytes_left()))?;
        inside.sort_unstable();
        for path in inside {
            let metadata = fs::symlink_metadata(&path).map_err(|error| io(&path, error))?;
            // What is mounted inside (/proc, a bind mount) is not part of the image; its mount point is.
            if metadata.is_dir() && metadata.dev() == device {
                directories.push_back((count, path.clone()));
            }
            visit(path, parent, &metadata)?;
            count += 1;
        }
        if count > limits.entries as usize {
            return Err(ImageError::RootEntry { path: directory, what: TOO_MANY });
        }
    }
    Ok(())
}

/// Takes in whatever could change the image: a change of contents, owner, mode or attributes moves `ctime`.
fn digest(digester: &mut Digester, path: &Path, metadata: &Metadata) {
    digester.part(path.as_os_str().as_bytes());
    for number in [metadata.dev(), metadata.ino(), metadata.size(), u64::from(metadata.mode())] {
        digester.number(number);
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        digester.number(number.cast_unsigned());
    }
}

/// That of a scan, which is not kept.
pub(crate) fn fingerprint(root: &Path, limits: &Limits) -> Result<Digest, ImageError> {
    let mut digester = Digester::default();
    walk(root, limits, &Budget::new(limits.entries, limits.memory_bytes), |path, _, metadata| {
        digest(&mut digester, &path, metadata);
        Ok(())
    })?;
    Ok(digester.finish())
}

impl Scan {
    pub(crate) fn of(root: &Path, limits: &Limits) -> Result<Self, ImageError> {
        let (began, budget) = (SystemTime::now(), Budget::new(limits.entries, limits.memory_bytes));
        let (mut found, mut digester, mut latest_change) = (Vec::new(), Digester::default(), (0, 0));
        walk(root, limits, &budget, |path, parent, metadata| {
            digest(&mut digester, &path, metadata);
            latest_change = latest_change.max((metadata.ctime(), metadata.ctime_nsec()));
            spend(&budget, &path, metadata.is_dir())?;
            found.push(Found { path, parent, stat: Stat::of(metadata) });
            Ok(())
        })?;
        Ok(Self { found, budget, fingerprint: digester.finish(), latest_change, began })
    }

    /// Before anything was looked at.
    pub(crate) fn began(&self) -> SystemTime {
        self.began
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.len() < 2
    }

    pub(crate) fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Seconds and nanoseconds of the latest change of anything in it.
    pub(crate) fn latest_change(&self) -> (i64, i64) {
        self.latest_change
    }

    pub(crate) fn into_tree(self, limits: &Limits) -> Result<(Tree, RootFiles), ImageError> {
        let mut tree = Tree::new(limits.entries);
        let mut files = RootFiles { paths: Vec::new() };
        let mut known = HashMap::new();
        let mut inodes = Vec::with_capacity(self.found.len());
        for Found { path, parent, stat } in self.found {
            let at = path.clone();
            let name = at.file_name().unwrap_or_default().as_bytes();
            if inodes.is_empty() {
                tree.get_mut(InodeId::ROOT).meta = meta(&path, &stat, &self.budget)?;
                inodes.push(InodeId::ROOT);
                continue;
            }
            let identity = (stat.device, stat.inode);
            let inode = match known.get(&identity).copied().filter(|_| stat.has_other_names) {
                Some(inode) => inode,
                None => {
                    let inode = Inode { meta: meta(&path, &stat, &self.budget)?, kind: files.kind(path, &stat)? };
                    tree.add(inode).map_err(|error| entry(&at, error))?
                }
            };
            if stat.has_other_names {
                known.insert(identity, inode);
            }
            tree.link(inodes[parent], name, inode).map_err(|error| entry(&at, error))?;
            inodes.push(inode);
        }
        Ok((tree, files))
    }
}

/// The files of a tree made from a directory; a content's index is that of its path.
#[derive(Debug)]
pub(crate) struct RootFiles {
    paths: Vec<PathBuf>,
}

impl RootFiles {
    fn kind(&mut self, path: PathBuf, stat: &Stat) -> Result<Kind, ImageError> {
        let device = || Device { major: libc::major(stat.represented), minor: libc::minor(stat.represented) };
        Ok(match stat.mode & libc::S_IFMT {
            libc::S_IFREG => {
                let index = u32::try_from(self.paths.len()).map_err(|_| entry(&path, TreeError::TooManyInodes))?;
                self.paths.push(path);
                Kind::File { size: stat.size, content: ContentId { source: 0, index } }
            }
            libc::S_IFDIR => Kind::empty_directory(),
            libc::S_IFLNK => {
                let target = fs::read_link(&path).map_err(|error| io(&path, error))?;
                Kind::Symlink(target.into_os_string().into_vec().into())
            }
            libc::S_IFCHR => Kind::CharDevice(device()),
            libc::S_IFBLK => Kind::BlockDevice(device()),
            libc::S_IFIFO => Kind::Fifo,
            _ => Kind::Socket,
        })
    }

    fn path(&self, content: ContentId) -> &Path {
        self.paths.get(content.index as usize).map_or(Path::new(""), PathBuf::as_path)
    }
}

impl Contents for RootFiles {
    fn deliver(&self, wanted: &[ContentId], sink: &mut Sink<'_>) -> Result<(), ImageError> {
        for &content in wanted {
            let path = self.path(content);
            let mut file = open(path).map_err(|error| io(path, error))?;
            sink(content, &mut file)?;
        }
        Ok(())
    }

    fn unreadable(&self, content: ContentId, error: StoreError) -> ImageError {
        let path = self.path(content).to_owned();
        match error {
            StoreError::Read(source) => ImageError::Io { action: "read", path, source },
            _ => ImageError::Changed { path },
        }
    }
}

/// Should a link have taken the file's place meanwhile, it is not followed; a fifo is not waited for.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// The paths of what is in a directory, as far as there is `room` for that.
fn list(directory: &Path, room: &Budget) -> Result<Vec<PathBuf>, ImageError> {
    let entries = fs::read_dir(directory).map_err(|error| io(directory, error))?;
    let path = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.map_err(|error| io(directory, error))?.path();
        spend(room, &path, false)?;
        Ok(path)
    };
    entries.map(path).collect()
}

fn spend(budget: &Budget, path: &Path, is_directory: bool) -> Result<(), ImageError> {
    let record = size_of::<Found>() + size_of::<PathBuf>();
    let spent = budget.spend_found(path.as_os_str().len(), record, is_directory);
    spent.map_err(|_| ImageError::RootEntry { path: path.to_owned(), what: TOO_MANY })
}

fn meta(path: &Path, stat: &Stat, budget: &Budget) -> Result<Meta, ImageError> {
    let refused = |what| ImageError::RootEntry { path: path.to_owned(), what };
    let xattrs = xattrs(path).map_err(|error| io(path, error))?;
    if !xattrs_fit(&xattrs) {
        return Err(refused("it has over 256 KiB of extended attributes, which EROFS has no room for"));
    }
    budget.spend_xattrs(&xattrs).map_err(|_| refused(TOO_MANY))?;
    Ok(Meta {
        mode: u16::try_from(stat.mode & 0o7777).unwrap_or_default(),
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.modified,
        xattrs,
    })
}

/// Those that may be read and stored; a file system without attributes has none.
fn xattrs(path: &Path) -> std::io::Result<Xattrs> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(Xattrs::default()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names {
        // Labels of the host's security policy mean nothing to the guest's kernel.
        if name == OsStr::new("security.selinux") {
            continue;
        }
        let Some(value) = xattr::get(path, &name)? else { continue };
        if is_storable(name.as_bytes(), &value) {
            found.push((name.as_bytes().into(), value.into()));
        }
    }
    found.sort_unstable();
    Ok(found.into())
}

fn io(path: &Path, source: std::io::Error) -> ImageError {
    ImageError::Io { action: "read", path: path.to_owned(), source }
}

fn entry(path: &Path, error: TreeError) -> ImageError {
    let what = match error {
        TreeError::TooManyInodes => TOO_MANY,
        TreeError::NameTooLong => "its name is too long",
        TreeError::TooManySteps => "it is too far behind symbolic links",
        TreeError::SymlinkLoop => "it is behind a loop of symbolic links",
    };
    ImageError::RootEntry { path: path.to_owned(), what }
}
