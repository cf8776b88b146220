//! Landlock: an empty set of rules, so that no path can be opened, whoever the user is.
//!
//! What is open already is not concerned: the monitor works on descriptors it was handed. Newer kernels restrict more with the same
//! rules: TCP (Linux 6.7), abstract sockets and signals to others (6.12); an older one is as good as it can be.

use landlock::{ABI, Access as _, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr as _, RulesetError, Scope};

/// The newest set of restrictions that this crate knows; each kernel enforces what it has.
const NEWEST: ABI = ABI::V6;

pub(super) fn forbid_all() -> Result<String, String> {
    let status = restrict().map_err(|error| format!("Landlock does not close: {error}"))?;
    match status {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            let version = kernel_abi.unwrap_or(effective_abi as i32);
            Ok(format!("Landlock {version}: {}", reach(effective_abi)))
        }
        LandlockStatus::NotEnabled => Err("Landlock is in this kernel, but not switched on".to_owned()),
        LandlockStatus::NotImplemented => Err("this kernel has no Landlock".to_owned()),
    }
}

fn restrict() -> Result<LandlockStatus, RulesetError> {
    let rules = Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?;
    let rules = rules.handle_access(AccessNet::from_all(NEWEST))?.scope(Scope::from_all(NEWEST))?;
    // It sets no_new_privs, too.
    Ok(rules.create()?.restrict_self()?.landlock)
}

fn reach(abi: ABI) -> &'static str {
    match abi {
        abi if abi >= ABI::V6 => "no path, no TCP, no abstract sockets, no signals to others",
        abi if abi >= ABI::V4 => "no path, no TCP",
        _ => "no path",
    }
}
