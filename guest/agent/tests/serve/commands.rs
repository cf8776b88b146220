//! Starting and ending.

use std::ffi::CString;

use bottle_protocol::{ExitStatus, ProcessId, SecretEnv, SignalNumber, Start, StartStage, ToAgent, ToHost};

use crate::host::{Host, command};

const FIRST: ProcessId = ProcessId::FIRST;

fn run(start: Start) -> crate::host::Outcome {
    let mut host = Host::new();
    host.start(start);
    host.finish(FIRST)
}

#[test]
fn output_and_exit_code_arrive() {
    let outcome = run(command(&["sh", "-c", "echo out; echo err >&2; exit 7"]));
    assert_eq!(outcome.stdout, b"out\n");
    assert_eq!(outcome.stderr, b"err\n");
    assert_eq!(outcome.exit, Some(ExitStatus::Code(7)));
}

#[test]
fn hello_tells_version_kernel_and_limits() {
    let mut host = Host::unspoken();
    let ToHost::Hello(hello) = host.receive() else { panic!("not Hello") };
    assert_eq!(hello.agent, env!("CARGO_PKG_VERSION"));
    let running = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(hello.kernel, running.trim());
    assert_eq!(hello.limits, bottle_protocol::ArgumentLimits::GUEST);
}

#[test]
fn setup_and_start_may_come_back_to_back() {
    use bottle_protocol::{DeviceName, Hostname, Setup};
    let mut host = Host::unspoken();
    let (hostname, root) = (Hostname::new("b").unwrap(), DeviceName::new("vda").unwrap());
    host.send(&ToAgent::Setup(Setup { hostname, root, scratch: None, network: None }));
    host.send(&ToAgent::Start(command(&["true"])));
    assert!(matches!(host.receive(), ToHost::Hello(_)));
    assert_eq!(host.receive(), ToHost::Ready);
    assert!(matches!(host.answer(1), ToHost::Started { .. }));
    assert_eq!(host.finish(FIRST).exit, Some(ExitStatus::Code(0)));
}

#[test]
fn death_by_a_signal_is_told_also_a_real_time_one() {
    for number in [9, 15, 40] {
        let outcome = run(command(&["sh", "-c", &format!("kill -{number} $$")]));
        assert_eq!(outcome.exit, Some(ExitStatus::Signal(number)));
    }
}

#[test]
fn a_signal_reaches_the_command_and_not_its_children() {
    let mut host = Host::new();
    host.start(command(&[
        "sh",
        "-c",
        "trap 'kill -0 $! && echo child lives; kill $!; exit 3' TERM; sleep 1000 & echo ready; wait",
    ]));
    let ToHost::Stdout { .. } = host.receive() else { panic!("no output") };
    host.send(&ToAgent::Signal { process: FIRST, signal: SignalNumber::new(15).unwrap() });
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.exit, Some(ExitStatus::Code(3)));
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "child lives\n");
}

#[test]
fn the_commands_signals_are_as_if_nobody_had_touched_them() {
    let outcome = run(command(&["grep", "-E", "^Sig(Blk|Ign)|^ShdPnd", "/proc/self/status"]));
    let text = String::from_utf8(outcome.stdout).unwrap();
    // 32 and 33 belong to the C library, which lets nobody touch them.
    const RESERVED: u64 = 0b11 << 31;
    for line in text.lines() {
        let (_, mask) = line.split_once('\t').unwrap();
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !RESERVED, 0, "{line}");
    }
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn nothing_of_the_agent_is_open_in_the_command() {
    let outcome = run(command(&["ls", "/proc/self/fd"]));
    assert_eq!(String::from_utf8(outcome.stdout).unwrap(), "0\n1\n2\n3\n"); // 3 is the directory that ls reads
}

#[test]
fn a_missing_command_is_not_found() {
    let mut host = Host::new();
    let (stage, detail) = host.refused(command(&["no-such-command-anywhere"]));
    assert_eq!(stage, StartStage::NotFound);
    assert_eq!(detail, "`no-such-command-anywhere` is in no directory of PATH");
    let (stage, detail) = host.refused(command(&["/no/such/command"]));
    assert_eq!((stage, detail.as_str()), (StartStage::NotFound, "`/no/such/command` is not there"));
    host.start(command(&["true"])); // and the id is free again
    assert_eq!(host.finish(FIRST).exit, Some(ExitStatus::Code(0)));
}

#[test]
fn what_cannot_be_executed_is_told_apart_from_what_is_missing() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut host = Host::new();
    let plain = file("plain", "text", 0o644);
    assert_eq!(host.refused(command(&[&plain])).0, StartStage::NotExecutable);
    let foreign = file("foreign", "\u{1}\u{2}\u{3}\u{4}", 0o755);
    assert_eq!(host.refused(command(&[&foreign])).0, StartStage::NotExecutable);
    assert_eq!(host.refused(command(&[directory.path().to_str().unwrap()])).0, StartStage::NotExecutable);
    let script = file("script", "#!/no/such/interpreter\n", 0o755);
    let (stage, detail) = host.refused(command(&[&script]));
    assert_eq!(stage, StartStage::NotExecutable);
    assert_eq!(detail, format!("`{script}` is there, the interpreter it needs is not"));
}

