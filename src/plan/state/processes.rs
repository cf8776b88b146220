//! The processes of a bottle, so that what a killed launcher left can be told from what runs.
//!
//! A number alone is no process: it is given to another one later. With the time that the process was started at, counted from a
//! boot that has a name, it is.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::files::{self, failed};

/// `/proc/sys/kernel/random/boot_id`: another one after each boot (random(4)).
fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What is kept of a bottle's processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    pub boot_id: String,
    pub processes: Vec<Process>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it is to the bottle: `launcher`, `monitor`.
    pub role: String,
    pub pid: i32,
    /// Clock ticks from boot to its start: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start_time: u64,
}

/// Where they are written; of a bottle that is ours.
#[derive(Clone, Debug)]
pub struct ProcessesFile {
    pub(super) path: PathBuf,
}

impl ProcessesFile {
    pub(super) fn write(&self, processes: &Processes) -> Result<(), StateError> {
        let json = serde_json::to_vec(processes).map_err(|error| failed("write", &self.path)(error.into()))?;
        files::write(&self.path, &json)
    }

    /// One more, a child of ours: its number is its own until it is waited for.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn add(&self, role: &str, pid: u32) -> Result<(), StateError> {
        let failed = failed("write", &self.path);
        let mut processes: Processes =
            serde_json::from_slice(&fs::read(&self.path).map_err(&failed)?).map_err(|error| failed(error.into()))?;
        let pid = i32::try_from(pid).map_err(|error| failed(io::Error::other(error)))?;
        // One that has ended by now needs no finding.
        if let Some(start_time) = start_time(pid) {
            processes.processes.push(Process { role: role.to_owned(), pid, start_time });
        }
        self.write(&processes)
    }
}

impl Processes {
    /// This process, as the bottle's launcher.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn of_launcher() -> io::Result<Self> {
        let pid = Pid::this().as_raw();
        let start_time = start_time(pid).ok_or_else(|| io::Error::other("/proc does not tell when we were started"))?;
        let launcher = Process { role: "launcher".to_owned(), pid, start_time };
        Ok(Self { boot_id: boot_id()?, processes: vec![launcher] })
    }

    /// Those that still run.
    #[must_use]
    pub fn alive(&self) -> Vec<Process> {
        if boot_id().ok().as_ref() != Some(&self.boot_id) {
            return vec![];
        }
        self.processes.iter().filter(|process| process.is_alive()).cloned().collect()
    }
}

impl Process {
    fn is_alive(&self) -> bool {
        self.pid > 0 && start_time(self.pid) == Some(self.start_time)
    }

    /// Ends it, if it is still the one that was recorded.
    ///
    /// # Errors
    /// It is another user's.
    pub fn end(&self) -> nix::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }
}

fn start_time(pid: i32) -> Option<u64> {
    field_22(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses, with whatever is in it. A zombie (state `Z`) has ended.
fn field_22(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(") ")?;
    let mut fields = behind.split(' ');
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_hides_no_field() {
        let behind = (4..=21).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(field_22(&format!("7 (a) S (b) ) S {behind} 4711 23 24\n")), Some(4711));
        assert_eq!(field_22(&format!("7 (a) Z {behind} 4711 23 24\n")), None, "a zombie");
        assert_eq!(field_22("7 (a) S 4 5\n"), None);
        assert_eq!(field_22(""), None);
    }

    #[test]
    fn a_process_is_its_number_its_start_and_its_boot() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { role: "monitor".to_owned(), pid, start_time: start_time(pid).unwrap() };
        let of = |boot_id: &str, process: &Process| Processes {
            boot_id: boot_id.to_owned(),
            processes: vec![process.clone()],
        };
        let earlier = Process { start_time: process.start_time - 1, ..process.clone() };
        let now = boot_id().unwrap();
        assert_eq!(of(&now, &process).alive(), std::slice::from_ref(&process));
        assert_eq!(of("another boot", &process).alive(), []);
        assert_eq!(of(&now, &earlier).alive(), []);
        earlier.end().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it was another process that had this number");
        process.end().unwrap();
        assert!(!child.wait().unwrap().success());
        process.end().unwrap();
        assert_eq!(of(&now, &process).alive(), []);
        assert_eq!(Processes::of_launcher().unwrap().alive().len(), 1);
    }
}
