//! Measures TCP between two machines: a server, and a client that prints one line of JSON. Static, so that it runs in any guest.
//!
//! ```text
//!   tput serve ADDRESS:PORT
//!   tput up|down ADDRESS:PORT MIB FLOWS     bytes in one direction, over all flows; time until the receiver has everything
//!   tput check-up|check-down …              the same, with every byte compared
//!   tput echo ADDRESS:PORT COUNT            round trips of one byte on one connection
//!   tput dial ADDRESS:PORT COUNT            connections one after another, one byte there and back on each
//!   tput hold ADDRESS:PORT COUNT            connections at once, one byte there and back on each while all are open
//! ```
//!
//! `cargo build --release --example tput`. A line is `{"what":…,"seconds":…,…}`; failures are counted, not hidden.
#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const BUFFER: usize = 256 << 10;
/// What each connection begins with: a letter, and how many bytes.
const ORDER: usize = 9;
/// No figure is worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = || io::Error::new(ErrorKind::InvalidInput, "see the head of benches/programs/tput.rs");
    let [what, address, numbers @ ..] = words.as_slice() else { return Err(usage()) };
    let address: SocketAddr = address.parse().map_err(|_| usage())?;
    let numbers: Vec<u64> = numbers.iter().map_while(|number| number.parse().ok()).collect();
    match (what.as_str(), numbers.as_slice()) {
        ("serve", []) => serve(address),
        ("up" | "down" | "check-up" | "check-down", [mib, flows]) => transfer(what, address, mib << 20, *flows),
        ("echo", [count]) => echo(address, *count),
        ("dial", [count]) => dial(address, *count),
        ("hold", [count]) => hold(address, *count),
        _ => Err(usage()),
    }
}

fn serve(address: SocketAddr) -> io::Result<()> {
    for connection in TcpListener::bind(address)?.incoming() {
        let Ok(connection) = connection else { continue };
        // Small stacks: there may be thousands.
        let served = std::thread::Builder::new().stack_size(64 << 10).spawn(move || obey(connection));
        drop(served);
    }
    Ok(())
}

fn obey(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut order = [0; ORDER];
    connection.read_exact(&mut order)?;
    let [letter, length @ ..] = order;
    let length = u64::from_le_bytes(length);
    match letter {
        b'u' | b'U' => {
            let good = receive(&mut connection, length, letter == b'U')?;
            connection.write_all(&[u8::from(good)])?;
        }
        b'd' | b'D' => send(&mut connection, length, letter == b'D')?,
        _ => {
            let mut byte = [0];
            while connection.read(&mut byte)? == 1 {
                connection.write_all(&byte)?;
            }
        }
    }
    connection.shutdown(Shutdown::Write)?;
    while connection.read(&mut [0; 512])? > 0 {}
    Ok(())
}

/// The bytes at a position of the stream that is compared: any two places differ.
fn pattern(position: u64, bytes: &mut [u8]) {
    for (word, place) in (position / 8..).zip(bytes.chunks_mut(8)) {
        let mixed = (word ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        place.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..place.len()]);
    }
}

fn send(connection: &mut TcpStream, length: u64, compared: bool) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut position = 0;
    while position < length {
        let count = usize::try_from(length - position).unwrap_or(BUFFER).min(BUFFER);
        if compared {
            pattern(position, &mut buffer);
        }
        connection.write_all(&buffer[..count])?;
        position += count as u64;
    }
    Ok(())
}

/// Whether all of it came, as it was sent.
fn receive(connection: &mut TcpStream, length: u64, compared: bool) -> io::Result<bool> {
    let (mut buffer, mut wanted) = (vec![0; BUFFER], vec![0; BUFFER]);
    let (mut position, mut good) = (0, true);
    while position < length {
        let count = usize::try_from(length - position).unwrap_or(BUFFER).min(BUFFER);
        if compared {
            connection.read_exact(&mut buffer[..count])?;
            pattern(position, &mut wanted);
            good &= buffer[..count] == wanted[..count];
            position += count as u64;
        } else {
            match connection.read(&mut buffer[..count])? {
                0 => return Ok(false),
                read => position += read as u64,
            }
        }
    }
    Ok(good)
}

fn open(address: SocketAddr, letter: u8, length: u64) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut order = [letter; ORDER];
    order[1..].copy_from_slice(&length.to_le_bytes());
    connection.write_all(&order)?;
    Ok(connection)
}

fn round_trip(connection: &mut TcpStream) -> io::Result<()> {
    connection.write_all(b"x")?;
    connection.read_exact(&mut [0])
}

fn transfer(what: &str, address: SocketAddr, bytes: u64, flows: u64) -> io::Result<()> {
    let (up, compared) = (what.ends_with("up"), what.starts_with("check"));
    let each = bytes / flows.max(1);
    let one = move || -> io::Result<bool> {
        let letter = if up { b'u' } else { b'd' };
        let mut connection = open(address, if compared { letter.to_ascii_uppercase() } else { letter }, each)?;
        if !up {
            return receive(&mut connection, each, compared);
        }
        send(&mut connection, each, compared)?;
        let mut answer = [0];
        connection.read_exact(&mut answer)?;
        Ok(answer == [1])
    };
    let begin = Instant::now();
    let threads: Vec<_> = (0..flows).map(|_| std::thread::spawn(one)).collect();
    let failed = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|good| !matches!(good, Ok(true)));
    let failed = failed.count();
    let seconds = begin.elapsed().as_secs_f64();
    let rate = bytes as f64 / seconds / 1e6;
    println!(r#"{{"what":"{what}","flows":{flows},"seconds":{seconds:.3},"mb_per_s":{rate:.1},"failed":{failed}}}"#);
    Ok(())
}

fn echo(address: SocketAddr, count: u64) -> io::Result<()> {
    let mut connection = open(address, b'e', 0)?;
    round_trip(&mut connection)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        round_trip(&mut connection)?;
        times.push(begin.elapsed());
    }
    print_times("echo", &mut times, 0);
    Ok(())
}

fn dial(address: SocketAddr, count: u64) -> io::Result<()> {
    let (mut times, mut failed) = (Vec::new(), 0);
    for _ in 0..count {
        let begin = Instant::now();
        match open(address, b'e', 0).and_then(|mut connection| round_trip(&mut connection)) {
            Ok(()) => times.push(begin.elapsed()),
            Err(_) => failed += 1,
        }
    }
    print_times("dial", &mut times, failed);
    Ok(())
}

fn hold(address: SocketAddr, count: u64) -> io::Result<()> {
    let begin = Instant::now();
    let mut open: Vec<_> = (0..count).filter_map(|_| open(address, b'e', 0).ok()).collect();
    let together = open.iter_mut().filter_map(|connection| round_trip(connection).ok()).count();
    let seconds = begin.elapsed().as_secs_f64();
    println!(r#"{{"what":"hold","asked":{count},"together":{together},"seconds":{seconds:.3}}}"#);
    Ok(())
}

fn print_times(what: &str, times: &mut [Duration], failed: u64) {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let (count, median, slow) = (times.len(), at(50), at(99));
    println!(r#"{{"what":"{what}","count":{count},"median_ms":{median:.3},"p99_ms":{slow:.3},"failed":{failed}}}"#);
}
