//! What a guest reaches, and what it does not. Everything happens in a network namespace of the test's own, where the probed addresses
//! are the test's: a leak is seen by a listener, and hurts nobody.

use crate::attacks::noted;
use crate::bottle::{Bottle, Finished, guest_test, report};
use crate::setup::{PROGRAM, attack_root};
use nix::sched::{CloneFlags, unshare};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

/// Addresses that are the host's own here, as those of a dummy interface are.
const ADDRESSES: [&str; 4] = ["192.0.2.10/32", "192.0.2.11/32", "8.8.8.8/32", "169.254.169.254/32"];

/// The same as `guest_test`, in a network that exists for this test only.
pub fn in_a_network(body: impl FnOnce()) {
    guest_test(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests make a network namespace: run them as root");
        ip(&["link", "set", "lo", "up"]);
        ADDRESSES.iter().for_each(|address| ip(&["addr", "add", address, "dev", "lo"]));
        body();
    });
}

fn ip(words: &[&str]) {
    assert!(Command::new("ip").args(words).status().unwrap().success(), "ip {words:?}");
}

/// Greets everyone who connects.
pub fn greeter(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|mut guest| guest.write_all(b"hello\n").unwrap()));
}

/// Listens, and answers nobody.
fn silent(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn nobody_came(listener: &TcpListener) {
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

fn nothing_came(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

const TRY: &str = "timeout 20 nc";

#[test]
fn what_is_allowed_is_reached_and_nothing_else() {
    in_a_network(|| {
        greeter("192.0.2.10:443");
        let others =
            ["192.0.2.10:444", "192.0.2.11:443", "8.8.8.8:53", "169.254.169.254:80", "127.0.0.1:443"].map(silent);
        let script = format!(
            "{TRY} 192.0.2.10 443 </dev/null; for to in '192.0.2.10 444' '192.0.2.11 443' '8.8.8.8 53' '169.254.169.254 80'; \
             do {TRY} $to </dev/null && echo reached $to; done; true"
        );
        let finished = Bottle::new().with(&["--allow", "192.0.2.10:443"]).run(&["sh", "-c", &script]);
        finished.exits(0).prints("hello\n").complains(&[
            "egress: 4 refused: ",
            "192.0.2.10:444/tcp",
            "192.0.2.11:443/tcp",
            "8.8.8.8:53/tcp",
            "169.254.169.254:80/tcp",
        ]);
        others.iter().for_each(nobody_came);
    });
}

/// The probes of the test above work: allowed, each is answered.
/// The bottle ends right after it.
#[test]
fn the_last_thing_that_was_refused_is_told() {
    in_a_network(|| {
        let bottle = Bottle::new().with(&["--allow", "192.0.2.10:443"]);
        let finished = bottle.run(&["ping", "-c1", "-W5", "192.0.2.11"]).exits(1);
        finished.complains(&["egress: 1 refused: 192.0.2.11/icmp"]);
    });
}

#[test]
fn what_was_refused_is_reached_when_it_is_named() {
    in_a_network(|| {
        let addresses = ["192.0.2.10:444", "192.0.2.11:443", "8.8.8.8:53", "169.254.169.254:80"];
        addresses.into_iter().for_each(greeter);
        let script = addresses.map(|address| format!("{TRY} {} </dev/null", address.replace(':', " "))).join("; ");
        let options: Vec<_> = addresses.iter().flat_map(|address| ["--allow", address]).collect();
        Bottle::new().with(&options).run(&["sh", "-c", &script]).exits(0).prints(&"hello\n".repeat(4)).quietly();
    });
}

#[test]
fn a_range_does_not_mean_the_host_itself() {
    in_a_network(|| {
        let listener = silent("192.0.2.10:443");
        let script = format!("{TRY} 192.0.2.10 443 </dev/null && echo reached; true");
        Bottle::new()
            .with(&["--allow", "192.0.2.0/24"])
            .run(&["sh", "-c", &script])
            .exits(0)
            .prints("")
            .complains(&["egress: 1 refused: 192.0.2.10:443/tcp"]);
        nobody_came(&listener);
    });
}

/// Its four ports, of TCP; beside each there is somebody as well.
#[test]
fn a_bundle_at_an_address_has_its_ports_only() {
    let root = attack_root();
    in_a_network(|| {
        let ports = [8888, 9418, 9420, 9100];
        ports.iter().for_each(|port| greeter(&format!("192.0.2.10:{port}")));
        let beside = [22, 8887, 8889, 9099, 9101, 9417, 9419, 9421];
        let others = beside.map(|port| silent(&format!("192.0.2.10:{port}")));
        let datagrams = ports.map(|port| UdpSocket::bind(("192.0.2.10", port)).unwrap());
        let words = |ports: &[u16]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let script = format!(
            "for port in {} {}; do {TRY} 192.0.2.10 $port </dev/null; done; \
             for port in {}; do attack \"query 192.0.2.10:$port\" >/dev/null || echo failed; done; true",
            words(&ports),
            words(&beside),
            words(&ports),
        );
        let log = tempfile::NamedTempFile::new().unwrap();
        let options = ["--bundle", "external=192.0.2.10", "--egress-log", log.path().to_str().unwrap()];
        let options = [&options[..], &["--image", root.to_str().unwrap()]].concat();
        let finished = Bottle::new().with(&options).run(&["sh", "-c", &script]).exits(0);
        finished.prints(&"hello\n".repeat(4)).complains(&["egress: 12 refused: "]);
        let refused = beside.map(|port| format!("192.0.2.10:{port}/tcp"));
        let refused = refused.into_iter().chain(ports.map(|port| format!("192.0.2.10:{port}/udp")));
        assert_eq!(noted(log.path(), "refused"), refused.collect());
        others.iter().for_each(nobody_came);
        datagrams.iter().for_each(nothing_came);
    });
}

#[test]
fn a_bundle_of_sockets_is_a_host_of_the_bottles_network() {
    in_a_network(|| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let listener = UnixListener::bind(directory.path().join("8888.sock")).unwrap();
        let gateway = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            stream.read_to_string(&mut request).unwrap();
            stream.write_all(b"hello\n").unwrap();
            request
        });
        // 156 is what the name comes to (src/net/subnet.rs).
        let script =
            format!("echo request | {TRY} 192.168.156.2 8888; {TRY} 192.168.156.2 9418 </dev/null || echo nobody");
        let sockets = format!("sockets={}", directory.path().display());
        Bottle::new()
            .with(&["--name", "demo", "--bundle", &sockets])
            .run(&["sh", "-c", &script])
            .exits(0)
            .prints("hello\nnobody\n")
            .complains(&["192.168.156.2): Connection refused"]);
        assert_eq!(gateway.join().unwrap(), "request\n");
    });
}

