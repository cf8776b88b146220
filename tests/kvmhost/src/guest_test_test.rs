use super::*;
use crate::qemu::QemuError;

#[test]
fn a_test_is_named_by_its_thread_or_by_the_function_of_its_body() {
    assert_eq!(test_name(Some("vm::boots"), "kvm::other::{{closure}}"), "vm::boots");
    assert_eq!(test_name(Some("main"), "boot::vm::boots::{{closure}}"), "vm::boots");
    assert_eq!(test_name(None, "boot::boots::{{closure}}::{{closure}}"), "boots");
}

#[test]
fn the_name_from_the_body_is_the_name_libtest_gives() {
    let body = || ();
    let from_body = test_name(None, type_name_of_val(&body));
    assert_eq!(from_body, "guest_test::tests::the_name_from_the_body_is_the_name_libtest_gives");
}

#[test]
#[should_panic(expected = "did not run inside")]
fn success_without_the_proof_is_a_failure() {
    judge("t", "proof", &Output { code: 0, stdout: b"0 passed; 9 filtered out".to_vec(), stderr: vec![] });
}

#[test]
#[should_panic(expected = "exit code 101")]
fn a_failure_inside_is_a_failure() {
    judge("t", "proof", &Output { code: 101, stdout: b"proof".to_vec(), stderr: vec![] });
}

#[test]
fn only_the_death_of_the_hosts_kernel_is_a_crash_of_the_host() {
    let ended = |console: &str| HostError::Qemu(QemuError::Ended { status: "exit 0".into(), console: console.into() });
    assert!(ended("[  748.4] Kernel panic - not syncing: corrupted stack end detected").is_crash_of_the_host());
    assert!(ended("[  376.9] BUG: TASK stack guard page was hit at 0000000035a904a4").is_crash_of_the_host());
    // That may be the test's own doing.
    for other in ["Kernel panic - not syncing: Out of memory", "Attempted to kill init!", "reboot: Power down"] {
        assert!(!ended(other).is_crash_of_the_host(), "{other}");
    }
    assert!(!HostError::Signalled { signal: 9 }.is_crash_of_the_host());
}
