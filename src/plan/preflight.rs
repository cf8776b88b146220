//! What a machine needs to run a bottle at all, found out before anybody is asked anything. Law: only looks.

use crate::host::kvm::{self, KvmUnusable};
use crate::kernel::{KernelError, Store};

#[derive(Debug, thiserror::Error)]
pub enum Preflight {
    #[error(transparent)]
    Kvm(#[from] KvmUnusable),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Preflight {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kvm(error) => Some(error.hint()),
            Self::Kernel(error) => error.hint(),
        }
    }
}

/// # Errors
/// [`Preflight`], which says what is missing.
pub fn check() -> Result<(), Preflight> {
    kvm::open()?;
    Store::open_default()?.select(None)?;
    Ok(())
}