#[test]
fn a_running_bottle_can_be_asked_and_its_log_tells_the_same() {
    in_a_network(|| {
        greeter("192.0.2.10:443");
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("egress.log");
        let script =
            format!("{TRY} 192.0.2.10 443 </dev/null; {TRY} 192.0.2.10 444 </dev/null; echo tried; exec sleep 1000");
        let options = ["--name", "asked", "--allow", "192.0.2.10:443", "--egress-log", log.to_str().unwrap()];
        let mut child = Bottle::new().with(&options).spawn(&["sh", "-c", &script]);
        let mut said = [0; 12];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello\ntried\n");
        let report = report("asked");
        assert_eq!((&report["connected"], &report["denied"]), (&1.into(), &1.into()), "{report}");
        assert_eq!(
            (&report["refused_to"][0]["address"], &report["refused_to"][0]["port"]),
            (&"192.0.2.10".into(), &444.into())
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let events: Vec<serde_json::Value> =
            std::fs::read_to_string(&log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<_> =
            events.iter().map(|line| (line["event"].as_str().unwrap(), line["port"].as_u64())).collect();
        assert_eq!(events, [("connected", Some(443)), ("refused", Some(444))]);
        let gone = Command::new(PROGRAM).args(["egress", "asked"]).output().unwrap();
        Finished::of(gone).exits(125).complains(&["no bottle named `asked`", "hint: "]);
    });
}

#[test]
fn without_an_allow_there_is_no_network_device() {
    guest_test(|| {
        // Interfaces with hardware behind them.
        let script = "ls -d /sys/class/net/*/device 2>/dev/null | wc -l";
        Bottle::new().run(&["sh", "-c", script]).exits(0).prints("0\n").quietly();
        Bottle::new().with(&["--net", "none"]).run(&["sh", "-c", script]).exits(0).prints("0\n").quietly();
        Bottle::new().with(&["--allow", "192.0.2.10"]).run(&["sh", "-c", script]).exits(0).prints("1\n").quietly();
    });
}

/// A readable rule that would allow nothing: the guest's network has neither IPv6 nor a way to many at once.
#[test]
fn an_allow_that_no_guest_could_use_is_told() {
    guest_test(|| {
        for (rule, why) in [
            ("[2001:db8::1]:443", "no IPv6"),
            ("[::/0]", "no IPv6"),
            ("0.0.0.0:80", "goes nowhere"),
            ("224.0.0.251:5353/udp", "goes nowhere"),
            ("255.255.255.255:9/udp", "goes nowhere"),
        ] {
            Bottle::new().with(&["--allow", "192.0.2.1", "--allow", rule]).run(&["true"]).exits(125).complains(&[
                &format!("`{rule}` could never be reached: "),
                why,
                "hint: ",
            ]);
        }
        let external = ["--bundle", "external=2001:db8::1"];
        Bottle::new().with(&external).run(&["true"]).exits(125).complains(&["`2001:db8::1` could never be reached"]);
    });
}

#[test]
fn a_wrong_allow_ends_before_anything_begins() {
    guest_test(|| {
        Bottle::new()
            .with(&["--allow", "192.0.2.1", "--allow", "192.0.2.1/24"])
            .run(&["true"])
            .exits(125)
            .complains(&["--allow 2 of 2, `192.0.2.1/24`", "the network is 192.0.2.0/24", "hint: "]);
    });
}
