use super::*;
use crate::net::policy::Protocol;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn to(port: u16) -> Destination {
    Destination::of_flow(Protocol::Udp, std::net::SocketAddr::new([8, 8, 8, 8].into(), port))
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log(directory: &Path) -> (PathBuf, EgressLog) {
    let path = directory.join("egress.log");
    let log = EgressLog::open(&path).unwrap();
    (path, log)
}

#[test]
fn a_burst_is_two_lines() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log(directory.path());
    let begin = Instant::now();
    log.connected(to(443), "direct", begin);
    (0..500).for_each(|_| log.refused(to(53), "not allowed", 1, begin));
    assert_eq!(lines(&path).len(), 2, "the rest of a burst waits for its end");
    log.refused(to(53), "not allowed", 1, begin + BURST);
    log.refused(to(53), "not allowed", 2, begin + BURST);
    log.finish(begin + BURST);
    let lines = lines(&path);
    let counts: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["count"].as_u64().unwrap())).collect();
    assert_eq!(counts, [("connected", 1), ("refused", 1), ("refused", 500), ("refused", 2)]);
    let first = &lines[1];
    assert_eq!((&first["address"], &first["port"], &first["protocol"]), (&"8.8.8.8".into(), &53.into(), &"udp".into()));
    assert_eq!(first["detail"], "not allowed");
    assert!(first["unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
}

#[test]
fn a_burst_that_is_over_is_told_although_nothing_follows() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log(directory.path());
    let begin = Instant::now();
    (0..10).for_each(|_| log.refused(to(53), "not allowed", 1, begin));
    log.catch_up(begin + BURST / 2);
    assert_eq!(lines(&path).len(), 1);
    log.catch_up(begin + BURST);
    assert_eq!(lines(&path).last().unwrap()["count"], 9);
}

#[test]
fn a_flood_of_destinations_is_bounded_and_what_is_left_out_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log(directory.path());
    let begin = Instant::now();
    (1..=60_000).for_each(|port| log.refused(to(port), "not allowed", 1, begin));
    assert!(log.refusals.bursts.len() <= BURSTS);
    assert_eq!(lines(&path).len(), usize::try_from(LINES.at_once).unwrap());
    log.finish(begin);
    let lines = lines(&path);
    let last = lines.last().unwrap();
    assert_eq!((last["event"].as_str(), last["count"].as_u64()), (Some("left out"), Some(59_000)));
    assert_eq!(last["detail"], "refusals");
}

/// What a guest may do, it may do as often as it likes; what it may not is told all the same.
#[test]
fn a_flood_of_what_is_allowed_hides_no_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log(directory.path());
    let begin = Instant::now();
    (1..=60_000).for_each(|port| log.connected(to(port), "direct", begin));
    (1..=60_000).for_each(|port| log.failed("failed", to(port), "connection refused", 1, begin));
    log.connections.bytes_left = 0;
    log.refused(to(53), "not allowed", 1, begin);
    let lines = lines(&path);
    assert_eq!(lines.len(), usize::try_from(Pace::USUAL.at_once + LINES.at_once).unwrap() + 1);
    assert_eq!((&lines.last().unwrap()["event"], &lines.last().unwrap()["port"]), (&"refused".into(), &53.into()));
}

#[test]
fn no_flood_of_what_comes_to_nothing_hides_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log(directory.path());
    let begin = Instant::now();
    (1..=60_000).for_each(|port| log.refused(to(port), "not allowed", 1, begin));
    (1..=30_000).for_each(|port| log.failed("failed", to(port), "connection refused", 1, begin));
    (1..=30_000).for_each(|port| log.failed("busy", to(port), "too many connections a second", 1, begin));
    log.connected(to(443), "direct", begin);
    log.finish(begin);
    let lines = lines(&path);
    let connected = lines.iter().find(|line| line["event"] == "connected").unwrap();
    assert_eq!((&connected["port"], &connected["count"]), (&443.into(), &1.into()));
    let left_out = lines.iter().filter(|line| line["event"] == "left out");
    let left_out: Vec<_> = left_out.map(|line| line["detail"].as_str().unwrap()).collect();
    assert_eq!(left_out, ["failures", "refusals"]);
}

#[test]
fn the_file_stops_growing_and_so_does_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log(directory.path());
    log.connections.bytes_left = 300;
    (0..100).for_each(|_| log.connected(to(443), "direct", Instant::now()));
    log.finish(Instant::now());
    assert!(fs::metadata(&path).unwrap().len() <= 300);
    let mut full = EgressLog::to_file(OpenOptions::new().write(true).open("/dev/full").unwrap(), Instant::now());
    full.connected(to(443), "direct", Instant::now());
    assert_eq!((full.connections.left_out, full.unwritten()), (1, 1));
    assert_eq!(log.unwritten(), 0, "that was a limit of ours");
}

#[test]
fn only_a_file_of_ones_own_is_a_log() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = log(directory.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(EgressLog::open(&path), Err(LogError::Shared { mode: 0o640, .. })));
    assert!(matches!(EgressLog::open(Path::new("/dev/null")), Err(LogError::NoFile { .. })));
    assert!(matches!(EgressLog::open(directory.path()), Err(LogError::Open { .. })));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(EgressLog::open(&link), Err(LogError::Open { .. })));
}
