//! What a guest's root can try on its network, frame by frame. The guest tests run it in bottles; everything that it reaches there is theirs.
//!
//! ```text
//!   attack 'FORM ADDRESS[:PORT]' …
//! ```
//!
//! Each word is a probe: frames of one form (`forms.rs`) to one destination, written to the interface as they are. Some forms are connections
//! of the kernel's own: `http` and `hello` say what is in `disguises.rs`, `mapped` is of an IPv6 socket, and `connect` has to be made and to be
//! greeted; as the wire keeps the order, all that was sent before has been judged by then. At the end, one line for each kind of answer that came.
#![expect(clippy::print_stdout, reason = "a program of its own")]

mod disguises;
mod forms;
mod wire;

use disguises::disguise;
use std::collections::BTreeSet;
use std::io::{self, Error, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;
use wire::Wire;

/// Long enough for an emulated host that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the guest's: each probe has a port of its own, or it would be taken for a part of another.
const FIRST_PORT: u16 = 50_000;
/// Answers come at once, or not at all.
const QUIET: Duration = Duration::from_millis(500);

fn main() -> io::Result<()> {
    let wire = Wire::open()?;
    let mut answers = BTreeSet::new();
    for (probe, port) in std::env::args().skip(1).zip(FIRST_PORT..) {
        let (form, to) = parse(&probe).ok_or_else(|| Error::new(ErrorKind::InvalidInput, probe.clone()))?;
        if form == "connect" {
            connect(to.into(), &[])?;
            continue;
        }
        if form == "mapped" {
            answers.insert(outcome(&probe, connect((to.ip().to_ipv6_mapped(), to.port()).into(), &[])));
            continue;
        }
        if let Some(words) = disguise(form) {
            answers.insert(outcome(&probe, connect(to.into(), words)));
            continue;
        }
        let unknown = || Error::new(ErrorKind::InvalidInput, probe.clone());
        let from = SocketAddrV4::new(wire.address(), port);
        if let Some(segments) = forms::segments(form, to, from) {
            wire.send_segments(&segments)?;
            continue;
        }
        for frame in forms::frames(form, to, from).ok_or_else(unknown)? {
            wire.send(&frame)?;
            answers.extend(wire.answer(Duration::ZERO)?);
        }
    }
    while let Some(answer) = wire.answer(QUIET)? {
        answers.insert(answer);
    }
    answers.iter().for_each(|answer| println!("{answer}"));
    Ok(())
}

fn parse(probe: &str) -> Option<(&str, SocketAddrV4)> {
    let (form, to) = probe.split_once(' ')?;
    let to = to.parse().ok().or_else(|| Some(SocketAddrV4::new(to.parse::<Ipv4Addr>().ok()?, 0)))?;
    Some((form, to))
}

/// Says something, and is greeted when it has been heard to the end.
fn connect(to: SocketAddr, words: &[u8]) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&to, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(words)?;
    connection.shutdown(Shutdown::Write)?;
    let mut greeting = String::new();
    connection.read_to_string(&mut greeting)?;
    if greeting == "hello\n" { Ok(()) } else { Err(Error::new(ErrorKind::InvalidData, greeting)) }
}

fn outcome(probe: &str, result: io::Result<()>) -> String {
    match result {
        Ok(()) => format!("greeted {probe}"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => format!("refused {probe}"),
        Err(error) => format!("{error}: {probe}"),
    }
}
