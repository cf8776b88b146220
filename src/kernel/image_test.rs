use super::super::testing::{AARCH64, X86_64, bzimage, program, vmlinux, zstd};
use super::*;

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn error_of(bytes: &[u8]) -> KernelError {
    let (dir, path) = written(bytes);
    match kernel_in(&path) {
        Ok(Found::BzImage(file, payload)) => cached(&path, file, payload, &dir.path().join("cache")).unwrap_err(),
        Ok(Found::Elf(_)) => panic!("taken for a kernel"),
        Err(error) => error,
    }
}

#[test]
fn a_vmlinux_is_taken_as_it_is() {
    let kernel = vmlinux(X86_64, b"text");
    let (_dir, path) = written(&kernel);
    let mut image = open(&path).unwrap();
    let mut bytes = Vec::new();
    image.file.read_to_end(&mut bytes).unwrap();
    assert_eq!((image.path, bytes), (path, kernel));
}

#[test]
fn a_bzimage_is_unpacked_once() {
    let kernel = vmlinux(X86_64, b"text");
    let (dir, path) = written(&bzimage(0x20f, &zstd(&kernel), kernel.len()));
    let cache = dir.path().join("cache");
    let open = || match kernel_in(&path).unwrap() {
        Found::BzImage(file, payload) => cached(&path, file, payload, &cache).unwrap(),
        Found::Elf(_) => panic!("a bzImage is no ELF"),
    };
    let first = open();
    assert_eq!(fs::read(&first.path).unwrap(), kernel);
    let inode = fs::metadata(&first.path).unwrap().ino();
    assert_eq!(open().file.metadata().unwrap().ino(), inode, "the cached file");
    assert_eq!(fs::read_dir(first.path.parent().unwrap()).unwrap().count(), 1, "no partial file is left");
    // Another kernel under the same name is another kernel.
    let other = vmlinux(X86_64, b"other text");
    fs::remove_file(&path).unwrap();
    fs::write(&path, bzimage(0x20f, &zstd(&other), other.len())).unwrap();
    assert_eq!(fs::read(open().path).unwrap(), other);
}

#[test]
fn a_kernel_cut_short_says_by_how_much() {
    let kernel = vmlinux(X86_64, &[1; 1000]);
    for (bytes, keep) in [
        (kernel.clone(), kernel.len() - 1),
        (kernel.clone(), 100),
        (bzimage(0x20f, &zstd(&kernel), kernel.len()), 1100),
    ] {
        match error_of(&bytes[..keep]) {
            KernelError::Truncated { needed, present, .. } => {
                assert_eq!(present, keep as u64);
                assert!(needed > present);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn another_machine_is_named() {
    let aarch64 = vmlinux(AARCH64, b"text");
    let mut arm64_image = vec![0; 4096];
    arm64_image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    for bytes in [aarch64.clone(), arm64_image, bzimage(0x20f, &zstd(&aarch64), aarch64.len())] {
        let error = error_of(&bytes);
        assert!(matches!(&error, KernelError::WrongMachine { machine, .. } if machine == "aarch64"), "{error}");
    }
}

#[test]
fn what_is_no_kernel_is_named_by_the_path_that_was_given() {
    let shell = program(X86_64, 3, 0, b"/lib64/ld-linux-x86-64.so.2");
    let mut nested = bzimage(0x20f, &zstd(b"x"), 1);
    nested.resize(4096, 0);
    for bytes in [
        b"".to_vec(),
        b"#!/bin/sh\n".to_vec(),
        vec![0; 8192],
        shell.clone(),
        bzimage(0x20f, &zstd(&shell), shell.len()),
        bzimage(0x20f, &zstd(&nested), nested.len()),
    ] {
        let error = error_of(&bytes);
        assert!(matches!(&error, KernelError::NotAKernel { path } if path.ends_with("kernel")), "{error}");
    }
    assert!(matches!(open(Path::new("/")), Err(KernelError::NotAKernel { .. })));
    assert!(matches!(open(Path::new("/no/such/kernel")), Err(KernelError::Io { .. })));
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(open(&fifo), Err(KernelError::NotAKernel { .. })), "and nobody waits for a writer");
}

#[test]
fn damage_leaves_nothing_in_the_cache() {
    let kernel = vmlinux(X86_64, b"text");
    let mut bytes = bzimage(0x20f, &zstd(&kernel), kernel.len());
    let middle = bytes.len() - 20;
    bytes[middle] ^= 0xff;
    let (dir, path) = written(&bytes);
    let Found::BzImage(file, payload) = kernel_in(&path).unwrap() else { panic!("a bzImage") };
    let cache = dir.path().join("cache");
    let error = cached(&path, file, payload, &cache).unwrap_err();
    assert!(matches!(error, KernelError::Payload { .. }), "{error}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    assert!(matches!(error_of(&bzimage(0x207, b"", 0)), KernelError::OldProtocol { version: 0x207, .. }));
    assert!(matches!(error_of(&bzimage(0x20f, b"BZh9", 0)), KernelError::Compression { method: "bzip2", .. }));
}
