//! Images of each compression, read by real kernels.

use crate::bottle::{Bottle, guest_test};
use crate::setup::{PROGRAM, busybox, kernels};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

/// Every file by all that stat(1) and its bytes say; read twice, in directory order and backwards.
const LIST: &str = "cd /data && find . | sort | xargs stat -c '%n %F %a %u %g %h %Y'; \
    find . -type l | sort | xargs -n 1 readlink; find . -type f | sort | xargs sha256sum; \
    echo 3 > /proc/sys/vm/drop_caches 2>/dev/null; find . -type f | sort -r | xargs cat | sha256sum";

/// Only a capability of the file lets a stranger give a file away.
const CAPABLE: &str = "touch /tmp/file && /bin/busybox-capable chown 55 /tmp/file && stat -c %u /tmp/file";

#[test]
fn both_kernels_read_back_what_went_in() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        make_root(dir.path());
        let expected = listing_by_this_kernel(dir.path());
        let image = dir.path().to_str().unwrap();
        let kernels = kernels();
        for (compression, readers) in [
            ("none", &kernels.both()[..]),
            ("lz4", &kernels.both()[..]),
            // Only ours has Zstandard in its EROFS.
            ("zstd", &[kernels.firmware.as_str()][..]),
        ] {
            for kernel in readers {
                let options = ["--image", image, "--kernel", kernel, "--compression", compression];
                Bottle::new().with(&options).run(&["sh", "-c", LIST]).exits(0).prints(&expected).quietly();
                let stranger = Bottle::new().with(&options).with(&["--user", "1000:1000"]);
                stranger.run(&["sh", "-c", CAPABLE]).exits(0).prints("55\n").quietly();
            }
        }
        let options = ["--image", image, "--kernel", &kernels.stock, "--compression", "zstd"];
        let complaint =
            ["cannot read", "compressed with zstd", "CONFIG_EROFS_FS_ZIP_ZSTD", "hint: ", "--compression lz4"];
        Bottle::new().with(&options).run(&["true"]).exits(125).complains(&complaint);
    });
}

#[test]
fn a_kernel_that_cannot_read_an_artifact_is_not_booted() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        make_root(dir.path());
        let artifact = dir.path().join("zstd.bottle");
        let (image, output) = (dir.path().join("bin"), artifact.to_str().unwrap());
        let arguments = ["pack", image.to_str().unwrap(), "-o", output, "--compression", "zstd:3"];
        assert!(Command::new(PROGRAM).args(arguments).status().unwrap().success());
        let kernels = kernels();
        let run = |kernel: &str| {
            Bottle::new().with(&["--image", output, "--kernel", kernel]).run(&["/busybox", "echo", "up"])
        };
        run(&kernels.firmware).exits(0).prints("up\n");
        let refused = run(&kernels.stock).exits(125).prints("");
        refused.complains(&[&kernels.stock, "compressed with zstd:3", "Linux 6.10", "hint: ", "--kernel firmware"]);
    });
}

/// The same root, listed by the kernel that the directory lies on.
fn listing_by_this_kernel(root: &Path) -> String {
    let output = Command::new("chroot").arg(root).args(["/bin/busybox", "sh", "-c", LIST]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn make_root(root: &Path) {
    for directory in ["bin", "proc", "dev", "sys", "tmp", "run", "data", "data/many", "data/deep"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    for applet in ["sh", "find", "sort", "stat", "xargs", "readlink", "sha256sum", "cat", "touch", "true"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::copy(busybox(), root.join("bin/busybox-capable")).unwrap();
    // `struct vfs_cap_data`, revision 2, effective: CAP_CHOWN, which is bit 0.
    let capability = [1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(root.join("bin/busybox-capable"), "security.capability", &capability).unwrap();
    let data = root.join("data");
    for size in [0_usize, 1, 4095, 4096, 4097, 32_768, 131_071, 131_072, 131_073, 524_287, 524_289, 1_300_000] {
        fs::write(data.join(format!("text-{size}")), text(size)).unwrap();
        fs::write(data.join(format!("noise-{size}")), noise(size)).unwrap();
    }
    fs::write(data.join("same-1"), text(700_000)).unwrap();
    fs::write(data.join("same-2"), text(700_000)).unwrap();
    fs::write(data.join("zeros"), vec![0; 3 << 20]).unwrap();
    for number in 0..2_000 {
        fs::write(data.join(format!("many/{number}")), text(number * 3)).unwrap();
    }
    fs::hard_link(data.join("text-4097"), data.join("deep/link")).unwrap();
    symlink("../text-4097", data.join("deep/symlink")).unwrap();
    chown(data.join("many/17"), Some(70_000), Some(8)).unwrap();
    fs::set_permissions(data.join("many/18"), fs::Permissions::from_mode(0o6711)).unwrap();
}

/// Shrinks to about a third.
fn text(size: usize) -> Vec<u8> {
    noise(size).iter().flat_map(|byte| format!("{} ", byte % 90).into_bytes()).take(size).collect()
}

/// Does not shrink.
fn noise(size: usize) -> Vec<u8> {
    let mut state = size as u64 | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}
