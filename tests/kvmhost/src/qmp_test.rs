use std::thread;

use super::*;

/// A monitor that says the given lines at once; commands are read and not looked at.
fn monitor(lines: &'static [&'static str]) -> Result<Qmp, QmpError> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        theirs.write_all(b"{\"QMP\": {}}\r\n{\"return\": {}}\r\n").unwrap();
        for line in lines {
            writeln!(theirs, "{line}").unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        io::copy(&mut theirs, &mut io::sink()).unwrap();
    });
    Qmp::greet(ours)
}

#[test]
fn events_before_an_answer_are_kept_for_who_waits_for_them() {
    let mut qmp = monitor(&[
        r#"{"event": "MIGRATION", "data": {"status": "setup"}}"#,
        r#"{"event": "RESUME"}"#,
        r#"{"return": {}}"#,
        r#"{"event": "MIGRATION", "data": {"status": "completed"}}"#,
    ])
    .unwrap();
    qmp.restore("file:x").unwrap();
}

#[test]
fn a_refused_command_says_why() {
    let mut qmp = monitor(&[r#"{"error": {"class": "GenericError", "desc": "no such file"}}"#]).unwrap();
    assert_eq!(qmp.save("file:x").unwrap_err().to_string(), "QEMU refused `migrate`: no such file");
}

#[test]
fn a_failed_migration_says_why() {
    let mut qmp = monitor(&[
        r#"{"return": {}}"#,
        r#"{"event": "MIGRATION", "data": {"status": "failed"}}"#,
        r#"{"return": {"status": "failed", "error-desc": "disk full"}}"#,
    ])
    .unwrap();
    assert_eq!(qmp.save("file:x").unwrap_err().to_string(), "QEMU could not save the machine's state: disk full");
}

#[test]
fn a_monitor_that_ends_is_an_error() {
    let mut qmp = monitor(&[]).unwrap();
    assert!(matches!(qmp.save("file:x"), Err(QmpError::Lost(_))));
}

#[test]
fn noise_is_an_error() {
    let mut qmp = monitor(&["not json"]).unwrap();
    assert!(matches!(qmp.save("file:x"), Err(QmpError::Malformed(_))));
}
