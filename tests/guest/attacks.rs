//! What a guest's root tries with raw frames (`tests/guest/programs/attack`), and what came of it: told by a recorder of every packet of the host's
//! and by the egress log, not by the guest.
//!
//! Each probe is tried under three plans. What a plan does not allow must not be heard, and what it does must be, or a probe shows nothing.

use crate::bottle::{Bottle, Finished, Refused, report};
use crate::disguises::disguise;
use crate::processes::{children, resident_kib};
use crate::refusals::SPOILT;
use crate::setup::{attack_root, kernels};
use crate::world::{Recorder, Said, in_a_world};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// What a plan has to have for a probe to get through.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub enum Needs {
    /// Every plan has it.
    TheOne,
    /// A range that holds the destination.
    ARange,
    /// The destination's name.
    AName,
    /// No plan helps.
    AMiracle,
}
use Needs::{AMiracle, AName, ARange, TheOne};

/// The only place that the narrow plan allows. 192.168.156.0/24 is the network of a bottle named `demo` (src/net/subnet.rs).
pub const ONE: &str = "203.0.113.10:443/tcp";
pub const THE_ONE: &str = "203.0.113.10:443";

/// A probe, what it needs, and what is heard if it gets through.
type Probe = (&'static str, Needs, &'static str);

/// `http` and `hello` name the one place, wherever they go.
const TO_OTHERS: [Probe; 15] = [
    ("syn 203.0.113.10:443", TheOne, ONE),
    ("http 203.0.113.10:443", TheOne, ONE),
    ("hello 203.0.113.10:443", TheOne, ONE),
    ("syn 203.0.113.11:443", ARange, "203.0.113.11:443/tcp"),
    ("syn 203.0.113.10:444", ARange, "203.0.113.10:444/tcp"),
    ("query 203.0.113.10:443", ARange, "203.0.113.10:443/udp"),
    ("http 203.0.113.12:80", ARange, "203.0.113.12:80/tcp"),
    ("hello 203.0.113.12:443", ARange, "203.0.113.12:443/tcp"),
    ("early 203.0.113.12:80", ARange, "203.0.113.12:80/tcp"),
    ("query 8.8.8.8:53", ARange, "8.8.8.8:53/udp"),
    ("syn 8.8.8.8:53", ARange, "8.8.8.8:53/tcp"),
    ("query 1.1.1.1:53", ARange, "1.1.1.1:53/udp"),
    ("syn 169.254.169.254:80", AName, "169.254.169.254:80/tcp"),
    ("syn 169.254.1.1:80", AName, "169.254.1.1:80/tcp"),
    ("syn 203.0.113.10:0", AMiracle, ""),
];

/// `mapped` is `::ffff:a.b.c.d` in the guest's kernel, which makes IPv4 of it; `as-mapped` in frames of IPv6.
const TO_THE_HOST: [Probe; 13] = [
    ("syn 127.0.0.1:80", AName, "127.0.0.1:80/tcp"),
    ("syn 127.0.0.1:8080", AName, "127.0.0.1:8080/tcp"),
    ("query 127.0.0.1:8080", AName, "127.0.0.1:8080/udp"),
    ("syn 127.99.0.1:8080", AName, "127.99.0.1:8080/tcp"),
    ("syn 198.51.100.2:8080", AName, "198.51.100.2:8080/tcp"),
    ("query 198.51.100.2:8080", AName, "198.51.100.2:8080/udp"),
    ("mapped 198.51.100.2:8080", AName, "198.51.100.2:8080/tcp"),
    ("mapped 203.0.113.11:443", ARange, "203.0.113.11:443/tcp"),
    ("mapped 203.0.113.10:443", TheOne, ONE),
    ("as-mapped 127.0.0.1:8080", AMiracle, ""),
    ("as-mapped 203.0.113.10:443", AMiracle, ""),
    ("syn 192.168.156.1:8080", AMiracle, ""),
    ("syn 0.0.0.0:8080", AMiracle, ""),
];

/// The bundle of another bottle, `bottle-a`, has the address of a host that a range may mean; the bottle is not that host.
const TO_OTHER_BOTTLES: [Probe; 6] = [
    ("syn 192.168.106.2:8888", ARange, "192.168.106.2:8888/tcp"),
    ("syn 192.168.106.3:22", ARange, "192.168.106.3:22/tcp"),
    ("syn 192.168.156.2:8888", AMiracle, ""),
    ("syn 192.168.156.3:22", AMiracle, ""),
    ("syn 192.168.156.77:80", AMiracle, ""),
    ("query 192.168.156.1:53", AMiracle, ""),
];

/// `who-has` and `ping` are good frames: of the gateway they are answered.
const TO_NOBODY: [&str; 17] = [
    "who-has 192.168.156.1",
    "who-has 192.168.156.77",
    "who-has 203.0.113.10",
    "who-has-for-other 192.168.156.77",
    "claim 192.168.156.1",
    "ping 192.168.156.1",
    "ping 203.0.113.10",
    "ping 8.8.8.8",
    "ping 127.0.0.1",
    "pong 203.0.113.10",
    "redirect 203.0.113.10",
    "query 255.255.255.255:53",
    "query 192.168.156.255:53",
    "query 224.0.0.251:5353",
    "syn 255.255.255.255:80",
    "syn 224.0.0.1:80",
    "solicit 0.0.0.0",
];

