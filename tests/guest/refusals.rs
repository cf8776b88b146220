//! Each spoilt frame of the attacks (`attacks.rs`) arrives at the stack, and is refused there for a cause of its own: told by the bottle,
//! which is asked after each.

use crate::attacks::{ONE, demo};
use crate::bottle::{Bottle, Refused, report};
use crate::setup::{attack_root, kernels};
use crate::world::in_a_world;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

/// Forms of what would open a connection to [`ONE`] if it were not spoilt; what the bottle counts then, by cause and destination as far as
/// the frame has one that can be read, and the answers. Broadcast and IPv6, which every system sends by itself, are counted untold.
pub const SPOILT: [(&str, &str); 48] = [
    ("from-stranger 203.0.113.10:443", "1 not the guest's own address 203.0.113.10:443/tcp"),
    ("from-neighbour 203.0.113.10:443", "1 not the guest's own address 203.0.113.10:443/tcp"),
    ("from-loopback 203.0.113.10:443", "1 not the guest's own address 203.0.113.10:443/tcp"),
    ("from-itself 203.0.113.10:443", "1 not the guest's own address 203.0.113.10:443/tcp"),
    ("from-nobody 203.0.113.10:443", "1 not the guest's own address 203.0.113.10:443/tcp"),
    ("from-other-link 203.0.113.10:443", "1 not the guest's own address 0.0.0.0/link"),
    ("to-other-link 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("to-every-link 203.0.113.10:443", "1 untold"),
    ("record-route 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp; unreachable 192.168.156.1"),
    ("source-route 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp; unreachable 192.168.156.1"),
    ("router-alert 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp; unreachable 192.168.156.1"),
    ("fragment-first 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp; unreachable 192.168.156.1"),
    ("fragment-later 203.0.113.10:443", "1 malformed 203.0.113.10/tcp"),
    ("fragment-last 203.0.113.10:443", "1 malformed 203.0.113.10/tcp"),
    (
        "pieces 203.0.113.10:443",
        "12 malformed 203.0.113.10/tcp; 1 malformed 203.0.113.10:443/tcp; unreachable 192.168.156.1",
    ),
    ("version 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("header-short 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("header-long 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("length-long 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("length-longest 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("length-short 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("length-none 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("tcp-header-short 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp"),
    ("tcp-header-long 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp"),
    ("tcp-cut 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp"),
    ("cut 203.0.113.10:443", "40 malformed 0.0.0.0/link"),
    ("checksum 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("in-ip 203.0.113.10:443", "1 neither TCP nor UDP 203.0.113.10/protocol 4; unreachable 192.168.156.1"),
    ("in-gre 203.0.113.10:443", "1 neither TCP nor UDP 203.0.113.10/protocol 47; unreachable 192.168.156.1"),
    ("in-ipv6-in-ip 203.0.113.10:443", "1 neither TCP nor UDP 203.0.113.10/protocol 41; unreachable 192.168.156.1"),
    ("sctp 203.0.113.10:443", "1 neither TCP nor UDP 203.0.113.10/protocol 132; unreachable 192.168.156.1"),
    ("udp-lite 203.0.113.10:443", "1 neither TCP nor UDP 203.0.113.10/protocol 136; unreachable 192.168.156.1"),
    ("in-vlan 203.0.113.10:443", "1 neither TCP nor UDP 0.0.0.0/link"),
    ("in-two-vlans 203.0.113.10:443", "1 neither TCP nor UDP 0.0.0.0/link"),
    ("in-802.3 203.0.113.10:443", "1 neither TCP nor UDP 0.0.0.0/link"),
    ("giant-in-vlan 203.0.113.10:443", "1 neither TCP nor UDP 0.0.0.0/link"),
    ("as-ipv6 203.0.113.10:443", "1 untold"),
    ("as-arp 203.0.113.10:443", "1 malformed 0.0.0.0/link"),
    ("null 203.0.113.10:443", "reset 203.0.113.10:443"),
    ("ack 203.0.113.10:443", "reset 203.0.113.10:443"),
    ("syn-ack 203.0.113.10:443", "reset 203.0.113.10:443"),
    ("syn-fin 203.0.113.10:443", "reset 203.0.113.10:443"),
    ("xmas 203.0.113.10:443", "reset 203.0.113.10:443"),
    ("syn-rst 203.0.113.10:443", ""),
    ("pong 203.0.113.10:443", "1 ICMP 203.0.113.10/icmp"),
    ("giant 203.0.113.10:443", "1 not allowed 203.0.113.10:443/udp; unreachable 192.168.156.1"),
    // Two segments: one of 65,588 bytes with a length that does not hold TCP's header, and what is left.
    ("oversized 203.0.113.10:443", "1 malformed 203.0.113.10:443/tcp; reset 203.0.113.10:443"),
    ("oversized-segments 203.0.113.10:443", "reset 203.0.113.10:443"),
];

#[test]
fn every_spoilt_frame_arrives_and_is_refused_for_its_own_cause_on_both_kernels() {
    attack_root();
    in_a_world(&[ONE], |recorder| {
        for kernel in kernels().both() {
            let mut attacker = Attacker::start(kernel);
            let told: Vec<_> = SPOILT.iter().map(|(probe, _)| (*probe, attacker.attempt(probe))).collect();
            let told: Vec<_> = told.iter().map(|(probe, told)| (*probe, told.as_str())).collect();
            attacker.end();
            assert_eq!(told, SPOILT, "{kernel}");
            assert_eq!(recorder.heard(), [""; 0], "{kernel}");
        }
    });
}

/// A bottle that makes one attempt at a time.
struct Attacker {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has counted so far.
    counted: (u64, Refused),
}

impl Attacker {
    fn start(kernel: &str) -> Self {
        let script = "while read -r probe; do attack \"$probe\" || echo failed; echo done; done";
        let bottle = demo(Bottle::new()).with(&["-i", "--kernel", kernel, "--allow", ONE]);
        let mut command = bottle.into_command(&["sh", "-c", script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, lines: BufReader::new(stdout).lines(), counted: Default::default() }
    }

    /// What the bottle has refused of it, and what has come back: `COUNT CAUSE DESTINATION; …; ANSWER; …`.
    fn attempt(&mut self, probe: &str) -> String {
        writeln!(self.stdin, "{probe}").unwrap();
        let answers: Vec<_> = self.lines.by_ref().map(Result::unwrap).take_while(|line| line != "done").collect();
        let counts = self.news();
        counts.into_iter().chain(answers).collect::<Vec<_>>().join("; ")
    }

    /// What has been counted since the last call. The stack says it after a quarter of a second, or soon after.
    fn news(&mut self) -> Vec<String> {
        let mut now = count();
        let mut later = now.0 + 1;
        while now.0 != later {
            later = now.0;
            thread::sleep(SETTLED);
            now = count();
        }
        let (total, refused) = std::mem::replace(&mut self.counted, now);
        let (total_now, refused_now) = &self.counted;
        let more = |(to, (count, why)): (&String, &(u64, String))| (count - refused.count(to), why.clone(), to.clone());
        let more: Vec<_> = refused_now.0.iter().map(more).filter(|(count, ..)| *count > 0).collect();
        let untold = total_now - total - more.iter().map(|(count, ..)| count).sum::<u64>();
        let untold = (untold > 0).then(|| format!("{untold} untold"));
        more.into_iter().map(|(count, why, to)| format!("{count} {why} {to}")).chain(untold).collect()
    }

    fn end(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Refusals of the policy and of the stack, and which they are.
fn count() -> (u64, Refused) {
    let report = report("demo");
    let number = |field: &str| report[field].as_u64().unwrap();
    (number("denied") + number("unasked"), Refused::of(&report))
}

/// Well over the quarter of a second.
const SETTLED: Duration = Duration::from_millis(700);
