//! Who a command runs as: `name`, `uid`, `name:group`, `uid:gid`, looked up in the image's own files.
//!
//! The rules are docker's (OCI image-spec `config.User`, `docker run --user`): a number is always an id, even if some
//! name looks like it, and needs no entry; a name does. With a group given, that is the only one; without, the groups
//! that list the user count. `passwd(5)`, `group(5)`.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

/// Who to become.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    pub(crate) home: PathBuf,
}

/// Why nobody can be found by that name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("the image has no user `{name}`")]
    NoUser { name: String },
    #[error("the image has no group `{name}`")]
    NoGroup { name: String },
    #[error("cannot read {path}")]
    Read { path: &'static str, source: io::Error },
    #[error("{path} is longer than {limit} bytes")]
    TooLong { path: &'static str, limit: u64 },
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// More than any real one; a larger file in an image would only eat the guest's memory.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The kernel's limit (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// Looks up `user` in the files of the root.
pub(crate) fn look_up(user: &[u8]) -> Result<Identity, UserError> {
    resolve(user, &read_bounded(PASSWD)?, &read_bounded(GROUP)?)
}

fn resolve(user: &[u8], passwd: &[u8], group: &[u8]) -> Result<Identity, UserError> {
    let mut parts = user.splitn(2, |&byte| byte == b':');
    let (user, group_wanted) = (parts.next().unwrap_or_default(), parts.next().filter(|group| !group.is_empty()));
    let mut identity = Identity { uid: Uid::from_raw(0), gid: Gid::from_raw(0), groups: Vec::new(), home: "/".into() };
    let number = if user.is_empty() { Some(0) } else { id(user) };
    let entry = entries(passwd).filter_map(User::parse).find(|entry| match number {
        Some(number) => entry.uid == number,
        None => entry.name == user,
    });
    match (&entry, number) {
        (Some(entry), _) => {
            identity.uid = Uid::from_raw(entry.uid);
            identity.gid = Gid::from_raw(entry.gid);
            if !entry.home.is_empty() {
                identity.home = OsStr::from_bytes(entry.home).into();
            }
        }
        (None, Some(number)) => identity.uid = Uid::from_raw(number),
        (None, None) => return Err(UserError::NoUser { name: user.escape_ascii().to_string() }),
    }
    if let Some(wanted) = group_wanted {
        identity.gid = group_id(wanted, group)?;
    } else if let Some(entry) = entry {
        let with_user = entries(group).filter_map(Group::parse).filter(|group| group.has(entry.name));
        identity.groups = with_user.map(|group| Gid::from_raw(group.gid)).take(MAX_GROUPS).collect();
    }
    Ok(identity)
}

fn group_id(wanted: &[u8], group: &[u8]) -> Result<Gid, UserError> {
    let named = || entries(group).filter_map(Group::parse).find(|group| group.name == wanted).map(|group| group.gid);
    let gid = id(wanted).or_else(named);
    gid.map(Gid::from_raw).ok_or_else(|| UserError::NoGroup { name: wanted.escape_ascii().to_string() })
}

/// A line of `/etc/passwd`: `name:password:uid:gid:comment:home:shell`.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> User<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

/// A line of `/etc/group`: `name:password:gid:member,member`.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl<'a> Group<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn has(&self, user: &[u8]) -> bool {
        self.members.split(|&byte| byte == b',').any(|member| member.trim_ascii() == user)
    }
}

fn entries(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// A decimal id. The largest 32-bit number is "no change" to the kernel (`setresuid(2)`) and nobody's id.
fn id(digits: &[u8]) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: u32 = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    (number != u32::MAX).then_some(number)
}

/// The contents of a file; nothing if it is not there, or is no file (a FIFO would hold us up for good).
fn read_bounded(path: &'static str) -> Result<Vec<u8>, UserError> {
    let read = |file: File| -> io::Result<Vec<u8>> {
        let mut contents = Vec::new();
        if file.metadata()?.is_file() {
            file.take(MAX_FILE + 1).read_to_end(&mut contents)?;
        }
        Ok(contents)
    };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    match file.and_then(read) {
        Ok(contents) if contents.len() as u64 > MAX_FILE => Err(UserError::TooLong { path, limit: MAX_FILE }),
        Ok(contents) => Ok(contents),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(UserError::Read { path, source }),
    }
}

#[cfg(test)]
#[path = "user_test.rs"]
mod tests;
