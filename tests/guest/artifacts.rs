//! `FILE.bottle`: packed once, booted in place, and checked before the guest sees anything of it.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::setup::{PROGRAM, agent_archive, kernels};
use bottle_vmm::debian::busybox;
use bottle_vmm::paths;
use bottle_vmm::progress::Silent;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn program(arguments: &[&str]) -> Finished {
    Finished::of(Command::new(PROGRAM).args(arguments).output().unwrap())
}

/// In the middle of the file: like nothing before it, so that it lies there as it is, compressed with LZ4 or not.
const MARK: &str = "qX7#vB2!mK9$wR4%zT6^";

/// The root of a small image: busybox, and a file whose every line is told apart.
fn small_root(directory: &Path) -> PathBuf {
    let root = directory.join("root");
    for name in ["bin", "proc", "dev", "sys", "tmp", "run"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let busybox = busybox::find(&paths::cache().unwrap(), &Silent).unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "md5sum", "sleep", "head", "echo"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let mut file = File::create(root.join("data")).unwrap();
    for line in 0..200_000 {
        writeln!(file, "line {line:08}").unwrap();
        if line == 123_456 {
            writeln!(file, "{MARK}").unwrap();
        }
    }
    root
}

fn packed(directory: &Path) -> PathBuf {
    packed_with(directory, "lz4")
}

fn packed_with(directory: &Path, compression: &str) -> PathBuf {
    let artifact = directory.join("small.bottle");
    let (root, output) = (small_root(directory), artifact.to_str().unwrap());
    program(&["pack", root.to_str().unwrap(), "-o", output, "--compression", compression]).exits(0).quietly();
    artifact
}

#[test]
fn an_image_by_a_real_builder_is_packed_alike_twice_and_boots_on_both_kernels() {
    let archive = agent_archive();
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["a.bottle", "b.bottle"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
        let digest = program(&["pack", archive.to_str().unwrap(), "-o", &first]).exits(0).quietly().text();
        program(&["pack", archive.to_str().unwrap(), "-o", &second]).exits(0).prints(&digest);
        assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "two files of one image differ");
        program(&["inspect", "--verify", &first]).exits(0).quietly();
        for kernel in kernels().both() {
            let script = "cat /home/node/file; stat -c '%U %a' /usr/bin/passwd; id -u; find / -xdev -type f -exec cat {} + | wc -c >/tmp/all && echo read";
            let bottle = Bottle::new().with(&["--kernel", kernel, "--image", &first]);
            bottle.run(&["sh", "-c", script]).exits(0).prints("from-the-image\nroot 4755\n1000\nread\n");
        }
    });
}

#[test]
fn it_boots_where_no_cache_can_be() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let artifact = packed(dir.path());
        let bottle = Bottle::new().env("XDG_CACHE_HOME", "/proc").with(&["--image", artifact.to_str().unwrap()]);
        bottle.run(&["head", "-n", "1", "/data"]).exits(0).prints("line 00000000\n").quietly();
    });
}

/// Where the mark lies in the artifact.
fn offset_of_mark(artifact: &Path) -> u64 {
    let bytes = fs::read(artifact).unwrap();
    bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes()).unwrap() as u64
}

#[test]
fn a_changed_block_ends_the_bottle_before_the_guest_has_it_on_both_kernels() {
    guest_test(|| {
        for (kernel, compression) in kernels().both().into_iter().flat_map(|kernel| [(kernel, "none"), (kernel, "lz4")])
        {
            let dir = tempfile::tempdir().unwrap();
            let artifact = packed_with(dir.path(), compression);
            let at = offset_of_mark(&artifact);
            File::options().write(true).open(&artifact).unwrap().write_all_at(b"LIES", at).unwrap();
            let name = artifact.to_str().unwrap();
            let block = format!("byte {}", at / 4096 * 4096);
            let run = |words: &[&str]| Bottle::new().with(&["--kernel", kernel, "--image", name]).run(words);
            // What is whole can be used, ...
            run(&["head", "-n", "1", "/data"]).exits(0).prints("line 00000000\n");
            // ... and what is not reaches nobody.
            let finished = run(&["sh", "-c", "cat /data; echo went on"]).exits(125);
            let finished = finished.complains(&["is damaged", name, &block, "hint: ", "inspect --verify"]);
            assert!(!finished.text().contains("LIES") && !finished.text().contains("went on"), "the guest saw it");
            program(&["inspect", "--verify", name]).exits(1).complains(&[name, &block]);
        }
    });
}

