use super::*;
use std::cell::Cell;

fn shell(script: &str) -> (tempfile::TempDir, Result<(), KernelError>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let make = Make::new(&dir.path().join("linux"));
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    let lines = Cell::new(0);
    let result = make.watch(command, "make vmlinux", |done| lines.set(done));
    (dir, result, lines.get())
}

#[test]
fn progress_is_the_number_of_lines_and_all_are_logged() {
    let (dir, result, lines) = shell("echo '  CC a.o'; echo '  CC b.o'; echo warning >&2");
    result.unwrap();
    assert_eq!(lines, 3);
    let log = std::fs::read_to_string(dir.path().join("linux.log")).unwrap();
    assert_eq!(log, "  CC a.o\n  CC b.o\nwarning\n");
}

#[test]
fn a_failure_carries_the_last_lines_of_both_streams() {
    let script = "for n in $(seq 40); do echo line $n; done; echo 'a.c:1: error: no' >&2; printf '%01000d' 0; exit 2";
    let (_dir, result, _) = shell(script);
    let Err(KernelError::Build { status, last_lines, .. }) = result else { panic!("{result:?}") };
    assert_eq!(status.code(), Some(2));
    assert_eq!(last_lines.len(), LAST_LINES);
    assert_eq!(last_lines[LAST_LINES - 2], "a.c:1: error: no");
    assert_eq!(last_lines[LAST_LINES - 1].len(), LINE_LENGTH);
}

#[test]
fn a_build_that_cannot_start_says_so() {
    let make = Make::new(Path::new("/nowhere/linux"));
    let result = make.watch(Command::new("/nowhere/make"), "make", |_| ());
    assert!(matches!(result, Err(KernelError::Io { .. })), "{result:?}");
}
