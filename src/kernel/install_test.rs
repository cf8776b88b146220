use super::super::testing::{X86_64, bzimage, module, package, vmlinux, zstd};
use super::*;
use crate::progress::Silent;

const RELEASE: &str = "6.1.0-9-cloud-amd64";

/// A kernel package: modules for all that is needed, under `prefix`.
fn kernel_package(dir: &Path, prefix: &str) -> PathBuf {
    let kernel = vmlinux(X86_64, b"text");
    let image = bzimage(0x20f, &zstd(&kernel), kernel.len());
    let boot = format!("boot/vmlinuz-{RELEASE}");
    let module = module(&["depends="]);
    let names: Vec<_> =
        modules::NEEDED.iter().map(|name| format!("{prefix}lib/modules/{RELEASE}/kernel/{name}.ko")).collect();
    let config = format!("boot/config-{RELEASE}");
    let mut files: Vec<(&str, &[u8])> = vec![(&boot, &image), ("usr/share/doc/x", b"not wanted")];
    if prefix.is_empty() {
        files.push((&config, b"CONFIG_EROFS_FS=m\nCONFIG_EROFS_FS_ZIP=y\nCONFIG_EROFS_FS_ZIP_ZSTD=y\n"));
    }
    files.extend(names.iter().map(|name| (name.as_str(), module.as_slice())));
    let deb = dir.join("linux-image.deb");
    package(&deb, &files);
    deb
}

#[test]
fn a_package_file_becomes_a_kernel_wherever_its_modules_are() {
    for prefix in ["", "usr/"] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("kernels"));
        let deb = kernel_package(dir.path(), prefix);
        let installed = stock(&store, Source::File(&deb), &Silent).unwrap();
        assert_eq!((installed.name.as_str(), installed.kind), ("stock-6.1.0-9-cloud-amd64", Kind::Stock));
        assert_eq!(fs::read(&installed.vmlinux).unwrap(), vmlinux(X86_64, b"text"));
        let archive = fs::read(installed.modules.as_ref().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&archive).contains("lib/modules/000-virtio_mmio.ko"));
        // Without a configuration it is taken for one of those that never had more.
        let known = if prefix.is_empty() { &options::RECORDED[..] } else { &options::RECORDED[..1] };
        assert_eq!(installed.options, known);
        assert_eq!(store.select(None).unwrap(), installed);
        let left = fs::read_dir(installed.vmlinux.parent().unwrap()).unwrap().count();
        assert_eq!(left, 3, "vmlinux, modules.cpio, kernel.json and nothing that was unpacked on the way");
    }
}

#[test]
fn another_package_is_refused_and_the_store_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("kernels"));
    let before = stock(&store, Source::File(&kernel_package(dir.path(), "")), &Silent).unwrap();
    let other = dir.path().join("other.deb");
    package(&other, &[("usr/bin/true", b"\x7fELF")]);
    assert!(matches!(stock(&store, Source::File(&other), &Silent), Err(KernelError::NoKernelInPackage { .. })));
    package(&other, &[("boot/vmlinuz-7", b"text"), ("lib/modules/7/kernel/a.ko", b"x")]);
    let error = stock(&store, Source::File(&other), &Silent).unwrap_err();
    let text = format!("{error}: {} {}", std::error::Error::source(&error).unwrap(), error.hint().unwrap());
    assert!(text.contains("other.deb") && text.contains("`boot/vmlinuz-7` is not a Linux kernel"), "{text}");
    assert!(!text.contains(".staging"), "{text}");
    fs::write(&other, b"not a package").unwrap();
    assert!(matches!(stock(&store, Source::File(&other), &Silent), Err(KernelError::Deb(_))));
    assert!(matches!(stock(&store, Source::File(Path::new("/no.deb")), &Silent), Err(KernelError::Deb(_))));
    assert_eq!(store.list().unwrap(), [before]);
}

#[test]
fn what_lies_in_a_package_has_its_path_there_and_a_full_disk_its_own_way_out() {
    let root = Path::new("/data/kernels/.staging/scratch");
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let named = |error: KernelError| {
        let error = error.in_package(Path::new("x.deb"), root);
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause} ({})", error.hint().unwrap_or_default())
    };
    let payload = KernelError::Payload { path: root.join("boot/vmlinuz-6"), source: full() };
    let text = named(payload);
    assert!(text.starts_with("package `x.deb` cannot be used: kernel `boot/vmlinuz-6`"), "{text}");
    assert!(text.contains("make room") && text.contains("XDG_DATA_HOME"), "{text}");
    let text = named(io_error("write", &root.with_file_name("modules.cpio"))(full()));
    assert!(text.starts_with("cannot write `/data/kernels`: ") && text.contains("make room"), "{text}");
    let unpacked = KernelError::Payload { path: "bzImage".into(), source: full() };
    assert!(unpacked.hint().unwrap().contains("XDG_CACHE_HOME"));
}
