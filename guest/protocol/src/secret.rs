//! Bytes that are wiped: environment values, and the frames that carry them.
//!
//! Law: none of these types has `Debug`, `Display`, `Clone` or a serde face, so a value cannot slip into a log or a
//! file by accident, and none lets its buffer be moved by the allocator: growing copies to a new one and wipes the old.

use std::ffi::CStr;

use zeroize::Zeroize;

/// An environment variable that no process can be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    #[error("environment variable {position} has an empty name")]
    NoName { position: usize },
    #[error("environment variable {position} has no `=`")]
    NoEquals { position: usize },
    #[error("the name of environment variable {position} holds `=`")]
    EqualsInName { position: usize },
    #[error("environment variable {position} holds a NUL byte")]
    Nul { position: usize },
    #[error("the environment is longer than 4 GiB")]
    TooLong,
}

/// A buffer that is wiped when it is dropped.
#[derive(Default)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// The bytes themselves. Named so that a reader of the calling code stops here.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes room for `more` bytes in one step.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.0.len().saturating_add(more);
        if needed > self.0.capacity() {
            let mut roomier = Vec::with_capacity(needed);
            roomier.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = roomier;
        }
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() > self.0.capacity().saturating_sub(self.0.len()) {
            self.reserve(bytes.len().max(self.0.len())); // doubling: n pushes copy O(n) bytes in all
        }
        self.0.extend_from_slice(bytes);
    }

    /// Wipes the contents and keeps the allocation.
    pub fn clear(&mut self) {
        self.0.zeroize();
    }

    /// Zeroes to read into; the caller trims with [`Self::truncate`].
    pub(crate) fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Wipes and cuts off everything from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.zeroize();
        }
        self.0.truncate(len);
    }

    /// Gives the buffer away. Only for payloads that are no secret.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The environment of a command: `NAME=VALUE` entries, each ended by a NUL, in one buffer.
///
/// The layout is that of the wire and of what `execve` wants pointers into, so a value is copied once from the frame
/// and then never again.
#[derive(Default)]
pub struct SecretEnv {
    bytes: SecretBytes,
    /// Offset behind the NUL of each entry.
    ends: Vec<u32>,
}

impl SecretEnv {
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for `variables` of `bytes` in all (names, values, and two bytes each for `=` and NUL).
    pub fn with_capacity(variables: usize, bytes: usize) -> Self {
        Self { bytes: SecretBytes::with_capacity(bytes), ends: Vec::with_capacity(variables) }
    }

    /// Adds a variable. An earlier one of the same name stays: whoever merges environments decides, not this type.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidVariable> {
        let position = self.ends.len();
        if name.is_empty() {
            return Err(InvalidVariable::NoName { position });
        }
        if name.contains(&b'=') {
            return Err(InvalidVariable::EqualsInName { position });
        }
        if name.contains(&0) || value.contains(&0) {
            return Err(InvalidVariable::Nul { position });
        }
        let grown = [self.bytes.len(), name.len(), value.len(), 2].into_iter().try_fold(0, usize::checked_add);
        let end = grown.and_then(|end| u32::try_from(end).ok()).ok_or(InvalidVariable::TooLong)?;
        for part in [name, b"=", value, b"\0"] {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(end);
        Ok(())
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all entries with their NULs, as the kernel counts them.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The entries, `NAME=VALUE`, in the order they were added.
    pub fn entries(&self) -> impl Iterator<Item = &CStr> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| {
            let entry = self.bytes.expose().get(start..end as usize)?;
            start = end as usize;
            CStr::from_bytes_with_nul(entry).ok() // each entry was built with exactly one NUL, at its end
        })
    }

    /// The value of the first variable of that name, which is the one that `getenv` finds.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.entries().find_map(|entry| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
    }

    /// All entries in the layout of the wire.
    pub(crate) fn packed(&self) -> &SecretBytes {
        &self.bytes
    }

    /// Reads the layout of the wire: `count` entries, each ended by a NUL, nothing between or behind them.
    pub(crate) fn from_packed(packed: &[u8], count: usize) -> Result<Self, InvalidVariable> {
        let mut env = Self { bytes: SecretBytes::with_capacity(packed.len()), ends: Vec::with_capacity(count) };
        for entry in packed.split_inclusive(|&byte| byte == 0) {
            let position = env.ends.len();
            let Some(entry) = entry.strip_suffix(b"\0") else { return Err(InvalidVariable::Nul { position }) };
            let Some(equals) = entry.iter().position(|&byte| byte == b'=') else {
                return Err(InvalidVariable::NoEquals { position });
            };
            let (name, value) = entry.split_at(equals);
            env.push(name, value.get(1..).unwrap_or_default())?;
        }
        if env.len() == count { Ok(env) } else { Err(InvalidVariable::Nul { position: env.len().min(count) }) }
    }
}

#[cfg(test)]
#[path = "secret_test.rs"]
mod tests;
