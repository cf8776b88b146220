//! A guest test's own test: the body runs where KVM is, and a failure there is a failure here.

use std::fs;

#[test]
fn the_body_runs_where_kvm_runs_linux() {
    kvmhost::guest_test(|| {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
        assert!(cpuinfo.contains("svm") || cpuinfo.contains("vmx"));
        fs::File::options().read(true).write(true).open("/dev/kvm").unwrap();
    });
}

#[test]
fn a_body_that_fails_inside_fails_the_test() {
    let failed = std::panic::catch_unwind(|| kvmhost::guest_test(|| panic!("on purpose")));
    let panic = failed.unwrap_err();
    // Inside, this test really fails; outside, it looks at how that was told.
    if std::env::var_os("KVMHOST_PROOF").is_some() {
        std::panic::resume_unwind(panic);
    }
    if let Some(text) = panic.downcast_ref::<String>() {
        assert!(text.contains("exit code 101"), "{text}");
    }
}

mod nested {
    #[test]
    fn a_test_in_a_module_is_found_and_a_host_of_another_size_used() {
        let host = kvmhost::Host::default().smp(1).mem_mib(1024);
        kvmhost::GuestTest::on(host).run(|| {
            if std::env::var_os("KVMHOST_PROOF").is_some() {
                assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
            }
        });
    }
}
