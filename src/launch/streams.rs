//! The caller's standard streams, each on a thread of its own: they may be files, pipes or terminals, may block for ever, and may
//! be shared with other programs, so they are neither switched to non-blocking nor given to epoll.

use bottle_protocol::OutputStream;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread;
use tokio::sync::mpsc;

/// Bytes read from standard input at once.
const CHUNK: usize = 64 << 10;

/// Bytes written through a [`Gate`] at once: what whoever shuts it has to wait for.
const PIECE: usize = 4 << 10;

/// Reads standard input; the channel closes at its end. One chunk waits at most, so nothing is read ahead of the guest.
///
/// # Errors
/// When the thread cannot be started.
pub fn read_stdin() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(1);
    // The thread is never joined: it may be inside a read that never returns, and it ends with the process.
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let stdin_fd = io::stdin();
        let mut stdin = stdin_fd.lock();
        loop {
            let mut chunk = vec![0; CHUNK];
            match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => chunk.truncate(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if waited(&error, stdin_fd.as_fd(), PollFlags::POLLIN) => continue,
                Err(_) => return,
            }
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// What became of bytes that were given to an output.
#[derive(Debug)]
pub enum Written {
    /// So many are out.
    Bytes(OutputStream, usize),
    /// Nobody reads this output any more.
    Closed(OutputStream),
    /// It cannot be written, for another reason: a full disk, say.
    Failed(io::Error),
}

/// What an output is written through: whoever shuts it has the last word.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<bool>>);

impl Gate {
    /// Waits until what is being written is out; of what comes later, nothing is.
    pub fn shut<T>(&self, last: impl FnOnce() -> T) -> T {
        let mut shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *shut = true;
        last()
    }

    fn pass(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *shut { Ok(()) } else { write() }
    }
}

/// Writes one output on a thread.
pub struct Output {
    queue: blocking::Sender<Vec<u8>>,
    gate: Gate,
}

impl Output {
    /// `report` hears of every chunk; what was sent is bounded by the guest's window.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(stream: OutputStream, report: mpsc::UnboundedSender<Written>) -> io::Result<Self> {
        let (queue, chunks) = blocking::channel::<Vec<u8>>();
        let gate = Gate::default();
        let passed = gate.clone();
        let name = if stream == OutputStream::Stdout { "stdout" } else { "stderr" };
        thread::Builder::new().name(name.into()).spawn(move || match stream {
            // Descriptors of our own: std's locks would be held for the whole session, and others print too.
            OutputStream::Stdout => write_all(&chunks, io::stdout().as_fd(), stream, &passed, &report),
            OutputStream::Stderr => write_all(&chunks, io::stderr().as_fd(), stream, &passed, &report),
        })?;
        Ok(Self { queue, gate })
    }

    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    pub fn write(&self, bytes: Vec<u8>) {
        // The thread only ends when the queue is dropped.
        let _ = self.queue.send(bytes);
    }
}

/// Whether `error` said "not now", of a descriptor that another program made non-blocking, and it may be tried again.
fn waited(error: &io::Error, on: BorrowedFd<'_>, events: PollFlags) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        && matches!(poll(&mut [PollFd::new(on, events)], PollTimeout::NONE), Ok(_) | Err(Errno::EINTR))
}

fn write_whole(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if waited(&error, to.as_fd(), PollFlags::POLLOUT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_all(
    chunks: &blocking::Receiver<Vec<u8>>,
    to: BorrowedFd<'_>,
    stream: OutputStream,
    gate: &Gate,
    report: &mpsc::UnboundedSender<Written>,
) {
    let mut to = match to.try_clone_to_owned().map(File::from) {
        Ok(file) => file,
        Err(error) => return drop(report.send(Written::Failed(error))),
    };
    // Asked now: of one that has gone away nothing is to be learned.
    let terminal = to.is_terminal();
    let mut open = true;
    for chunk in chunks {
        let mut pieces = chunk.chunks(PIECE);
        let result = if open { pieces.try_for_each(|piece| gate.pass(|| write_whole(&mut to, piece))) } else { Ok(()) };
        if let Err(error) = result {
            open = false;
            let gone = terminal && error.raw_os_error() == Some(Errno::EIO as i32);
            let closed = gone || error.kind() == io::ErrorKind::BrokenPipe;
            let _ = report.send(if closed { Written::Closed(stream) } else { Written::Failed(error) });
        }
        // What can no longer be written is disposed of all the same: the guest is told by a closed pipe, not by a stall.
        let _ = report.send(Written::Bytes(stream, chunk.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_behind_what_a_gate_was_shut_with() {
        let (gate, written) = (Gate::default(), Arc::new(Mutex::new(vec![])));
        let (passed, out) = (gate.clone(), Arc::clone(&written));
        let (begun, writing) = blocking::channel();
        let writer = thread::spawn(move || {
            for piece in 0..10_000 {
                let write = || {
                    out.lock().unwrap().push(piece);
                    let _ = begun.send(());
                    Ok(())
                };
                passed.pass(write).unwrap();
            }
        });
        writing.recv().unwrap();
        gate.shut(|| written.lock().unwrap().push(-1));
        writer.join().unwrap();
        gate.pass(|| panic!("it is shut")).unwrap();
        assert_eq!(written.lock().unwrap().last(), Some(&-1));
    }
}
