//! What the policy costs a new connection: the judgement alone, beside how many rules; and a connection through the broker, which judges,
//! counts and notes it, beside one through a helper that connects and hands over whatever it is asked for.
//!
//! The difference of those two is the policy; that of the helper and of a connection that the asker makes by itself is what it costs to
//! have another process connect, mostly two wake-ups. Connections go to a listener of our own on loopback and are reset at once; `stack.rs`
//! has the question to the kernel that comes on top where only a range allows. Measures, never asserts.
//! `cargo bench --bench policy`; with `taskset -c 0` in front, without the wake-ups of another processor.

use bottle_vmm::monitor::wire::pair;
use bottle_vmm::net::broker::{Broker, Limits};
use bottle_vmm::net::ledger::Ledger;
use bottle_vmm::net::policy::{Bundle, Cidr, Policy, Protocol, Surroundings, parse_entries};
use bottle_vmm::net::wire::{Reply, Request};
use bottle_vmm::sys::passing;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, recv, send, sendmsg, setsockopt, sockopt};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;

fn policy(entries: &[String]) -> Policy {
    let network = Cidr::around(Ipv4Addr::new(192, 168, 77, 0), 24);
    let surroundings = Surroundings { network, bundle: Bundle::None, host: vec![] };
    Policy::new(parse_entries("--allow", entries).expect("rules"), surroundings).expect("a policy")
}

fn judgement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy/judge");
    for count in [1u16, 100, 1_000] {
        let rules: Vec<String> =
            (0..count).map(|rule| format!("198.18.{}.{}:443", rule.to_be_bytes()[0], rule.to_be_bytes()[1])).collect();
        let policy = policy(&rules);
        let stranger = IpAddr::from([203, 0, 113, 9]);
        group.bench_function(BenchmarkId::new("what no rule allows", count), |bencher| {
            bencher.iter(|| policy.judge(Protocol::Tcp, stranger, 443));
        });
    }
    group.finish();
}

/// A broker that allows `address`, in a thread as in the launcher; our end.
fn broker(address: SocketAddr) -> OwnedFd {
    let (ours, theirs) = pair().expect("a socket pair");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let limits = Limits { pace: None, ..Limits::default() };
            let ledger = Arc::new(Mutex::new(Ledger::new(None)));
            let broker = Broker::new(theirs, policy(&[address.to_string()]), None, limits, ledger).expect("a broker");
            // A task, as in the launcher: the future of `block_on` itself is woken through the kernel.
            tokio::spawn(broker.serve()).await.expect("no panic").expect("a monitor that keeps to the rules");
        });
    });
    ours
}

/// Connects and hands over whatever it is asked for; our end.
fn helper() -> OwnedFd {
    let (ours, theirs) = pair().expect("a socket pair");
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(length @ 1..) = recv(theirs.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            let Ok(Request::Connect { flow, destination, .. }) = Request::decode(&bytes[..length]) else { continue };
            let socket = TcpStream::connect(destination).expect("our own listener");
            let (reply, rights) = (Reply::Connected { flow }.encode(), [socket.as_raw_fd()]);
            let (parts, rights) = ([IoSlice::new(&reply)], [ControlMessage::ScmRights(&rights)]);
            sendmsg::<UnixAddr>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).expect("it listens");
        }
    });
    ours
}

fn say(socket: &OwnedFd, request: Request) {
    send(socket.as_raw_fd(), &request.encode(), MsgFlags::MSG_NOSIGNAL).expect("the broker listens");
}

fn connected(socket: &OwnedFd) -> OwnedFd {
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).expect("an answer");
    let mut bytes = [0; 64];
    let (length, descriptor) = passing::receive(socket.as_fd(), &mut bytes).expect("an answer");
    let reply = Reply::decode(bytes.get(..length).unwrap_or_default());
    assert!(matches!(reply, Ok(Reply::Connected { .. })), "{reply:?}");
    descriptor.expect("a socket")
}

/// Takes a connection and ends it at both ends without the minute in which its port is taken.
fn reset(listener: &TcpListener, socket: &impl AsFd) {
    let (accepted, _) = listener.accept().expect("a connection");
    setsockopt(socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).expect("a TCP socket");
    drop(accepted);
}

fn connection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy/connection");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    group.bench_function("by itself", |bencher| {
        bencher.iter(|| reset(&listener, &TcpStream::connect(address).expect("our own listener")));
    });
    for (name, socket) in [("through a helper", helper()), ("through the broker", broker(address))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                say(&socket, Request::Connect { flow: 1, protocol: Protocol::Tcp, destination: address });
                reset(&listener, &connected(&socket));
                say(&socket, Request::Closed { flow: 1 });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, judgement, connection);
criterion_main!(benches);