/// Destinations of many at once are not asked for, and get no answer.
const FOR_ALL: [&str; 3] = ["0.0.0.0:8080", "255.255.255.255:80", "224.0.0.1:80"];

fn probes() -> impl Iterator<Item = Probe> {
    TO_OTHERS.into_iter().chain(TO_THE_HOST).chain(TO_OTHER_BOTTLES).chain(TO_NOBODY.map(|probe| (probe, AMiracle, "")))
}

/// Where something listens.
pub fn places() -> Vec<&'static str> {
    probes().map(|(_, _, place)| place).filter(|place| !place.is_empty()).collect()
}

/// What a plan allows, as options.
pub fn plan(plan: Needs) -> Vec<String> {
    let named = probes().filter(|(_, needs, _)| *needs == AName).map(|(_, _, place)| place);
    let rules: Vec<&str> = match plan {
        TheOne => vec![ONE],
        ARange => vec!["0.0.0.0/0", "0.0.0.0/0/udp"],
        _ => ["0.0.0.0/0", "0.0.0.0/0/udp"].into_iter().chain(named).collect(),
    };
    rules.into_iter().flat_map(|rule| ["--allow".to_owned(), rule.to_owned()]).collect()
}

/// What is heard if a plan means what it says: each probe that it is enough for, and the connection that ends the list.
pub fn meant(plan: Needs) -> Vec<String> {
    let through = probes().filter(|(_, needs, _)| *needs <= plan).map(|(_, _, place)| place);
    let mut meant: Vec<_> = through.chain([ONE]).map(str::to_owned).collect();
    meant.sort();
    meant
}

/// What is said to those who are reached, to the byte.
fn meant_to_be_said(plan: Needs) -> Vec<Said> {
    let said = |(probe, _, place): Probe| Some((place.to_owned(), disguise(probe.split(' ').next()?)?.to_vec()));
    let mut said: Vec<_> = probes().filter(|(_, needs, _)| *needs <= plan).filter_map(said).collect();
    said.sort();
    said
}

/// What comes back: a reset where a connection is refused, and what the connections of the guest's own kernel come to.
fn meant_to_be_answered(plan: Needs) -> BTreeSet<String> {
    let answer = |(probe, needs, _): Probe| match (probe.split_once(' ').unwrap(), needs <= plan) {
        (("syn" | "early", to), through) if !FOR_ALL.contains(&to) => {
            vec![format!("{} {to}", if through { "syn" } else { "reset" })]
        }
        (("http" | "hello" | "mapped", to), through) => {
            let (answer, outcome) = if through { ("syn", "greeted") } else { ("reset", "refused") };
            vec![format!("{answer} {to}"), format!("{outcome} {probe}")]
        }
        _ => vec![],
    };
    probes().flat_map(answer).collect()
}

/// Tries everything, and in the end what is always allowed, which has to work still.
pub fn attacked(bottle: Bottle, options: &[&str]) -> Finished {
    let last = format!("connect {THE_ONE}");
    // A giant is a datagram like any other where it is allowed; the host cuts it, and its pieces are no conversations to the recorder.
    let spoilt = SPOILT.iter().map(|(probe, _)| *probe).filter(|probe| !probe.starts_with("giant "));
    let tries = probes().map(|(probe, _, _)| probe).chain(spoilt).chain([last.as_str()]);
    demo(bottle).with(options).run(&["attack"].into_iter().chain(tries).collect::<Vec<_>>())
}

pub fn demo(bottle: Bottle) -> Bottle {
    bottle.with(&["--name", "demo", "--image", attack_root().to_str().unwrap()])
}

/// Tries everything under a plan on both kernels; what was heard must be what was meant.
fn hold(recorder: &Recorder, level: Needs, try_all: impl Fn(&[&str]) -> Finished) {
    let options = plan(level);
    for kernel in kernels().both() {
        let options: Vec<_> = ["--kernel", kernel].into_iter().chain(options.iter().map(String::as_str)).collect();
        let finished = try_all(&options);
        assert_eq!(recorder.heard(), meant(level), "{kernel}, {level:?}: {finished:?}");
        assert_eq!(recorder.said(), meant_to_be_said(level), "{kernel}, {level:?}: {finished:?}");
    }
}

#[test]
fn a_name_lets_out_what_it_names_and_the_log_has_the_rest() {
    attack_root();
    in_a_world(&places(), |recorder| {
        hold(recorder, TheOne, |options| {
            let directory = tempfile::tempdir().unwrap();
            let log = directory.path().join("egress.log");
            let finished = attacked(Bottle::new().with(&["--egress-log", log.to_str().unwrap()]), options).exits(0);
            let all: BTreeSet<String> = places().into_iter().map(str::to_owned).collect();
            assert_eq!(noted(&log, "connected"), [ONE.to_owned()].into());
            assert!(noted(&log, "refused").is_superset(&all), "{finished:?}");
            // Of the addresses that are asked for and pinged, only the gateway's is there; it says what is prohibited.
            let answered =
                ["arp 192.168.156.1", "echo 192.168.156.1", "unreachable 192.168.156.1", "reset 203.0.113.10:443"];
            let answered = meant_to_be_answered(TheOne).into_iter().chain(answered.map(str::to_owned));
            let answered: BTreeSet<_> = answered.map(|line| line + "\n").collect();
            finished.prints(&answered.into_iter().collect::<String>())
        });
    });
}