#[test]
fn a_block_that_changes_while_the_bottle_runs_is_found_too() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let artifact = packed(dir.path());
        let at = offset_of_mark(&artifact);
        let words = ["sh", "-c", "echo up; cat >/dev/null; cat /data"];
        let mut command = Bottle::new().with(&["-i", "--image", artifact.to_str().unwrap()]).into_command(&words);
        let pipe = std::process::Stdio::piped;
        let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        File::options().write(true).open(&artifact).unwrap().write_all_at(b"LIES", at).unwrap();
        drop(child.stdin.take());
        let finished = Finished::of(child.wait_with_output().unwrap()).exits(125).complains(&["is damaged"]);
        assert!(!finished.text().contains("LIES"));
    });
}

#[test]
fn headers_and_manifests_are_checked_before_anything_boots() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let artifact = packed(dir.path());
        let good = fs::read(&artifact).unwrap();
        let name = artifact.to_str().unwrap();
        let run = |bytes: &[u8], complaint: &str| {
            fs::write(&artifact, bytes).unwrap();
            Bottle::new().with(&["--image", name]).run(&["true"]).exits(125).complains(&[name, complaint, "hint: "]);
        };
        run(&good[..good.len() / 2], "cut short");
        run(&[&good[..], b"more"].concat(), "cut short");
        let flipped = |back: usize| {
            let mut bytes = good.clone();
            let at = bytes.len() - back;
            bytes[at] ^= 1;
            bytes
        };
        run(&flipped(1), "trailer is damaged");
        let manifest = usize::try_from(manifest_offset(&good)).unwrap();
        run(&flipped(good.len() - manifest - 3), "manifest is damaged");
    });
}

/// Where the manifest begins, as the trailer has it.
fn manifest_offset(artifact: &[u8]) -> u64 {
    let field = &artifact[artifact.len() - 4096 + 48..][..8];
    u64::from_le_bytes(field.try_into().unwrap())
}

#[test]
fn a_cached_image_is_in_use_while_a_bottle_runs_and_survives_its_removal() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let root = small_root(dir.path());
        let cache = dir.path().join("cache");
        let images = |arguments: &[&str]| {
            let mut command = Command::new(PROGRAM);
            Finished::of(command.arg("images").args(arguments).env("XDG_CACHE_HOME", &cache).output().unwrap())
        };
        std::thread::sleep(std::time::Duration::from_millis(60));
        let words = ["sh", "-c", "echo up; cat >/dev/null; md5sum /data"];
        let bottle = Bottle::new().env("XDG_CACHE_HOME", &cache).with(&["-i", "--image", root.to_str().unwrap()]);
        let pipe = std::process::Stdio::piped;
        let mut child = bottle.into_command(&words).stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        assert!(images(&[]).exits(0).text().contains("in use"));
        assert!(images(&["prune"]).exits(0).text().contains("kept"));
        images(&["rm", "root"]).exits(125).complains(&["bottles run on", "--force"]);
        images(&["rm", "--force", "root"]).exits(0);
        assert_eq!(images(&["--json"]).exits(0).text(), "[]\n");
        drop(child.stdin.take());
        let expected = Command::new("md5sum").arg(root.join("data")).output().unwrap().stdout;
        let finished = Finished::of(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(finished.stdout[..32], expected[..32]);
    });
}

#[test]
fn a_damaged_image_of_the_cache_is_removed_and_made_anew() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let (root, cache) = (small_root(dir.path()), dir.path().join("cache"));
        let run = || {
            let bottle = Bottle::new().env("XDG_CACHE_HOME", &cache).with(&["--image", root.to_str().unwrap()]);
            bottle.run(&["sh", "-c", "cat /data | md5sum"])
        };
        let whole = run().exits(0).text();
        let images = |arguments: &[&str]| {
            let mut command = Command::new(PROGRAM);
            Finished::of(command.arg("images").args(arguments).env("XDG_CACHE_HOME", &cache).output().unwrap()).exits(0)
        };
        let listed: serde_json::Value = serde_json::from_slice(&images(&["--json"]).stdout).unwrap();
        let artifact = PathBuf::from(listed[0]["path"].as_str().unwrap());
        let at = offset_of_mark(&artifact);
        File::options().write(true).open(&artifact).unwrap().write_all_at(b"LIES", at).unwrap();
        run().exits(125).complains(&["is damaged", "it was removed from the cache"]);
        assert_eq!(images(&["--json"]).text(), "[]\n");
        run().exits(0).prints(&whole);
    });
}
