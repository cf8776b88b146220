//! The end of what a program printed, fit to be shown to a person. Law: pure; bounded whatever is printed.
//!
//! A build prints what the commands of a Dockerfile print, which may be anything: escape sequences that rewrite the
//! terminal, a line of a gigabyte, an address with a password in it.

use std::collections::VecDeque;

/// Lines that an error shows.
const LINES: usize = 20;

/// Characters of a line that are shown: its beginning, and its end, where programs that wrap errors in errors have the cause.
const SHOWN_BEGINNING: usize = 300;
const SHOWN_END: usize = 500;

/// Bytes of a line that are kept until it ends: of more, the middle goes.
const LINE_MAX: usize = 16 << 10;
const KEPT_BEGINNING: usize = 4 << 10;

/// Takes bytes as they come, keeps the last lines.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    current: Vec<u8>,
    escape: Escape,
}

/// Where in an escape sequence we are (ECMA-48 §5.3, 5.4, 8.3.89).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Parameters of a control sequence; a byte from `@` to `~` ends it.
    Control,
    /// A string (a window title, say); BEL or `ESC \` ends it.
    String,
}

impl Tail {
    /// Takes in `bytes`; gives the line to show now, if one was completed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<&str> {
        let mut completed = false;
        for &byte in bytes {
            match self.filter(byte) {
                // A bar is redrawn by a carriage return: each state of it is a line.
                Some(b'\n' | b'\r') => completed |= self.complete(),
                Some(byte) => {
                    if self.current.len() == LINE_MAX {
                        self.current.drain(KEPT_BEGINNING..LINE_MAX / 2);
                    }
                    self.current.push(byte);
                }
                None => {}
            }
        }
        if completed { self.lines.back().map(String::as_str) } else { None }
    }

    /// The last lines, one without an end included.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.complete();
        self.lines.into()
    }

    fn filter(&mut self, byte: u8) -> Option<u8> {
        let (state, shown) = match (self.escape, byte) {
            (_, 0x1b) => (Escape::Begun, None),
            (Escape::None, b'\t') => (Escape::None, Some(b' ')),
            (Escape::None, byte) => (Escape::None, Some(byte)),
            (Escape::Begun, b'[') => (Escape::Control, None),
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => (Escape::String, None),
            // Nothing spans lines: a sequence that is never ended hides one line, not all that follow.
            (Escape::Control | Escape::String, b'\n') => (Escape::None, Some(b'\n')),
            (Escape::Control, b'@'..=b'~') | (Escape::String, 0x07) | (Escape::Begun, _) => (Escape::None, None),
            (state, _) => (state, None),
        };
        self.escape = state;
        shown
    }

    /// Whether there was a line to complete: empty ones are left out.
    fn complete(&mut self) -> bool {
        let text = String::from_utf8_lossy(&self.current);
        let clean: String = text.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
        self.current.clear();
        let line = shortened(without_credentials(clean.trim_end()));
        if line.is_empty() {
            return false;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        true
    }
}

fn shortened(line: String) -> String {
    let length = line.chars().count();
    if length <= SHOWN_BEGINNING + SHOWN_END {
        return line;
    }
    let beginning: String = line.chars().take(SHOWN_BEGINNING).collect();
    let end: String = line.chars().skip(length - SHOWN_END).collect();
    format!("{beginning} … {end}")
}

/// Characters that make text look like another: marks of direction.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` without the user and password of addresses: `https://me:secret@host/x` becomes `https://host/x` (RFC 3986 §3.2.1).
pub(super) fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after.find(|c: char| c.is_whitespace() || "/?#\"'`<>".contains(c)).unwrap_or(after.len());
        let host = after[..authority].rfind('@').map_or(0, |at| at + 1);
        rest = &after[host..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut tail = Tail::default();
        // In pieces of all sizes, as a pipe gives them.
        for piece in bytes.chunks(3) {
            tail.push(piece);
        }
        tail.finish()
    }

    #[test]
    fn the_last_lines_remain_and_empty_ones_do_not() {
        let text: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let kept = lines(text.as_bytes());
        assert_eq!(kept.len(), LINES);
        assert_eq!((kept[0].as_str(), kept[19].as_str()), ("line 80", "line 99"));
        assert_eq!(lines(b"10%\r20%\r30%"), ["10%", "20%", "30%"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_one_that_is_shown() {
        let mut tail = Tail::default();
        tail.push(&[b'b'; SHOWN_BEGINNING]);
        for _ in 0..1000 {
            tail.push(&[b'x'; 4096]);
        }
        tail.push(&[b'e'; SHOWN_END]);
        assert!(tail.current.capacity() <= LINE_MAX * 2);
        assert_eq!(tail.finish(), [format!("{} … {}", "b".repeat(SHOWN_BEGINNING), "e".repeat(SHOWN_END))]);
    }

    #[test]
    fn a_terminal_is_not_steered_by_what_a_build_prints() {
        let printed = b"\x1b[31mred\x1b[0m \x1b]0;title\x07plain\x1b]8;;http://x\x1b\\link\x07\x08\n\x1b[2Jcleared\xe2\x80\xae\n\x1b]never ended\nnext";
        assert_eq!(lines(printed), ["red plainlink", "cleared", "next"]);
        assert_eq!(lines(b"\x9b31mx\xff\n"), ["\u{fffd}31mx\u{fffd}"]);
    }

    #[test]
    fn addresses_lose_their_credentials() {
        let cases = [
            ("get https://me:s3cret@host/x failed", "get https://host/x failed"),
            ("\"https://token@h:5000\"", "\"https://h:5000\""),
            ("https://a:p@ss@host", "https://host"),
            ("mail me@host, https://host/@scope/name", "mail me@host, https://host/@scope/name"),
            ("two http://a:b@c ftp://d:e@f.", "two http://c ftp://f."),
            ("://", "://"),
        ];
        for (text, expected) in cases {
            assert_eq!(without_credentials(text), expected, "{text}");
        }
    }
}