/// The destinations of an egress log's lines of a kind.
pub fn noted(log: &Path, event: &str) -> BTreeSet<String> {
    let lines = fs::read_to_string(log).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let place = |line: serde_json::Value| {
        let word = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        format!("{}:{}/{}", word("address"), line["port"], word("protocol"))
    };
    lines.filter(|line| line["event"] == event).map(place).collect()
}

#[test]
fn a_range_lets_out_what_is_ordinary_in_it_and_nothing_else() {
    attack_root();
    in_a_world(&places(), |recorder| {
        hold(recorder, ARange, |options| attacked(Bottle::new(), options).exits(0));
    });
}

#[test]
fn what_is_special_gets_out_by_its_name_and_no_miracle_happens() {
    attack_root();
    in_a_world(&places(), |recorder| {
        let (directory, bundle) = bundle();
        let sockets = format!("sockets={}", directory.path().display());
        let script = "timeout 20 nc 192.168.106.2 8888 </dev/null; exec cat /dev/zero";
        let mut neighbour = Bottle::new()
            .with(&["--name", "bottle-a", "--image", attack_root().to_str().unwrap(), "--bundle", &sockets])
            .spawn(&["sh", "-c", script]);
        let mut greeting = [0; 6];
        neighbour.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"hello\n", "its own bundle is reached");
        hold(recorder, AName, |options| attacked(Bottle::new(), options).exits(0));
        assert_eq!(bundle.load(Relaxed), 1, "another bottle's bundle is not");
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
    });
}

/// A directory with one gateway, which greets and counts its guests.
fn bundle() -> (tempfile::TempDir, Arc<AtomicUsize>) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let listener = UnixListener::bind(directory.path().join("8888.sock")).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let guests = Arc::clone(&count);
    thread::spawn(move || {
        for mut guest in listener.incoming().flatten() {
            guests.fetch_add(1, Relaxed);
            guest.write_all(b"hello\n").unwrap();
        }
    });
    (directory, count)
}

/// Twenty thousand connections begun and never completed, each to where it is allowed and to where it is not; frames that are none.
#[test]
fn a_flood_and_noise_leave_a_bottle_that_works_and_processes_that_are_no_larger() {
    attack_root();
    in_a_world(&[ONE], |recorder| {
        for kernel in kernels().both() {
            let script = format!(
                "attack 'connect {THE_ONE}' >/dev/null && echo works; read next; \
                 attack 'flood 203.0.113.11:443' 'flood {THE_ONE}' 'noise 198.18.0.1:9' 'giant 198.18.0.1:9' \
                 'connect {THE_ONE}' >/dev/null && echo works; read next"
            );
            let bottle = demo(Bottle::new()).with(&["-i", "--kernel", kernel, "--allow", ONE]);
            let mut launcher = bottle
                .into_command(&["sh", "-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut stdin, stdout) = (launcher.stdin.take().unwrap(), launcher.stdout.take().unwrap());
            let mut lines = BufReader::new(stdout).lines();
            let mut sizes = Vec::new();
            for when in ["before", "after"] {
                assert_eq!(lines.next().unwrap().unwrap(), "works", "{kernel}");
                if when == "after" {
                    check_flood(&report("demo"));
                }
                sizes.push([launcher.id(), children(launcher.id())[0]].map(resident_kib));
                stdin.write_all(b"\n").unwrap();
            }
            assert!(launcher.wait().unwrap().success());
            let [[before, monitor], [launcher_after, monitor_after]] = sizes[..] else { panic!("{sizes:?}") };
            assert!(launcher_after <= before + (4 << 10), "{kernel}: launcher {before}, {launcher_after} KiB");
            // With the guest's memory in it, which grows by what the guest touches.
            assert!(monitor_after <= monitor + (8 << 10), "{kernel}: monitor {monitor}, {monitor_after} KiB");
            assert_eq!(recorder.heard().into_iter().collect::<BTreeSet<_>>(), [ONE.to_owned()].into());
        }
    });
}

/// All of both floods has reached the stack, and what became of it is known: denied, or more than may be asked at a time; and where it is
/// allowed, connected or failed as well. A thousand may be being connected still.
fn check_flood(report: &serde_json::Value) {
    const FLOOD: u64 = 20_000;
    let number = |field: &str| report[field].as_u64().unwrap();
    let refused = Refused::of(report);
    assert!(number("denied") > 0 && refused.count("203.0.113.11:443/tcp") >= FLOOD, "{report}");
    let rest = number("connected") + number("failed") + number("busy");
    assert!(rest > 1 && rest + refused.count(ONE) >= FLOOD - 1024, "{report}");
}
