//! A value that is passed to a command is in that command's environment and nowhere else.

use crate::bottle::{Bottle, guest_test};
use crate::setup::kernels;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Put together at run time: the test program itself must not hold it in one piece. Long, so that a piece of memory that was freed and
/// used again in part still shows some of it.
pub fn canary() -> String {
    (0..40).map(|number| format!("canary{}-", number * 7919)).collect()
}

/// What is searched for: a piece of the middle and the end, either of which is enough.
fn pieces(canary: &str) -> [&str; 2] {
    [&canary[canary.len() / 2..][..24], &canary[canary.len() - 24..]]
}

/// Every file below /proc/PID that could show it, for every process of ours.
fn search_processes(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let is_ours = cmdline.windows(10).any(|window| window == b"bottle-vmm");
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            let holds = fs::read(&path).is_ok_and(|bytes| contains(&bytes, needle));
            if holds && (is_ours || file == "cmdline") {
                found.push(path);
            }
        }
    }
    found
}

pub fn contains(bytes: &[u8], needle: &str) -> bool {
    pieces(needle).iter().any(|piece| bytes.windows(piece.len()).any(|window| window == piece.as_bytes()))
}

pub fn search_files(directory: &Path, needle: &str) -> String {
    let [middle, end] = pieces(needle);
    let output = Command::new("grep").args(["-rlF", "-e", middle, "-e", end]).arg(directory).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Files that a process has open, those without a name included: the scratch disk is one.
fn search_open_files(process: u32, needle: &str) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = descriptors.filter(|path| path.metadata().is_ok_and(|metadata| metadata.is_file())).collect();
    assert!(!files.is_empty(), "process {process} has disks open");
    let holds = |path: &std::path::PathBuf| contains(&fs::read(path).unwrap(), needle);
    files.iter().filter(|path| holds(path)).map(|path| path.display().to_string()).collect()
}

/// A bottle that holds the canary, waits for a line, and then shows that its command had it.
fn holding(canary: &str, kernel: &str, directory: &Path) -> Child {
    let script = "test \"$SECRET\" && echo ready; tr '\\0' '\\n' </proc/cmdline; grep -c SECRET /proc/1/environ; read line; echo \"$SECRET\"";
    let mut command = Bottle::new()
        .env("SECRET", canary)
        .env("TMPDIR", directory)
        .env("XDG_STATE_HOME", directory)
        .env("XDG_RUNTIME_DIR", directory)
        .with(&["-i", "-e", "SECRET", "--kernel", kernel, "--console", "--disk", "64M", "--kernel-args", "loglevel=8"])
        .into_command(&["sh", "-c", script]);
    let log = fs::File::create(directory.join("console.log")).unwrap();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap()
}

fn monitor_of(launcher: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_value_is_in_no_argv_environ_file_log_console_or_core_dump() {
    guest_test(|| {
        for kernel in kernels().both() {
            let canary = canary();
            let directory = tempfile::tempdir().unwrap();
            let mut child = holding(&canary, kernel, directory.path());
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut lines = String::new();
            for _ in 0..3 {
                stdout.read_line(&mut lines).unwrap();
            }
            assert!(lines.starts_with("ready\n"), "{lines}");
            assert!(lines.ends_with("\n0\n"), "PID 1 of the guest has it: {lines}");
            assert!(!lines.contains(&canary), "the kernel command line has it: {lines}");

            assert_eq!(search_processes(&canary), Vec::<String>::new());
            // As root a core of the monitor can be forced out of it with a debugger: guest memory is not in it, nor anything else.
            for process in [monitor_of(child.id()), child.id()] {
                let core = core_of(process);
                assert!(!contains(&core, &canary), "a core dump of {process} has it");
                assert_eq!(search_open_files(process, &canary), Vec::<String>::new());
            }
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, format!("{canary}\n"), "the command has it, or this test could not fail");
            assert!(child.wait().unwrap().success());
            assert_eq!(search_files(directory.path(), &canary), "");
            let home = std::env::var("HOME").unwrap();
            assert_eq!(search_files(&Path::new(&home).join(".local/share/bottle-vmm/kernels"), &canary), "");
        }
    });
}

/// What gcore would write: every mapping that is part of a core dump (proc(5), VmFlags: no `dd`), read through /proc/PID/mem.
fn core_of(process: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let smaps = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut core = Vec::new();
    let mut range = None;
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or("");
        let ends =
            first.split_once('-').map(|(start, end)| (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)));
        if let Some((Ok(start), Ok(end))) = ends {
            range = Some((start, end));
        }
        if let (Some(flags), Some((start, end))) = (line.strip_prefix("VmFlags:"), range) {
            let flags: Vec<_> = flags.split_whitespace().collect();
            if flags.contains(&"rd") && !flags.contains(&"dd") && !flags.contains(&"io") {
                let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
                if memory.read_exact_at(&mut bytes, start).is_ok() {
                    core.extend(bytes);
                }
            }
        }
    }
    assert!(core.len() > 100_000, "nothing of process {process} could be read");
    core
}

#[test]
fn a_value_on_the_command_line_is_refused_and_not_repeated() {
    guest_test(|| {
        let canary = canary();
        let finished = Bottle::new().with(&["-e", &format!("KEY={canary}")]).run(&["true"]).exits(125);
        assert!(!finished.stderr.contains(&canary), "{}", finished.stderr);
        finished.complains(&[
            "`-e KEY=…`",
            "every user of this machine",
            "`-e KEY`",
            "--env-file PATH",
            "--env-file -",
        ]);
    });
}

#[test]
fn a_file_of_variables_may_come_on_standard_input() {
    guest_test(|| {
        let finished = Bottle::new()
            .with(&["--env-file", "-"])
            .run_with_input(b"KEY=from stdin\n".to_vec(), &["sh", "-c", "echo $KEY"]);
        finished.exits(0).prints("from stdin\n").quietly();
        Bottle::new().with(&["-i", "--env-file", "-"]).run(&["true"]).exits(125).complains(&["read once only"]);
    });
}

#[test]
fn variables_that_we_need_ourselves_can_be_passed_on_and_named_twice() {
    guest_test(|| {
        let home = std::env::var("HOME").unwrap();
        let bottle = Bottle::new().with(&["-e", "HOME", "-e", "TMPDIR", "-e", "HOME", "--disk", "64M"]);
        bottle.run(&["sh", "-c", "echo $HOME"]).exits(0).prints(&format!("{home}\n")).quietly();
    });
}

#[test]
fn the_monitor_inherits_nothing_that_was_left_open() {
    guest_test(|| {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("left-open");
        fs::write(&secret, "secret").unwrap();
        let script =
            format!("exec 9<{}; exec {} run --mem 256M -- sleep 1000", secret.display(), crate::setup::PROGRAM);
        let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let monitor = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).ok()?;
            let monitor: u32 = children.split_whitespace().next()?.parse().ok()?;
            // A vCPU thread: by then it is itself, and set up.
            (fs::read_dir(format!("/proc/{monitor}/task")).ok()?.count() > 1).then_some(monitor)
        });
        let descriptors = fs::read_dir(format!("/proc/{}/fd", monitor.unwrap())).unwrap();
        let open: Vec<_> = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
        assert!(!open.is_empty() && !open.contains(&secret), "{open:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    });
}
