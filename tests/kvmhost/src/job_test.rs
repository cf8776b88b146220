use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use proptest::prelude::*;

use super::*;

fn job<'a>(argv: &'a [OsString], env: Vec<(OsString, OsString)>, shares: &'a [PathBuf]) -> Job<'a> {
    Job { argv, env, cwd: Path::new("/"), shares, screen: Screen::Pipe, modules: Path::new("/m o d") }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(Into::into).collect()
}

/// Any bytes an argument or a value can have.
fn word() -> impl Strategy<Value = OsString> {
    prop::collection::vec(1_u8..=255, 0..40).prop_map(OsString::from_vec)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_shell_reads_back_the_same_arguments_and_environment(argument in word(), value in word()) {
        let argv: Vec<OsString> = vec!["/bin/sh".into(), "-c".into(), r#"printf %s "$1$A""#.into(), "sh".into(), argument.clone()];
        let script = job(&argv, vec![("A".into(), value.clone())], &[]).script().unwrap();
        // The shell of the emulated host, wherever this machine has it from.
        let cache = bottle_vmm::paths::cache().unwrap();
        std::fs::create_dir_all(&cache).unwrap();
        let busybox = bottle_vmm::debian::busybox::find(&cache, &bottle_vmm::progress::Silent).unwrap();
        let output = Command::new(busybox).arg("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        prop_assert_eq!(output.stdout, [argument.as_bytes(), value.as_bytes()].concat());
    }
}

#[test]
fn the_first_line_counts_what_follows_it() {
    let shares = [PathBuf::from("/a b"), PathBuf::from("/c")];
    let argv = words(&["true"]);
    let end = EndMark::random();
    let message = String::from_utf8(job(&argv, vec![], &shares).encode(&end).unwrap()).unwrap();
    let (first, rest) = message.split_once('\n').unwrap();
    let fields: Vec<&str> = first.splitn(7, ' ').collect();
    assert_eq!((fields[0], fields[2], fields[5], fields[6]), ("JOB", "2", "pipe", "/m o d"));
    let script = rest.strip_prefix("/a b\n/c\n").unwrap();
    assert_eq!(fields[3].parse::<usize>().unwrap(), script.len());
}

#[test]
fn what_the_protocol_cannot_carry_is_refused() {
    let end = EndMark::random();
    let nothing = words(&[]);
    assert!(matches!(job(&nothing, vec![], &[]).encode(&end), Err(JobError::NoCommand)));
    let nul = words(&["echo", "a\0b"]);
    assert!(matches!(job(&nul, vec![], &[]).encode(&end), Err(JobError::Nul(_))));
    let (argv, shares) = (words(&["true"]), [PathBuf::from("/a\nb")]);
    assert!(matches!(job(&argv, vec![], &shares).encode(&end), Err(JobError::LineBreak(_))));
}

#[test]
fn variables_that_no_shell_can_carry_stay_outside() {
    for name in ["BASH_FUNC_x%%", "1A", "", "a-b", "IFS", "_"] {
        assert!(!is_shell_name(OsStr::new(name)), "{name}");
    }
    for name in ["A", "_A1", "PATH"] {
        assert!(is_shell_name(OsStr::new(name)), "{name}");
    }
}

#[test]
fn a_program_is_the_machines_own_and_not_one_of_busybox() {
    let path = vec![("PATH".into(), "/nonexistent:/bin".into())];
    let script = |argv: &[OsString]| String::from_utf8(job(argv, path.clone(), &[]).script().unwrap()).unwrap();
    assert!(script(&words(&["ls", "-l"])).ends_with("exec '/bin/ls' '-l'\n"));
    assert!(script(&words(&["./ls"])).ends_with("exec './ls'\n"));
    assert!(script(&words(&["no such"])).ends_with("echo kvmhost: no program 'no such' in PATH >&2; exit 127\n"));
}
