//! The bundle: sockets of a directory that nobody else can write.

use super::*;

#[test]
fn the_bundles_ports_are_sockets_of_a_directory() {
    // A path that is longer than the address of a Unix socket.
    let outer = directory(0o700);
    let long = outer.path().join("x".repeat(150));
    std::fs::create_dir(&long).unwrap();
    std::fs::set_permissions(&long, std::fs::Permissions::from_mode(0o700)).unwrap();
    let short = outer.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, long.join("8888.sock")).unwrap();
    let gone = std::os::unix::net::UnixListener::bind(outer.path().join("g")).unwrap();
    std::fs::rename(outer.path().join("g"), long.join("9418.sock")).unwrap();
    drop(gone);
    let bundle = Some(BundleDirectory::open(&long).unwrap());
    let (served, ledger) = Stage { bundle, ..Stage::allowing(&[]) }.play(move |monitor| {
        let at = |port| SocketAddr::new(BUNDLE.into(), port);
        let descriptor = monitor.connect(1, Protocol::Tcp, at(8888)).unwrap();
        let mut ours = std::os::unix::net::UnixStream::from(descriptor);
        ours.write_all(b"GET").unwrap();
        let mut word = [0; 3];
        listener.accept().unwrap().0.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"GET");
        assert_eq!(monitor.tcp(2, at(9418)).unwrap_err(), Cause::ConnectionRefused, "nobody listens any more");
        assert_eq!(monitor.tcp(3, at(9420)).unwrap_err(), Cause::ConnectionRefused, "nobody ever did");
        assert_eq!(monitor.tcp(4, at(22)).unwrap_err(), Cause::Denied);
    });
    served.unwrap();
    assert_eq!((ledger.counts().connected, ledger.counts().failed, ledger.counts().denied), (1, 2, 1));
}

#[test]
fn only_a_directory_of_ones_own_is_a_bundle() {
    let open = directory(0o750);
    let error = BundleDirectory::open(open.path()).unwrap_err();
    assert!(matches!(error, BundleError::Shared { mode: 0o750, .. }) && error.hint().unwrap().contains("mkdir -m 700"));
    let private = directory(0o700);
    let link = open.path().join("link");
    std::os::unix::fs::symlink(private.path(), &link).unwrap();
    assert!(matches!(BundleDirectory::open(&link), Err(BundleError::Open { .. })));
    assert!(matches!(BundleDirectory::open(Path::new("/dev/null")), Err(BundleError::Open { .. })));
    BundleDirectory::open(private.path()).unwrap();
}
