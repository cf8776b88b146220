//! Wrong input gets one clear error, docker's exit code, and a way out.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::setup::{PROGRAM, kernels};
use std::fs;
use std::process::Command;

#[test]
fn commands_that_do_not_exist_or_cannot_be_executed() {
    guest_test(|| {
        Bottle::new()
            .run(&["no-such-command"])
            .exits(127)
            .prints("")
            .complains(&["`no-such-command` is not in the image", "hint: "]);
        Bottle::new().run(&["/no/such/file"]).exits(127).complains(&["`/no/such/file` is not in the image"]);
        Bottle::new()
            .run(&["/etc/passwd"])
            .exits(126)
            .complains(&["`/etc/passwd` cannot be executed: Permission denied"]);
        Bottle::new().run(&["/etc"]).exits(126).complains(&["`/etc` cannot be executed"]);
    });
}

#[test]
fn users_and_directories_that_are_not_there() {
    guest_test(|| {
        Bottle::new()
            .with(&["--user", "nobody-of-that-name"])
            .run(&["true"])
            .exits(125)
            .complains(&["nobody-of-that-name", "hint: "]);
        Bottle::new()
            .with(&["--workdir", "/etc/passwd"])
            .run(&["true"])
            .exits(125)
            .complains(&["/etc/passwd", "working directory"]);
    });
}

#[test]
fn kernels_that_are_none() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut arm = vec![0u8; 4096];
        arm[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0");
        for (path, part) in [
            (dir.path().join("missing").to_str().unwrap().to_owned(), "missing"),
            (file("text", b"no kernel\n"), "text"),
            (file("empty", b""), "empty"),
            (file("arm", &arm), "arm"),
        ] {
            Bottle::new().with(&["--kernel", &path]).run(&["true"]).exits(125).complains(&["bottle-vmm: ", part]);
        }
        Bottle::new()
            .with(&["--kernel", "no-such-kernel"])
            .run(&["true"])
            .exits(125)
            .complains(&["no-such-kernel", "hint: "]);
    });
}

#[test]
fn a_truncated_kernel_is_found_before_or_at_loading() {
    guest_test(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = bottle_vmm::kernel::Store::open_default().unwrap();
        let bytes = fs::read(store.select(None).unwrap().vmlinux).unwrap();
        let path = dir.path().join("vmlinux");
        for length in [100, 4096, bytes.len() / 2] {
            fs::write(&path, &bytes[..length]).unwrap();
            Bottle::new()
                .with(&["--kernel", path.to_str().unwrap()])
                .run(&["true"])
                .exits(125)
                .complains(&["vmlinux", "hint: "]);
        }
    });
}

#[test]
fn too_little_memory_names_the_option() {
    guest_test(|| {
        Bottle::new().with(&["--mem", "8M"]).run(&["true"]).exits(125).complains(&["--mem 8M", "32 MiB"]);
        Bottle::new().with(&["--mem", "32M", "--kernel", &kernels().stock]).run(&["true"]).exits(125).complains(&[
            "guest memory",
            "too small",
            "hint: give the bottle more with `--mem`",
        ]);
    });
}

#[test]
fn unknown_options_and_malformed_values_are_ours() {
    guest_test(|| {
        for options in [
            vec!["--no-such-option"],
            vec!["--mem", "lots"],
            vec!["--cpus", "0"],
            vec!["--cpus", "65"],
            vec!["--timeout", "soon"],
        ] {
            Bottle::new().with(&options).run(&["true"]).exits(125).complains(&["error: "]);
        }
        for (option, value) in [("--workdir", "src"), ("--mem", "900T"), ("--name", "-"), ("--kernel", "Cargo.toml")] {
            let said = Bottle::new().in_directory(env!("CARGO_MANIFEST_DIR")).with(&[option, value]).run(&["true"]);
            said.exits(125).complains(&["bottle-vmm: ", value, "hint: "]);
        }
        Bottle::new().with(&["--hostname", "under_score"]).run(&["true"]).exits(125).complains(&["under_score"]);
        Bottle::new().with(&["--env-file", "/no/such/file"]).run(&["true"]).exits(125).complains(&["/no/such/file"]);
        Bottle::new()
            .with(&["-e", "NO_SUCH_VARIABLE"])
            .run(&["true"])
            .exits(125)
            .complains(&["`NO_SUCH_VARIABLE`", "hint: "]);
    });
}

#[test]
fn no_kvm_and_no_permission_are_told_apart() {
    guest_test(|| {
        // A /dev of their own: that of a machine which can run Linux itself stays as it is.
        let in_dev = |with: &str, then: &str| {
            let script = format!(
                "cp {PROGRAM} /tmp/program && chmod 755 /tmp/program && mkdir -p /tmp/dev && mount -t tmpfs -o mode=755 dev /tmp/dev &&
                 cp -a /dev/null /dev/zero /dev/urandom /tmp/dev && {with} && mount --move /tmp/dev /dev && HOME=/tmp && {then}"
            );
            Finished::of(Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap())
        };
        let kvm = "cp -a /dev/kvm /tmp/dev && chmod 600 /tmp/dev/kvm";
        let said = in_dev(kvm, "setpriv --reuid 65534 --clear-groups /tmp/program doctor").exits(1).text();
        assert!(said.contains("may not open it") && said.contains("usermod"), "{said}");
        in_dev("true", "/tmp/program run -- true").exits(125).complains(&["there is no /dev/kvm", "modprobe"]);
    });
}

#[test]
fn arguments_over_the_guests_limit_are_refused_before_it_boots() {
    guest_test(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("LARGE={}\n", "x".repeat(200_000))).unwrap();
        let finished =
            Bottle::new().with(&["--boot-timeout", "1ms", "--env-file", file.path().to_str().unwrap()]).run(&["true"]);
        finished.exits(125).complains(&["`LARGE`", "hint: "]);
    });
}
