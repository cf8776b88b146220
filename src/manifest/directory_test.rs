use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn directory() -> (tempfile::TempDir, Directory) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("agents")).unwrap();
    let agents = Directory::own(&dir.path().join("agents")).unwrap().unwrap();
    (dir, agents)
}

#[test]
fn a_link_is_followed_inside_and_nowhere_else() {
    let (dir, agents) = directory();
    fs::write(dir.path().join("secret"), "s").unwrap();
    fs::write(agents.path.join("a.md"), "a").unwrap();
    fs::create_dir(agents.path.join("sub")).unwrap();
    symlink("a.md", agents.path.join("inside.md")).unwrap();
    symlink("sub/../a.md", agents.path.join("around.md")).unwrap();
    assert_eq!((agents.read("inside.md"), agents.read("around.md")), (Ok(b"a".to_vec()), Ok(b"a".to_vec())));
    symlink("../secret", agents.path.join("up.md")).unwrap();
    symlink(dir.path().join("secret"), agents.path.join("absolute.md")).unwrap();
    symlink("/proc/self/environ", agents.path.join("proc.md")).unwrap();
    symlink("circle.md", agents.path.join("circle.md")).unwrap();
    symlink("..", agents.path.join("parent")).unwrap();
    for name in ["up.md", "absolute.md", "proc.md", "circle.md", "parent/secret", "../secret", "/etc/passwd"] {
        assert_eq!(agents.read(name), Err(Fault::LeadsOut), "{name}");
    }
    symlink("nowhere.md", agents.path.join("dangling.md")).unwrap();
    assert_eq!(agents.read("dangling.md"), Err(Fault::Unreadable(Errno::ENOENT)));
}

#[test]
fn the_directory_stays_the_one_that_was_opened() {
    let (dir, agents) = directory();
    fs::write(agents.path.join("a.md"), "mine").unwrap();
    fs::rename(&agents.path, dir.path().join("moved")).unwrap();
    fs::create_dir(&agents.path).unwrap();
    fs::write(agents.path.join("a.md"), "theirs").unwrap();
    assert_eq!(agents.read("a.md"), Ok(b"mine".to_vec()));
}

#[test]
fn nothing_but_files_and_none_that_is_long() {
    let (_dir, agents) = directory();
    fs::create_dir(agents.path.join("dir.md")).unwrap();
    nix::unistd::mkfifo(&agents.path.join("pipe.md"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(agents.path.join("socket.md")).unwrap();
    for name in ["dir.md", "pipe.md", "socket.md"] {
        assert_eq!(agents.read(name), Err(Fault::NotAFile), "{name}");
    }
    let long = File::create(agents.path.join("long.md")).unwrap();
    long.set_len(100 << 20).unwrap();
    assert_eq!(agents.read("long.md"), Err(Fault::TooLarge { size: 100 << 20 }));
    long.set_len(FILE_MAX).unwrap();
    assert_eq!(agents.read("long.md").unwrap().len() as u64, FILE_MAX);
}

#[test]
fn a_directory_beneath_is_reached_through_no_link() {
    let (dir, agents) = directory();
    let top = Directory::own(dir.path()).unwrap().unwrap();
    assert!(top.beneath(Path::new("agents")).unwrap().unwrap().is(&agents));
    assert!(top.beneath(Path::new("bottles")).unwrap().is_none());
    symlink("agents", dir.path().join("link")).unwrap();
    assert_eq!(top.beneath(Path::new("link")).err(), Some(Errno::ELOOP));
    assert_eq!(agents.beneath(Path::new("..")).err(), Some(Errno::EXDEV));
    fs::write(dir.path().join("file"), "").unwrap();
    assert_eq!(top.beneath(Path::new("file")).err(), Some(Errno::ENOTDIR));
}

#[test]
fn names_are_sorted_and_hidden_ones_left_out() {
    let (_dir, agents) = directory();
    for name in ["b.md", "a.md", ".hidden.md", "x.txt"] {
        fs::write(agents.path.join(name), "").unwrap();
    }
    assert_eq!(agents.names(), Ok((vec!["a.md".into(), "b.md".into(), "x.txt".into()], false)));
}
