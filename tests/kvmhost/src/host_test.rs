use super::*;

#[test]
fn shares_inside_others_are_not_mounted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    for name in ["a", "a/b", "a-b"] {
        std::fs::create_dir(dir.join(name)).unwrap();
    }
    let host = Host::default().share(dir.join("a/b")).share(dir.join("a")).share(dir.join("a-b"));
    assert_eq!(host.resolve_shares(&dir.join("a/b")).unwrap(), [dir.join("a"), dir.join("a-b")]);
}

#[test]
fn the_root_directory_is_not_shared_because_one_stands_in_it() {
    assert!(Host::default().resolve_shares(Path::new("/")).unwrap().is_empty());
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Host::default().share(dir.path().join("missing"));
    assert!(matches!(missing.resolve_shares(Path::new("/")), Err(HostError::Share { .. })));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let file = Host::default().share(dir.path().join("file"));
    assert!(matches!(file.resolve_shares(Path::new("/")), Err(HostError::Share { .. })));
    let mut many = Host::default();
    for number in 0..=MAX_SHARES {
        let path = dir.path().join(number.to_string());
        std::fs::create_dir(&path).unwrap();
        many = many.share(path);
    }
    assert!(matches!(many.resolve_shares(Path::new("/")), Err(HostError::TooManyShares { count: 5 })));
}