#[test]
fn the_working_directory_is_made_only_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = CString::new(directory.path().join("a/b").to_str().unwrap()).unwrap();
    let mut host = Host::new();
    let start = |create_cwd| Start { cwd: wanted.clone(), create_cwd, ..command(&["pwd"]) };
    assert_eq!(host.refused(start(false)).0, StartStage::Cwd);
    host.start(start(true));
    assert_eq!(host.finish(FIRST).stdout, [wanted.to_bytes(), b"\n"].concat());
}

#[test]
fn ten_thousand_variables_of_a_mebibyte_arrive() {
    let mut env = SecretEnv::new();
    env.push(b"PATH", b"/usr/bin:/bin").unwrap();
    env.push(b"HOME", b"/").unwrap();
    for number in 0..9_998 {
        let name = format!("V{number:05}");
        env.push(name.as_bytes(), &vec![b'x'; 104 - name.len() - 2]).unwrap();
    }
    assert!(env.byte_len() > 1_000_000);
    let mut host = Host::new();
    host.start(Start { env, ..command(&["env", "-0"]) });
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.stdout.iter().filter(|&&byte| byte == 0).count(), 10_000);
    assert!(outcome.stdout.len() > 1_000_000);
}

#[test]
fn too_much_environment_is_refused_with_the_numbers() {
    let mut host = Host::new();
    let mut env = SecretEnv::new();
    for number in 0..30 {
        env.push(format!("V{number}").as_bytes(), &vec![b'x'; 100_000]).unwrap();
    }
    let (stage, detail) = host.refused(Start { env, ..command(&["true"]) });
    assert_eq!(stage, StartStage::Limits);
    assert!(detail.contains("2097152"), "{detail}");
}

#[test]
fn the_environment_up_to_the_limit_is_one_that_the_kernel_takes() {
    let mut env = SecretEnv::new();
    let limit = bottle_protocol::ArgumentLimits::GUEST;
    let argv = command(&["/bin/true"]).argv;
    while limit.check(&argv, &env).is_ok() {
        env.push(format!("V{:04}", env.len()).as_bytes(), &[b'x'; 1000]).unwrap();
    }
    let mut below = SecretEnv::new();
    for _ in 1..env.len() {
        below.push(format!("V{:04}", below.len()).as_bytes(), &[b'x'; 1000]).unwrap();
    }
    let outcome = run(Start { env: below, ..command(&["/bin/true"]) });
    assert_eq!(outcome.exit, Some(ExitStatus::Code(0)));
}

#[test]
fn an_empty_or_absent_home_comes_from_passwd() {
    let mut env = SecretEnv::new();
    env.push(b"HOME", b"").unwrap();
    let outcome = run(Start { env, user: c"0:0".to_owned(), ..command(&["/usr/bin/env"]) });
    if nix::unistd::getuid().is_root() {
        assert_eq!(outcome.stdout, b"HOME=/root\n");
    }
}

#[test]
fn an_unknown_user_is_refused_by_name() {
    let mut host = Host::new();
    let (stage, detail) = host.refused(Start { user: c"nobody-of-that-name".to_owned(), ..command(&["true"]) });
    assert_eq!(stage, StartStage::User);
    assert_eq!(detail, "the image has no user `nobody-of-that-name`");
}

#[test]
fn several_processes_run_at_a_time() {
    let mut host = Host::new();
    let second = ProcessId::new(2).unwrap();
    host.start(Start { stdin: true, ..command(&["cat"]) });
    host.start(Start { process: second, ..command(&["true"]) });
    assert_eq!(host.finish(second).exit, Some(ExitStatus::Code(0)));
    host.send(&ToAgent::StdinEof { process: FIRST });
    assert_eq!(host.finish(FIRST).exit, Some(ExitStatus::Code(0)));
}

#[test]
fn a_background_process_does_not_hold_up_the_exit() {
    let mut host = Host::new();
    host.start(command(&["sh", "-c", "sleep 1000 & echo $!; exit 3"]));
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.exit, Some(ExitStatus::Code(3)));
    let sleeper: i32 = String::from_utf8_lossy(&outcome.stdout).trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleeper), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_background_process_that_never_stops_writing_does_not_either() {
    let mut host = Host::new();
    host.start(command(&["sh", "-c", "yes & echo $!; exit 3"]));
    let outcome = host.finish(FIRST);
    assert_eq!(outcome.exit, Some(ExitStatus::Code(3))); // `yes` dies of its broken pipe
}
