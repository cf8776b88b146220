use super::super::testing::package;
use super::*;
use crate::progress::Silent;
use std::io::Read;

fn source_package(to: &Path, files: &[&str]) {
    let mut tar = tar::Builder::new(Vec::new());
    for name in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
    }
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(&tar.into_inner().unwrap()[..], 1).read_to_end(&mut xz).unwrap();
    package(to, &[("usr/share/doc/readme", b"x"), ("usr/src/linux-source-6.12.tar.xz", &xz)]);
}

#[test]
fn unpacks_without_the_top_directory_and_without_what_is_foreign() {
    let dir = tempfile::tempdir().unwrap();
    let (deb, tree) = (dir.path().join("p.deb"), dir.path().join("linux"));
    fs::create_dir(&tree).unwrap();
    let kept = [
        "Makefile",
        "arch/Kconfig",
        "arch/x86/kernel/head_64.S",
        "arch/arm/Kconfig",
        "drivers/gpu/Kconfig",
        "drivers/net/tun.c",
    ];
    let left = [
        "arch/arm/kernel/head.S",
        "drivers/gpu/drm.c",
        "Documentation/index.rst",
        "tools/testing/a.c",
        "drivers/net/wireless/a.c",
    ];
    let named: Vec<_> = kept.iter().chain(&left).map(|path| format!("linux-source-6.12/{path}")).collect();
    source_package(&deb, &named.iter().map(String::as_str).collect::<Vec<_>>());
    unpack(&deb, &tree, &Silent).unwrap();
    for path in kept {
        assert!(tree.join(path).exists(), "{path}");
    }
    for path in left {
        assert!(!tree.join(path).exists(), "{path}");
    }
}

#[test]
fn nothing_gets_out_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (deb, tree) = (dir.path().join("p.deb"), dir.path().join("linux"));
    fs::create_dir(&tree).unwrap();
    source_package(&deb, &["top/../../evil", "/evil", "top/../evil"]);
    unpack(&deb, &tree, &Silent).unwrap();
    assert!(!dir.path().join("evil").exists());
    assert_eq!(below_top(Path::new("./top/a/b")), Some(PathBuf::from("a/b")));
    assert_eq!(below_top(Path::new("./top/")), None);
    assert_eq!(below_top(Path::new("top/../a")), None);
}

#[test]
fn a_package_without_source_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let deb = dir.path().join("p.deb");
    package(&deb, &[("usr/src/other.tar.xz", b"x")]);
    assert!(matches!(unpack(&deb, dir.path(), &Silent), Err(KernelError::NoSourceInPackage { .. })));
    package(&deb, &[("usr/src/linux-source-6.12.tar.xz", b"not xz")]);
    assert!(matches!(unpack(&deb, dir.path(), &Silent), Err(KernelError::Deb(_))));
}
