//! Timings and benchmarks tell what they promise. Nothing here asserts a time.

use crate::bottle::{Bottle, Finished, guest_test};
use crate::setup::PROGRAM;
use bottle_vmm::launch::timings::{Phase, Timings};
use std::path::Path;
use std::process::Command;

fn read(timings: &Path) -> Timings {
    serde_json::from_slice(&std::fs::read(timings).unwrap()).unwrap()
}

fn bench(arguments: &[&str]) -> Finished {
    Finished::of(Command::new(PROGRAM).args(["bench", "boot", "-n", "2"]).args(arguments).output().unwrap())
}

#[test]
fn every_phase_is_marked_in_order() {
    guest_test(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        Bottle::new().with(&["--timings", file.path().to_str().unwrap()]).run(&["true"]).exits(0).quietly();
        let timings = read(file.path());
        let times: Vec<_> = Phase::ALL.iter().map(|phase| timings.at(*phase)).collect();
        assert!(times.iter().all(Option::is_some), "{timings:?}");
        assert!(times.is_sorted(), "{timings:?}");
        // A count carries over from machine to machine, as no time does.
        let exits = timings.vm_exits.unwrap();
        assert!((100..2_500).contains(&exits), "{exits}");
        assert!(timings.cpu_us > timings.cpu_to_first_kvm_run_us && timings.cpu_to_first_kvm_run_us > 0);
    });
}

#[test]
fn a_bottle_that_does_not_come_up_tells_how_far_it_got() {
    guest_test(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        Bottle::new()
            .with(&["--boot-timeout", "50ms", "--timings", file.path().to_str().unwrap()])
            .run(&["true"])
            .exits(125);
        let timings = read(file.path());
        assert!(timings.at(Phase::ImageReady).is_some() && timings.at(Phase::AgentHello).is_none(), "{timings:?}");
    });
}

#[test]
fn a_benchmark_compares_and_fails_a_pipeline() {
    guest_test(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let result: serde_json::Value =
            serde_json::from_slice(&bench(&["--json", "--save", path]).exits(0).stdout).unwrap();
        assert_eq!(result["boots"], 2);
        assert!(result["wall_ms"]["p50"].as_f64().unwrap() > 0.0);
        assert!(bench(&["--baseline", path, "--fail-above", "100"]).exits(0).text().contains("against"));
        bench(&["--baseline", path, "--fail-above", "0.0001"]).exits(1);
        bench(&["--against", PROGRAM, "--fail-above", "0.0001"]).exits(1);
        bench(&["--fail-above", "1.1"]).exits(125).complains(&["--baseline"]);
    });
}
