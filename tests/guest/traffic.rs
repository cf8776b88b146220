//! What flows, flows whole: every byte in both directions, a thousand connections at once, thousands one after another; and what is
//! refused is refused at once, by an answer.

use crate::bottle::{Bottle, Finished};
use crate::egress::in_a_network;
use crate::processes::{children, descriptors, own_kib};
use crate::setup::{kernels, traffic_root};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

const SERVER: &str = "192.0.2.10:5001";

/// Ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network with a server in it that does what its clients ask for.
fn beside_a_server(body: impl FnOnce()) {
    let root = traffic_root();
    in_a_network(|| {
        let server = Command::new(root.join("bin/tput")).args(["serve", SERVER]).spawn().unwrap();
        let _server = Server(server);
        while std::net::TcpStream::connect(SERVER).is_err() {}
        body();
    });
}

fn bottle() -> Bottle {
    let root = traffic_root();
    Bottle::new().with(&["--image", root.to_str().unwrap(), "--allow", SERVER])
}

fn run(bottle: Bottle, script: &str) -> Finished {
    bottle.run(&["sh", "-c", script])
}

#[test]
fn every_byte_arrives_in_both_directions_on_both_kernels() {
    beside_a_server(|| {
        for kernel in kernels().both() {
            let script = ["check-up 64 1", "check-down 64 1", "check-up 32 16", "check-down 32 16"]
                .map(|words| words.split_once(' ').unwrap())
                .map(|(what, numbers)| format!("tput {what} {SERVER} {numbers}"))
                .join("; ");
            let finished = run(bottle().with(&["--kernel", kernel]), &script).exits(0);
            let good = finished.text().lines().filter(|line| line.ends_with(r#""failed":0}"#)).count();
            assert_eq!(good, 4, "{finished:?}");
        }
    });
}

#[test]
fn a_thousand_connections_are_open_at_once() {
    beside_a_server(|| {
        let script = format!("ulimit -n 4096; tput hold {SERVER} 1000");
        let finished = run(bottle().with(&["--mem", "512M"]), &script).exits(0);
        assert!(finished.text().contains(r#""asked":1000,"together":1000"#), "{finished:?}");
    });
}

#[test]
fn connections_leave_nothing_behind() {
    beside_a_server(|| {
        let script = format!("tput dial {SERVER} 500; read next; tput dial {SERVER} 2500; read next");
        let mut command = bottle().with(&["-i"]).into_command(&["sh", "-c", &script]);
        let mut launcher = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, stdout) = (launcher.stdin.take().unwrap(), launcher.stdout.take().unwrap());
        let mut lines = BufReader::new(stdout).lines();
        let mut seen = Vec::new();
        for count in [500, 2500] {
            let line = lines.next().unwrap().unwrap();
            assert!(
                line.starts_with(&format!(r#"{{"what":"dial","count":{count},"#)) && line.ends_with(r#""failed":0}"#),
                "{line}"
            );
            let monitor = children(launcher.id())[0];
            seen.push([launcher.id(), monitor].map(|process| (descriptors(process), own_kib(process, 256))));
            stdin.write_all(b"\n").unwrap();
        }
        assert!(launcher.wait().unwrap().success());
        for process in 0..2 {
            let [(descriptors, kib), (descriptors_later, kib_later)] = [seen[0][process], seen[1][process]];
            // The last few connections may be about to be closed at either time.
            assert!(descriptors_later <= descriptors + 8, "{seen:?}");
            // A KiB that each left behind would come to more.
            assert!(kib_later <= kib + 2048, "{seen:?}");
        }
    });
}

/// `nc` waits for a minute and more where nobody answers.
#[test]
fn what_is_refused_is_refused_by_an_answer_on_both_kernels() {
    beside_a_server(|| {
        for kernel in kernels().both() {
            let closed = ["--kernel", kernel, "--allow", "192.0.2.10:9", "--allow", "203.0.113.0/24"];
            let script = "for to in '192.0.2.10 9' '192.0.2.11 443' '203.0.113.1 443' '192.168.255.255 1'; do \
                          timeout 20 nc $to </dev/null 2>&1; echo code $?; done; \
                          ping -c 1 -W 20 192.0.2.10 | grep -c 'bytes from'; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
            let finished = run(bottle().with(&closed), script).exits(0);
            let text = finished.text();
            let lines: Vec<_> = text.lines().collect();
            let expected = [
                "nc: can't connect to remote host (192.0.2.10): Connection refused",
                "code 1",
                "nc: can't connect to remote host (192.0.2.11): Connection refused",
                "code 1",
            ];
            assert_eq!(lines[..4], expected, "{finished:?}");
            // Nothing is behind that address here, and the host knows it at once.
            assert!(lines[4].contains("unreachable") || lines[4].contains("No route"), "{finished:?}");
            assert_eq!(lines[5], "code 1");
            assert!(lines[6].contains("refused") && lines[7] == "code 1", "{finished:?}");
            assert_eq!(lines[8..], ["0", "1"], "{finished:?}");
        }
    });
}

#[test]
fn a_bandwidth_limit_slows_and_breaks_nothing() {
    beside_a_server(|| {
        let script = format!("tput check-up {SERVER} 1 1; tput check-down {SERVER} 1 1");
        let finished = run(bottle().with(&["--egress-bandwidth", "1M"]), &script).exits(0);
        let good = finished.text().lines().filter(|line| line.ends_with(r#""failed":0}"#)).count();
        assert_eq!(good, 2, "{finished:?}");
    });
}
