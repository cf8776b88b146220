//! A client of QEMU's machine protocol: commands, their answers, and the events in between (qemu, docs/interop/qmp-spec).

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// No step of a save or a restore takes longer, even on a machine busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("QEMU ended or went silent")]
    Lost(#[source] io::Error),
    #[error("QEMU's monitor said something that is not JSON")]
    Malformed(#[source] serde_json::Error),
    #[error("QEMU refused `{command}`: {answer}")]
    Refused { command: String, answer: String },
    #[error("QEMU could not {verb} the machine's state: {answer}")]
    Migration { verb: &'static str, answer: String },
}

/// The connection, past its greeting.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
    events: VecDeque<Value>,
}

impl Qmp {
    pub(crate) fn greet(stream: UnixStream) -> Result<Qmp, QmpError> {
        stream.set_read_timeout(Some(PATIENCE)).map_err(QmpError::Lost)?;
        let mut qmp = Qmp { stream: BufReader::new(stream), events: VecDeque::new() };
        qmp.message()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.stream.get_mut().write_all(line.as_bytes()).map_err(QmpError::Lost)?;
        loop {
            let mut message = self.message()?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                return Err(QmpError::Refused { command: command.into(), answer: description(error) });
            }
            self.events.push_back(message);
        }
    }

    /// RAM stays in its file; only devices and registers travel.
    pub(crate) fn leave_ram_in_place(&mut self) -> Result<(), QmpError> {
        let on = |name: &str| json!({ "capability": name, "state": true });
        let capabilities = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
        self.execute("migrate-set-capabilities", &capabilities).map(drop)
    }

    /// Writes the state of the stopped machine to the file `uri` names.
    pub(crate) fn save(&mut self, uri: &str) -> Result<(), QmpError> {
        self.execute("migrate", &json!({ "uri": uri }))?;
        self.await_event("save", |event| migration_status(event) == Some("completed"))
    }

    /// Loads the state and returns when the machine runs: a virtio port drops what is sent to it before that.
    pub(crate) fn restore(&mut self, uri: &str) -> Result<(), QmpError> {
        self.execute("migrate-incoming", &json!({ "uri": uri }))?;
        self.await_event("restore", |event| event.get("event").and_then(Value::as_str) == Some("RESUME"))
    }

    fn await_event(&mut self, verb: &'static str, wanted: impl Fn(&Value) -> bool) -> Result<(), QmpError> {
        loop {
            let event = self.event()?;
            if wanted(&event) {
                return Ok(());
            }
            if migration_status(&event) == Some("failed") {
                let state = self.execute("query-migrate", &json!({}))?;
                let answer = state.get("error-desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(QmpError::Migration { verb, answer: answer.into() });
            }
        }
    }

    fn event(&mut self) -> Result<Value, QmpError> {
        match self.events.pop_front() {
            Some(event) => Ok(event),
            None => self.message(),
        }
    }

    fn message(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(QmpError::Lost)? == 0 {
            return Err(QmpError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_str(&line).map_err(QmpError::Malformed)
    }
}

fn migration_status(event: &Value) -> Option<&str> {
    event.pointer("/data/status").and_then(Value::as_str)
}

fn description(error: &Value) -> String {
    error.get("desc").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
#[path = "qmp_test.rs"]
mod tests;
