//! Files that the host puts.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use bottle_protocol::{Entry, EntryKind, ExitStatus, INITIAL_WINDOW, ProcessId, Put, ToAgent, ToHost};

use crate::host::{Host, command};

fn id(number: u32) -> ProcessId {
    ProcessId::new(number).unwrap()
}

fn me() -> CString {
    CString::new(format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid())).unwrap()
}

fn tree(entries: &[(EntryKind, &Path, u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![];
    for (kind, path, mode, contents) in entries {
        let path = path.to_str().unwrap().as_bytes().to_vec();
        Entry { kind: *kind, mode: *mode, path, size: contents.len() as u64 }.encode(&mut bytes).unwrap();
        bytes.extend_from_slice(contents);
    }
    bytes
}

/// Sends a tree as the window allows, and returns the last answer.
fn put(host: &mut Host, user: CString, bytes: &[u8], piece: usize) -> ToHost {
    host.send(&ToAgent::Put(Put { process: id(2), user }));
    let mut window = INITIAL_WINDOW as usize;
    for bytes in bytes.chunks(piece) {
        while window < bytes.len() {
            match host.receive() {
                ToHost::Credit { process, bytes } if process == id(2) => window += bytes as usize,
                other => return other,
            }
        }
        window -= bytes.len();
        host.send(&ToAgent::Stdin { process: id(2), bytes: bytes.to_vec().into() });
    }
    host.send(&ToAgent::StdinEof { process: id(2) });
    loop {
        match host.receive() {
            ToHost::Credit { .. } => {}
            other => return other,
        }
    }
}

fn done() -> ToHost {
    ToHost::Exited { process: id(2), status: ExitStatus::Code(0) }
}

#[test]
fn a_tree_arrives_with_its_modes_in_place_of_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("old/inside")).unwrap();
    fs::write(at("target"), "untouched").unwrap();
    symlink(at("target"), at("link-before")).unwrap();
    let large: Vec<u8> = (0..1_000_000u32).map(|number| number.to_le_bytes()[0]).collect();
    let bytes = tree(&[
        (EntryKind::Nothing, &at("old"), 0, b""),
        (EntryKind::Directory, &at("new"), 0o711, b""),
        (EntryKind::File, &at("new/large"), 0o640, &large),
        (EntryKind::File, &at("new/empty"), 0o755, b""),
        (EntryKind::File, &at("link-before"), 0o600, b"a file now"),
        (EntryKind::Link, &at("new/link"), 0, b"../target"),
    ]);
    let mut host = Host::new();
    assert_eq!(put(&mut host, me(), &bytes, 40_000), done());
    assert!(!at("old").exists());
    assert_eq!(fs::read(at("new/large")).unwrap(), large);
    let mode = |path: &str| fs::symlink_metadata(at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("new"), mode("new/large"), mode("new/empty"), mode("link-before")], [0o711, 0o640, 0o755, 0o600]);
    assert_eq!(fs::read_to_string(at("target")).unwrap(), "untouched", "a link is replaced, not followed");
    assert_eq!(fs::read_link(at("new/link")).unwrap(), Path::new("../target"));
    // The id is free again, and a command runs beside a transfer.
    assert_eq!(put(&mut host, me(), &tree(&[(EntryKind::File, &at("new/empty"), 0o600, b"x")]), 3), done());
    host.start(command(&["true"]));
    assert_eq!(host.finish(ProcessId::FIRST).exit, Some(ExitStatus::Code(0)));
}

#[test]
fn as_root_files_are_given_to_the_user() {
    if !nix::unistd::getuid().is_root() {
        return; // nobody else may give files away
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let bytes = tree(&[
        (EntryKind::Directory, &at("home"), 0o700, b""),
        (EntryKind::File, &at("home/file"), 0o600, b"x"),
        (EntryKind::Link, &at("home/link"), 0, b"file"),
    ]);
    assert_eq!(put(&mut Host::new(), c"1000:1001".to_owned(), &bytes, 7), done());
    for path in ["home", "home/file", "home/link"] {
        let found = fs::symlink_metadata(at(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (1000, 1001), "{path}");
    }
    assert_eq!(dir.path().metadata().unwrap().uid(), 0, "what was there stays as it was");
}

#[test]
fn what_cannot_be_put_is_said_and_the_agent_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing/file");
    let mut host = Host::new();
    let answer = put(&mut host, me(), &tree(&[(EntryKind::File, &missing, 0o600, b"x")]), 99);
    let detail = format!("cannot put `{}`", missing.display());
    assert_eq!(answer, ToHost::PutFailed { process: id(2), errno: libc::ENOENT, detail });
    let detail = "the image has no user `nobody-of-that-name`".to_owned();
    let answer = put(&mut host, c"nobody-of-that-name".to_owned(), b"", 1);
    assert_eq!(answer, ToHost::PutFailed { process: id(2), errno: libc::ENOENT, detail });
    host.start(command(&["true"]));
    assert_eq!(host.finish(ProcessId::FIRST).exit, Some(ExitStatus::Code(0)));
}

#[test]
fn what_is_no_tree_ends_the_connection() {
    for bytes in [&b"\x09nonsense-that-is-long-enough"[..], b"\x02"] {
        let mut host = Host::new();
        host.send(&ToAgent::Put(Put { process: id(2), user: me() }));
        host.send(&ToAgent::Stdin { process: id(2), bytes: bytes.to_vec().into() });
        host.send(&ToAgent::StdinEof { process: id(2) });
        assert_eq!(host.try_receive(), None);
        assert!(host.last_words().contains("the host broke the protocol"));
    }
}
