//! Short texts and numbers with rules of their own: once one of these exists, nobody has to check it again.

use std::fmt;

/// A name from the host that the agent must not act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error(
        "host name `{name}` is not 1 to 63 letters, digits, `-` and `.`, beginning and ending with a letter or digit"
    )]
    Hostname { name: String },
    #[error("`{name}` is not the name of a block device")]
    Device { name: String },
    #[error("{number} is not a signal")]
    Signal { number: u32 },
}

/// What `sethostname` and `/etc/hosts` get: no blank or line end can be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname(String);

impl Hostname {
    /// The kernel takes 64 bytes, DNS 63.
    const MAX: usize = 63;

    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        if bytes.len() <= Self::MAX && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().copied().all(inner) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidName::Hostname { name: name.escape_default().to_string() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name under `/dev`, such as `vda`: it cannot leave that directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName(String);

impl DeviceName {
    /// The kernel's `DISK_NAME_LEN`.
    const MAX: usize = 31;

    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let fits = (1..=Self::MAX).contains(&name.len());
        if fits && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidName::Device { name: name.escape_default().to_string() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A signal number that Linux knows: 1 to 64 (`_NSIG`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalNumber(u8);

impl SignalNumber {
    pub fn new(number: u32) -> Result<Self, InvalidName> {
        match u8::try_from(number) {
            Ok(small @ 1..=64) => Ok(Self(small)),
            _ => Err(InvalidName::Signal { number }),
        }
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
