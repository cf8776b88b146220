//! Commands, users, directories and environments, as docker users expect them.

use crate::bottle::{Bottle, guest_test};
use crate::setup::{agent_archive, kernels};

#[test]
fn a_command_runs_and_its_exit_code_is_ours() {
    guest_test(|| {
        Bottle::new()
            .run(&["sh", "-c", "echo out; echo err >&2; exit 7"])
            .exits(7)
            .prints("out\n")
            .complains(&["err\n"]);
    });
}

#[test]
fn both_kernels_run_an_image_by_buildah_on_one_and_two_cpus() {
    let archive = agent_archive();
    let archive = archive.to_str().unwrap();
    guest_test(|| {
        for kernel in kernels().both() {
            for cpus in ["1", "2"] {
                let finished = Bottle::new()
                    .with(&["--kernel", kernel, "--cpus", cpus, "--image", archive])
                    .run(&["sh", "-c", "id -un; nproc; pwd; cat file; exit 7"])
                    .exits(7)
                    .quietly();
                finished.prints(&format!("node\n{cpus}\n/home/node\nfrom-the-image\n"));
            }
        }
    });
}

#[test]
fn the_image_says_what_runs_by_default() {
    let archive = agent_archive();
    let archive = archive.to_str().unwrap();
    guest_test(|| {
        Bottle::new().with(&["--image", archive]).run_default().exits(0).prints("default command of node\n").quietly();
        Bottle::new()
            .with(&["--image", archive, "--user", "root", "--workdir", "/made/here", "--entrypoint", "/bin/sh"])
            .run(&["-c", "id -u; pwd; echo $HOME; stat -c %U .; echo $GREETING"])
            .exits(0)
            .prints("0\n/made/here\n/root\nroot\nhello world\n");
        Bottle::new()
            .with(&["--image", archive, "--user", "1234:5678"])
            .run(&["id"])
            .exits(0)
            .prints("uid=1234 gid=5678 groups=5678\n");
    });
}

#[test]
fn variables_pass_by_name_and_by_file_and_the_later_wins() {
    guest_test(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=file\nB=file\n").unwrap();
        Bottle::new()
            .env("B", "passed on")
            .with(&["--env-file", file.path().to_str().unwrap(), "-e", "B"])
            .run(&["sh", "-c", "echo $A; echo $B; env | wc -l"])
            .exits(0)
            // A, B, PATH, HOSTNAME, HOME, and what the shell sets itself (PWD, SHLVL).
            .prints("file\npassed on\n7\n");
    });
}

#[test]
fn ten_thousand_variables_of_a_mebibyte_arrive() {
    guest_test(|| {
        let text: String = (0..10_000).map(|n| format!("VARIABLE_{n:05}={}\n", "x".repeat(95))).collect();
        assert!(text.len() > 1 << 20);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let finished = Bottle::new().with(&["--env-file", file.path().to_str().unwrap()]).run(&[
            "sh",
            "-c",
            "env | grep -c ^VARIABLE_; env | grep ^VARIABLE_ | sort | md5sum",
        ]);
        let sum = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("md5sum < {}", file.path().display()))
            .output()
            .unwrap();
        finished.exits(0).prints(&format!("10000\n{}", String::from_utf8_lossy(&sum.stdout)));
    });
}

#[test]
fn the_guest_is_a_whole_system() {
    guest_test(|| {
        let script = "hostname; cat /proc/1/comm; ls /dev/pts /dev/shm >/dev/null && echo devices; \
                      grep -c cgroup2 /proc/mounts; echo x >/etc/new && cat /etc/new; ping -c1 -W5 127.0.0.1 >/dev/null && echo loopback; \
                      grep -c . /proc/cmdline";
        let expected = "box\ninit\ndevices\n1\nx\nloopback\n1\n";
        for kernel in kernels().both() {
            Bottle::new()
                .with(&["--kernel", kernel, "--hostname", "box"])
                .run(&["sh", "-c", script])
                .exits(0)
                .prints(expected);
        }
    });
}

#[test]
fn two_bottles_of_one_image_see_nothing_of_each_other() {
    guest_test(|| {
        let first = Bottle::new().spawn(&["sh", "-c", "echo mine >/shared; sync; sleep 3; cat /shared"]);
        Bottle::new().run(&["sh", "-c", "sleep 1; ls /shared"]).exits(1);
        let output = first.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"mine\n");
    });
}
