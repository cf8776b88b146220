//! A manifest file's two halves: YAML between two lines `---`, and the text behind them.
//!
//! Law: any bytes in, no panic; a byte-order mark and CRLF line ends are what some editors write and are taken.

use super::error::{Located, Mark};
use super::fault::Fault;

/// A file taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Begins on the second line of the file.
    pub yaml: &'a str,
    /// Without blank lines around it, lines ended by LF.
    pub body: String,
}

/// Lines of the file before [`Parts::yaml`].
pub const LINES_BEFORE: usize = 1;

const FENCE: &str = "---";

/// # Errors
/// Not UTF-8, no front matter, or one without an end.
pub fn split(bytes: &[u8]) -> Result<Parts<'_>, Located> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if first.trim_end() != FENCE {
        return Err(Located { at: Mark::START, fault: Fault::NoFrontMatter });
    }
    let mut length = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == FENCE {
            let (yaml, behind) = rest.split_at(length);
            let body = behind.get(line.len()..).unwrap_or_default().replace("\r\n", "\n");
            return Ok(Parts { yaml, body: trim_blank_lines(&body).to_owned() });
        }
        length += line.len();
    }
    Err(Located { at: Mark::START, fault: Fault::Unclosed })
}

fn not_utf8(bytes: &[u8], valid: usize) -> Located {
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Located { at: Mark { line, column }, fault: Fault::NotUtf8 }
}

/// Keeps the indentation of the first line.
fn trim_blank_lines(body: &str) -> &str {
    let body = body.trim_end();
    let blank: usize = body.split_inclusive('\n').take_while(|line| line.trim().is_empty()).map(str::len).sum();
    body.get(blank..).unwrap_or_default()
}

#[cfg(test)]
#[path = "front_matter_test.rs"]
mod tests;
