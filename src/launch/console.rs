//! The guest's console, and warnings while it runs, for people. Whoever reads standard error may have stopped reading; a thread
//! waits for them, so that nothing else has to.

use super::boot::harmless;
use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

/// The last lines of the guest's console, for errors; with `--console`, all of it on standard error.
pub(super) struct Console {
    lines: VecDeque<String>,
    verbose: bool,
    printer: Option<Printer>,
}

impl Console {
    /// Lines kept: a panic with its registers and call trace fits.
    const LINES: usize = 40;

    pub(super) fn new(verbose: bool) -> Self {
        Self { lines: VecDeque::new(), verbose, printer: None }
    }

    pub(super) fn push(&mut self, line: String) {
        if self.verbose {
            self.print(harmless(line.trim_end_matches('\n')));
        }
        if self.lines.len() == Self::LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.print(format!("bottle-vmm: {what}"));
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| harmless(line)).collect()
    }

    fn print(&mut self, line: String) {
        if self.printer.is_none() {
            self.printer = Printer::start().ok();
        }
        if let Some(printer) = &mut self.printer {
            printer.print(line);
        }
    }
}

struct Printer {
    queue: Option<SyncSender<String>>,
    /// Hangs up when all is written.
    done: Receiver<()>,
    lost: usize,
}

impl Printer {
    /// Lines that wait for whoever reads them; what comes on top is lost, and counted.
    const WAITING: usize = 1024;
    /// How long the last lines may take.
    const LAST_LINES: Duration = Duration::from_millis(500);

    fn start() -> std::io::Result<Self> {
        let (queue, lines) = sync_channel::<String>(Self::WAITING);
        let (alive, done) = channel();
        std::thread::Builder::new().name("console".into()).spawn(move || {
            let _alive = alive;
            for line in lines {
                // The carriage return is for a terminal in raw mode. A closed standard error is the caller's choice.
                let _ = write!(std::io::stderr(), "{line}\r\n");
            }
        })?;
        Ok(Self { queue: Some(queue), done, lost: 0 })
    }

    fn print(&mut self, line: String) {
        let Some(queue) = &self.queue else { return };
        let line = if self.lost > 0 { format!("[{} lines are missing here]\r\n{line}", self.lost) } else { line };
        match queue.try_send(line) {
            Err(TrySendError::Full(_)) => self.lost += 1,
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.lost = 0,
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.queue = None;
        let _ = self.done.recv_timeout(Self::LAST_LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_tail_is_bounded_and_cannot_drive_a_terminal() {
        let mut console = Console::new(false);
        for number in 0..100 {
            console.push(format!("\x1b[2Jline {number}\n"));
        }
        let text = console.text();
        assert_eq!(text.lines().count(), Console::LINES);
        assert!(text.starts_with("\u{fffd}[2Jline 60\n") && !text.contains('\x1b'));
    }

    #[test]
    fn a_console_that_is_shown_cannot_drive_a_terminal_either() {
        let (queue, lines) = sync_channel(Printer::WAITING);
        let (_alive, done) = channel();
        let mut console = Console::new(true);
        console.printer = Some(Printer { queue: Some(queue), done, lost: 0 });
        console.push("\x1b]0;title\x07\tcolumn \u{9b}2J é\n".to_owned());
        assert_eq!(lines.recv().unwrap(), "\u{fffd}]0;title\u{fffd}\tcolumn \u{fffd}2J é");
    }

    #[test]
    fn lines_that_nobody_reads_are_counted_and_hold_nobody_up() {
        let (queue, lines) = sync_channel(Printer::WAITING);
        let (_alive, done) = channel();
        let mut printer = Printer { queue: Some(queue), done, lost: 0 };
        for number in 0..Printer::WAITING + 7 {
            printer.print(number.to_string());
        }
        assert_eq!(lines.recv().unwrap(), "0");
        printer.print("after".to_owned());
        assert_eq!(lines.into_iter().take(Printer::WAITING).last().unwrap(), "[7 lines are missing here]\r\nafter");
    }
}
