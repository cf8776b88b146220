//! Questions on the terminal, whatever standard input and output are.

use super::report::Failure;
use super::tty::{Caught, Tty};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};

/// Longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 64 << 10;

/// Whoever answers: a terminal, or a test.
pub struct Asker<R, W> {
    answers: R,
    questions: W,
}

pub type Terminal = Asker<BufReader<File>, File>;

impl Asker<BufReader<Tty>, File> {
    /// On a terminal where a signal is an answer, too.
    pub fn on(tty: Tty) -> io::Result<Self> {
        let questions = tty.device()?;
        Ok(Self { answers: BufReader::new(tty), questions })
    }
}

impl Terminal {
    /// None if there is no terminal.
    #[must_use]
    pub fn open() -> Option<Self> {
        let questions = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let answers = BufReader::new(questions.try_clone().ok()?);
        Some(Self { answers, questions })
    }
}

impl<R: BufRead, W: Write> Asker<R, W> {
    #[cfg(test)]
    pub fn new(answers: R, questions: W) -> Self {
        Self { answers, questions }
    }

    /// Says something in between.
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.questions, "{text}").map_err(failed)
    }

    /// One line, without blanks around it; `default` if it is empty.
    ///
    /// # Errors
    /// The end of input, which is how people leave.
    pub fn line(&mut self, question: &str, default: &str) -> Result<String, Failure> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        write!(self.questions, "{question}{shown}: ").and_then(|()| self.questions.flush()).map_err(failed)?;
        let mut line = String::new();
        let read = io::Read::take(&mut self.answers, ANSWER_MAX).read_line(&mut line).map_err(failed)?;
        if read == 0 {
            let _ = writeln!(self.questions);
            return Err(Failure::new("no answer; nothing was written", None));
        }
        let answer = line.trim();
        Ok(if answer.is_empty() { default } else { answer }.to_owned())
    }

    /// Asks until `rule` takes the answer.
    pub fn until<T>(
        &mut self,
        question: &str,
        default: &str,
        rule: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        loop {
            match rule(&self.line(question, default)?) {
                Ok(value) => return Ok(value),
                Err(why) => self.say(&format!("  {why}"))?,
            }
        }
    }

    pub fn yes(&mut self, question: &str, default: bool) -> Result<bool, Failure> {
        let shown = if default { "Y/n" } else { "y/N" };
        self.until(&format!("{question} [{shown}]"), "", |answer| match answer.to_lowercase().as_str() {
            "" => Ok(default),
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("`y` or `n`".to_owned()),
        })
    }
}

fn failed(error: io::Error) -> Failure {
    match Caught::of(&error) {
        Some(caught) => Failure::interrupted(caught),
        None => Failure::new(error, None),
    }
}
