//! Every form an image comes in boots to the same thing.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::setup::{agent_archive, busybox, install};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str =
    "cat /home/node/file; stat -c '%U %G %a' /home/node/file /tmp /usr/bin/passwd; readlink /bin; id -u";
const EXPECTED: &str = "from-the-image\nnode node 644\nroot root 1777\nroot root 4755\nusr/bin\n1000\n";

fn check(finished: Finished) {
    finished.exits(0).prints(EXPECTED).quietly();
}

#[test]
fn an_archive_as_a_file_and_on_standard_input() {
    let archive = agent_archive();
    guest_test(|| {
        check(Bottle::new().with(&["--image", archive.to_str().unwrap()]).run(&["sh", "-c", SCRIPT]));
        let mut command = Bottle::new().with(&["--image", "-"]).into_command(&["sh", "-c", SCRIPT]);
        check(Finished::of(command.stdin(File::open(&archive).unwrap()).output().unwrap()));
    });
}

#[test]
fn an_oci_layout_and_an_oci_archive_by_skopeo() {
    let archive = agent_archive();
    let layout = archive.with_extension("oci");
    let oci_archive = archive.with_extension("oci.tar");
    if !oci_archive.exists() {
        install("skopeo");
        let source = format!("docker-archive:{}", archive.display());
        run("skopeo", &["copy", "--quiet", "--insecure-policy", &source, &format!("oci:{}:latest", layout.display())]);
        run(
            "skopeo",
            &["copy", "--quiet", "--insecure-policy", &source, &format!("oci-archive:{}", oci_archive.display())],
        );
    }
    guest_test(|| {
        for image in [&layout, &oci_archive] {
            check(Bottle::new().with(&["--image", image.to_str().unwrap()]).run(&["sh", "-c", SCRIPT]));
        }
    });
}

#[test]
fn a_root_directory_with_its_owners() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for directory in ["bin", "proc", "dev", "sys", "tmp", "run"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::copy(busybox(), root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "stat"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("file"), "text\n").unwrap();
        fs::hard_link(root.join("file"), root.join("same")).unwrap();
        std::os::unix::fs::chown(root.join("file"), Some(7), Some(8)).unwrap();
        let bottle = Bottle::new().with(&["--image", root.to_str().unwrap()]);
        bottle.run(&["sh", "-c", "cat same; stat -c '%u %g %h' file"]).exits(0).prints("text\n7 8 2\n").quietly();
    });
}

#[test]
fn what_an_image_has_in_run_and_tmp_is_its_commands() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        for directory in ["bin", "run/service", "tmp"] {
            fs::create_dir_all(dir.path().join(directory)).unwrap();
        }
        fs::copy(busybox(), dir.path().join("bin/busybox")).unwrap();
        fs::write(dir.path().join("tmp/setup"), "from the image\n").unwrap();
        let run = |options: &[&str], script| {
            let bottle = Bottle::new().with(&["--image", dir.path().to_str().unwrap()]).with(options);
            bottle.run(&["/bin/busybox", "sh", "-c", script])
        };
        let script = "/bin/busybox ls /run; /bin/busybox cat /tmp/setup; echo more >>/tmp/setup";
        for options in [&[][..], &["--disk", "64M"]] {
            run(options, script).exits(0).prints("service\nfrom the image\n");
        }
    });
}

/// A docker archive of busybox alone, with this configuration.
fn archive_with(directory: &Path, config: &serde_json::Value) -> String {
    let tar = |files: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let layer = tar(&[("bin/busybox", &fs::read(busybox()).unwrap())]);
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["made:1"], "Layers": ["layer.tar"] }]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let archive = directory.join(format!("{}.tar", hex(config.as_bytes())));
    let parts = [("layer.tar", &layer[..]), ("config.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    fs::write(&archive, tar(&parts)).unwrap();
    archive.to_str().unwrap().to_owned()
}

#[test]
fn what_a_configuration_says_is_done_and_what_is_wrong_with_it_is_told_to_be_the_image_s() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let run = |config: serde_json::Value, options: &[&str], words: &[&str]| {
            let image = format!("{}:made:1", archive_with(dir.path(), &config));
            Bottle::new().with(&["--image", &image]).with(options).run(&[&["/bin/busybox"], words].concat())
        };
        let good = json!({ "Volumes": { "/srv/data": {} }, "Env": ["=x", "A=b", "C"], "WorkingDir": "/made" });
        let script =
            "b=/bin/busybox; echo $A; pwd; $b stat -c '%a %u %F' /srv/data; $b touch /srv/data/file && echo written";
        let finished = run(good, &[], &["sh", "-c", script]);
        finished.exits(0).prints("b\n/made\n755 0 directory\nwritten\n").quietly();
        let nobody = || json!({ "User": "ghost" });
        let finished = run(nobody(), &[], &["true"]).exits(125);
        finished.complains(&["no user `ghost`", "hint: it is the image's configuration", "`--user 0`"]);
        run(nobody(), &["--user", "0"], &["true"]).exits(0).quietly();
        let nowhere = || json!({ "WorkingDir": "/bin/busybox" });
        let finished = run(nowhere(), &[], &["true"]).exits(125);
        finished.complains(&["working directory", "hint: it is the image's configuration", "`--workdir /`"]);
        run(nowhere(), &["--workdir", "/"], &["true"]).exits(0).quietly();
    });
}

#[test]
fn what_is_no_image_is_said_so() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let text = dir.path().join("text");
        fs::write(&text, "this is no image at all\n".repeat(100)).unwrap();
        for path in [Path::new("/nowhere/at/all"), &empty, &text] {
            let path = path.to_str().unwrap();
            Bottle::new().with(&["--image", path]).run(&["true"]).exits(125).complains(&["bottle-vmm: ", path]);
        }
    });
}

#[test]
fn a_cut_archive_is_an_error_and_leaves_nothing_behind() {
    let archive = agent_archive();
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let cut = dir.path().join("cut.tar");
        let bytes = fs::read(&archive).unwrap();
        fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let cache = dir.path().join("cache");
        let bottle = Bottle::new().env("XDG_CACHE_HOME", &cache).with(&["--image", cut.to_str().unwrap()]);
        bottle.run(&["true"]).exits(125).complains(&["bottle-vmm: ", "cut.tar"]);
        let left = Command::new("find").arg(&cache).args(["-type", "f", "-size", "+64k"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    });
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
