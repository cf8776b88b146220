//! What `execve` takes: how long a command line and environment may be together.
//!
//! Linux `fs/exec.c` (`bprm_stack_limits`, `valid_arg_len`; the same in 6.1 and 6.12): every string with its NUL is at
//! most 32 pages; all strings and one pointer for each are at most a quarter of the stack limit, and never more than
//! three quarters of 8 MiB. The host asks before it boots anything, the agent once more with its own numbers.

use std::ffi::CString;

use crate::secret::SecretEnv;

/// The limits of one guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgumentLimits {
    /// All strings with their NULs and the pointers to them.
    pub total_bytes: u64,
    /// One string with its NUL.
    pub string_bytes: u64,
}

/// A command line and environment that no process can be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsTooLong {
    #[error("argument {position} has {bytes} bytes, the guest's kernel takes at most {limit}")]
    Argument { position: usize, bytes: u64, limit: u64 },
    #[error("environment variable `{name}` has {bytes} bytes, the guest's kernel takes at most {limit}")]
    Variable { name: String, bytes: u64, limit: u64 },
    #[error("command line and environment have {bytes} bytes, the guest's kernel takes at most {limit}")]
    Total { bytes: u64, limit: u64 },
}

impl ArgumentsTooLong {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Argument { .. } => "put the text into a file and pass its name".to_owned(),
            Self::Variable { .. } | Self::Total { .. } => "put large values into files and pass their names".to_owned(),
        })
    }
}

impl ArgumentLimits {
    /// The stack limit that the agent gives to commands (Linux `_STK_LIM`, also docker's).
    pub const STACK_BYTES: u64 = 8 * 1024 * 1024;

    /// What follows from it on x86-64 with 4 KiB pages: 2 MiB in all, 128 KiB each.
    pub const GUEST: Self = Self { total_bytes: Self::STACK_BYTES / 4, string_bytes: 32 * 4096 };

    /// The kernel also puts the path of the program and, for a script, its interpreter's line on the same account.
    const PATHS: u64 = 2 * 4096;

    /// The size of a pointer, counted for each string.
    const POINTER: u64 = 8;

    /// Whether `argv` and `env` fit.
    pub fn check(&self, argv: &[CString], env: &SecretEnv) -> Result<(), ArgumentsTooLong> {
        let size = |bytes: &[u8]| (bytes.len() as u64).saturating_add(1);
        let mut total = Self::PATHS;
        for (position, arg) in argv.iter().enumerate() {
            let bytes = size(arg.to_bytes());
            if bytes > self.string_bytes {
                return Err(ArgumentsTooLong::Argument { position, bytes, limit: self.string_bytes });
            }
            total = total.saturating_add(bytes).saturating_add(Self::POINTER);
        }
        for entry in env.entries() {
            let bytes = size(entry.to_bytes());
            if bytes > self.string_bytes {
                let name = entry.to_bytes().split(|&byte| byte == b'=').next().unwrap_or_default();
                let name = name.escape_ascii().to_string();
                return Err(ArgumentsTooLong::Variable { name, bytes, limit: self.string_bytes });
            }
            total = total.saturating_add(bytes).saturating_add(Self::POINTER);
        }
        if total > self.total_bytes {
            return Err(ArgumentsTooLong::Total { bytes: total, limit: self.total_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "arguments_test.rs"]
mod tests;
