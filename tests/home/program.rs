//! The program in a home and a repository of the test's own, without a terminal.

use std::path::Path;
use std::process::{Command, Output};

/// What it said, with the home taken out.
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(home: &Path, output: &Output) -> Self {
        let plain =
            |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(&format!("{}/", home.display()), "");
        Self { code: output.status.code().unwrap(), stdout: plain(&output.stdout), stderr: plain(&output.stderr) }
    }
}

/// Of a session of its own, which has no terminal to ask on; in the repository of the home, with nothing of the caller's that the
/// program is configured by.
pub fn command(home: &Path, program: &str) -> Command {
    let mut command = Command::new("setsid");
    command.args(["--wait", program]).current_dir(home.join("repo")).env("HOME", home);
    for name in
        ["BOT_BOTTLE_HOME", "BOT_BOTTLE_DRY_RUN", "BOT_BOTTLE_IMAGE", "BOTTLE_VMM_KERNEL", "CODEX_HOME", "VISUAL"]
    {
        command.env_remove(name);
    }
    for name in ["XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command.env("TMPDIR", home.join("repo")); // what is left there is seen
    command
}
