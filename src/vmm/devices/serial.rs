//! A 16550 at COM1 (vm-superio), output only: the kernel's last words, or its whole log with `--console`.
//!
//! At worst a guest writes to it without end: lines are cut at a fixed length, and the sink may drop them.

use super::super::bus::{BusDevice, Effect};
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

/// A line longer than this is passed on in pieces.
const LINE_MAX: usize = 512;

/// Takes the console's lines; must not block, since a vCPU waits for it.
pub type LineSink = Box<dyn FnMut(&[u8]) + Send>;

/// The port is polled by kernel consoles and is given no interrupt: nothing in the guest needs COM1 as a terminal.
struct NoInterrupt;

impl Trigger for NoInterrupt {
    type E = Infallible;
    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Gathers bytes into lines.
struct Lines {
    line: Vec<u8>,
    sink: LineSink,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes.iter().filter(|byte| **byte != b'\r') {
            self.line.push(byte);
            if byte == b'\n' || self.line.len() >= LINE_MAX {
                (self.sink)(&self.line);
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct SerialPort(Mutex<Serial<NoInterrupt, NoEvents, Lines>>);

impl SerialPort {
    #[must_use]
    pub fn new(sink: LineSink) -> Self {
        let lines = Lines { line: Vec::with_capacity(LINE_MAX), sink };
        Self(Mutex::new(Serial::new(NoInterrupt, lines)))
    }
}

impl BusDevice for SerialPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if let (Ok(offset), [byte]) = (u8::try_from(offset), data) {
            *byte = self.0.lock().unwrap_or_else(PoisonError::into_inner).read(offset);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        if let (Ok(offset), [byte]) = (u8::try_from(offset), data) {
            // The sink never fails and there is no interrupt to fail: a full loop-back FIFO is the guest's own affair.
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write(offset, *byte);
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn port() -> (SerialPort, Arc<Mutex<Vec<Vec<u8>>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        (SerialPort::new(Box::new(move |line| sink.lock().unwrap().push(line.to_vec()))), lines)
    }

    #[test]
    fn bytes_become_lines_without_carriage_returns() {
        let (port, lines) = port();
        for byte in b"one\r\ntwo\r\nthree" {
            let _ = port.write(0, &[*byte]);
        }
        assert_eq!(*lines.lock().unwrap(), [b"one\n".to_vec(), b"two\n".to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_cut_into_pieces_of_bounded_length() {
        let (port, lines) = port();
        for _ in 0..10 * LINE_MAX {
            let _ = port.write(0, b"x");
        }
        assert!(lines.lock().unwrap().iter().all(|line| line.len() == LINE_MAX));
        assert_eq!(lines.lock().unwrap().len(), 10);
    }

    #[test]
    fn odd_accesses_neither_panic_nor_write() {
        let (port, lines) = port();
        for offset in [0, 7, 8, 255, 256, u64::MAX] {
            port.read(offset, &mut [0xff; 8]);
            port.read(offset, &mut []);
            let _ = port.write(offset, &[b'\n'; 4]);
        }
        assert!(lines.lock().unwrap().is_empty());
    }
}
