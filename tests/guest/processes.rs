//! The processes of bottles, as the host sees them.

use crate::bottle::Bottle;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

/// (pid, command line) of every process of ours.
pub fn ours() -> Vec<(i32, String)> {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    processes
        .filter_map(|pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?)))
        .filter(|(_, cmdline)| cmdline.contains("bottle-vmm\0run") || cmdline.contains("bottle-vmm-monitor"))
        .collect()
}

pub fn monitor() -> Option<i32> {
    ours().iter().find(|(_, cmdline)| cmdline.contains("bottle-vmm-monitor")).map(|(pid, _)| *pid)
}

#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: {:?}", ours());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A command that runs until it is ended.
pub fn running(options: &[&str]) -> Child {
    let mut child = Bottle::new().with(options).spawn(&["sh", "-c", "echo ready; exec sleep 1000"]);
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    child
}

pub fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

pub fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

pub fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Resident memory without the guest's, which is one mapping of at least `guest_mib`; for what has no guest it is all that is resident.
pub fn own_kib(process: u32, guest_mib: u64) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let kib = |line: &str, field: &str| line.strip_prefix(field)?.trim().trim_end_matches(" kB").parse::<u64>().ok();
    let (mut own, mut size) = (0, 0);
    for line in maps.lines() {
        size = kib(line, "Size:").unwrap_or(size);
        own += kib(line, "Rss:").filter(|_| size < guest_mib << 10).unwrap_or(0);
    }
    own
}
