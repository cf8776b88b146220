//! What a guest's root can try on its network, frame by frame. The guest tests run it in bottles; everything that it reaches there is theirs.
//!
//! ```text
//!   attack 'FORM ADDRESS[:PORT]' …
//! ```
//!
//! Each word is a probe: frames of one form (`forms.rs`) to one destination, written to the interface as they are. `connect` is
//! a connection of the kernel's own that has to be made and to be greeted; as the wire keeps the order, all that was sent before has been judged
//! by then. At the end, one line for each kind of answer that came.
#![expect(clippy::print_stdout, reason = "a program of its own")]

mod forms;
mod wire;

use std::collections::BTreeSet;
use std::io::{self, Error, ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
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
            connect(to)?;
            continue;
        }
        let unknown = || Error::new(ErrorKind::InvalidInput, probe.clone());
        let from = SocketAddrV4::new(wire.address(), port);
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

fn connect(to: SocketAddrV4) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.read_exact(&mut [0])
}
