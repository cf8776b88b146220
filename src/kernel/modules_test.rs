use super::super::testing::module;
use super::*;
use std::io::Write;

/// `lib/modules/6.0-test` with these modules, and the text of its `modules.builtin` and `modules.builtin.modinfo`.
fn tree(modules: &[(&str, &[&str])], built_in: &str, built_in_info: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("6.0-test");
    for (path, fields) in modules {
        let path = release.join("kernel").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, module(fields)).unwrap();
    }
    fs::create_dir_all(release.join("kernel")).unwrap();
    fs::write(release.join("modules.builtin"), built_in).unwrap();
    fs::write(release.join("modules.builtin.modinfo"), built_in_info).unwrap();
    (dir, release)
}

fn order(dir: &Path, wanted: &[&str]) -> Result<Vec<String>, KernelError> {
    Ok(Tree::scan(dir)?.load_order(wanted)?.into_iter().map(|module| module.name).collect())
}

#[test]
fn dependencies_come_first_and_once() {
    let (_dir, release) = tree(
        &[
            ("drivers/virtio/virtio.ko", &["depends=virtio_ring"]),
            ("drivers/virtio/virtio_ring.ko", &["depends="]),
            ("drivers/virtio/virtio_mmio.ko", &["license=GPL", "depends=virtio,virtio_ring"]),
            ("drivers/char/virtio-rng.ko", &["depends=virtio"]),
        ],
        "",
        "",
    );
    let expected = ["virtio_ring", "virtio", "virtio_mmio", "virtio_rng"];
    assert_eq!(order(&release, &["virtio_mmio", "virtio_rng"]).unwrap(), expected);
    assert_eq!(order(&release, &["virtio-mmio", "virtio-rng", "virtio"]).unwrap(), expected);
    assert_eq!(Tree::scan(&release).unwrap().release(), "6.0-test");
}

#[test]
fn what_is_built_in_is_left_out_and_what_is_missing_is_named() {
    let (_dir, release) = tree(
        &[("fs/erofs.ko", &["depends=lz4_decompress"])],
        "kernel/lib/lz4/lz4_decompress.ko\nkernel/fs/ext4.ko\n",
        "",
    );
    assert_eq!(order(&release, &["ext4", "erofs"]).unwrap(), ["erofs"]);
    let error = order(&release, &["erofs", "overlay"]).unwrap_err();
    assert!(
        matches!(&error, KernelError::NoModule { module, release } if module == "overlay" && release == "6.0-test"),
        "{error}"
    );
}

#[test]
fn a_soft_dependency_is_met_by_a_provider_that_works_anywhere() {
    let crc: [(&str, &[&str]); 3] = [
        ("lib/libcrc32c.ko", &["softdep=pre: crc32c post: unwanted", "depends="]),
        ("arch/crc32c-intel.ko", &["alias=crc32c", "depends="]),
        ("crypto/crc32c_generic.ko", &["alias=crypto-crc32c", "alias=crc32c", "depends="]),
    ];
    let (_dir, release) = tree(&crc, "", "");
    assert_eq!(order(&release, &["libcrc32c"]).unwrap(), ["crc32c_generic", "libcrc32c"]);
    let (_dir, release) = tree(&crc, "", "crc32c_generic.license=GPL\0crc32c_generic.alias=crc32c\0");
    assert_eq!(order(&release, &["libcrc32c"]).unwrap(), ["libcrc32c"], "one is built in");
    let (_dir, release) = tree(&crc[..1], "", "");
    assert_eq!(order(&release, &["libcrc32c"]).unwrap(), ["libcrc32c"], "soft means that it may be absent");
}

#[test]
fn modules_that_depend_on_each_other_end() {
    let (_dir, release) = tree(&[("a.ko", &["depends=b"]), ("b.ko", &["depends=a"])], "", "");
    assert_eq!(order(&release, &["a"]).unwrap(), ["b", "a"]);
}

#[test]
fn compressed_modules_are_read_and_others_are_not_modules() {
    let (_dir, release) = tree(&[], "", "");
    let plain = module(&["depends="]);
    let kernel = release.join("kernel");
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(&plain[..], 1).read_to_end(&mut xz).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&plain).unwrap();
    fs::write(kernel.join("a.ko.xz"), xz).unwrap();
    fs::write(kernel.join("b.ko.zst"), zstd::encode_all(&plain[..], 1).unwrap()).unwrap();
    fs::write(kernel.join("c.ko.gz"), gz.finish().unwrap()).unwrap();
    fs::write(kernel.join("notes.txt"), "x").unwrap();
    fs::write(kernel.join("broken.ko"), "x").unwrap();
    let modules = Tree::scan(&release).unwrap().load_order(&["a", "b", "c"]).unwrap();
    assert_eq!(modules.len(), 3);
    for module in modules {
        assert_eq!(module.read().unwrap(), plain, "{}", module.name);
    }
    assert!(matches!(order(&release, &["broken"]), Err(KernelError::NotAModule { .. })));
    assert!(matches!(order(&release, &["notes"]), Err(KernelError::NoModule { .. })));
}

#[test]
fn names_in_the_archive_sort_in_load_order() {
    let (_dir, release) = tree(&[("z.ko", &["depends=a"]), ("a.ko", &["depends=m"]), ("m.ko", &["depends="])], "", "");
    let modules = Tree::scan(&release).unwrap().load_order(&["z"]).unwrap();
    let mut bytes = Vec::new();
    archive(&modules, &mut bytes, Path::new("modules.cpio")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name} in the archive"));
    assert!(at("lib/modules/000-m.ko") < at("lib/modules/001-a.ko"));
    assert!(at("lib/modules/001-a.ko") < at("lib/modules/002-z.ko"));
}
