//! The layers by name, and what became of each.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of the sandbox that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A network namespace with nothing in it. The only layer that is not required: an ordinary user may not be allowed to make one,
    /// and without `socket` and `connect` (seccomp) the monitor has no use for a network it could see.
    Network,
    /// A user id of its own if started by root; no capabilities, and no way to gain any (no_new_privs).
    User,
    /// No path can be opened, whatever the user may.
    Landlock,
    /// System calls, by thread and argument.
    Seccomp,
}

impl Layer {
    pub const ALL: [Self; 4] = [Self::Network, Self::User, Self::Landlock, Self::Seccomp];

    #[must_use]
    pub fn required(self) -> bool {
        self != Self::Network
    }

    /// As `--no-sandbox` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::User => "user",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }

    /// What to do about a kernel that lacks it, except for going on without.
    #[must_use]
    pub fn way_out(self) -> &'static str {
        match self {
            Self::Network => {
                "as an ordinary user this needs unprivileged user namespaces (`sysctl kernel.unprivileged_userns_clone`, \
                 `user.max_user_namespaces`, `kernel.apparmor_restrict_unprivileged_userns`)"
            }
            Self::User => {
                "start bottle-vmm as an ordinary user, or as a root that may change its user (CAP_SETUID, CAP_SETGID, CAP_KILL)"
            }
            Self::Landlock => {
                "add `landlock` to the kernel's `lsm=` list (`cat /sys/kernel/security/lsm` shows the present one) and boot again, or use a \
                 kernel with CONFIG_SECURITY_LANDLOCK (Linux 5.13 and later; Debian 12 has it switched on); a container must allow landlock_create_ruleset(2)"
            }
            Self::Seccomp => {
                "use a kernel with CONFIG_SECCOMP_FILTER (Linux 4.14 and later); a container must allow seccomp(2)"
            }
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "the empty network",
            Self::User => "the unprivileged user",
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

/// What the launcher sends first: which layers the person does without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    pub leave_out: Vec<Layer>,
}

impl Confinement {
    /// No sandbox at all.
    #[must_use]
    pub fn none() -> Self {
        Self { leave_out: Layer::ALL.to_vec() }
    }

    #[must_use]
    pub fn leaves_out(&self, layer: Layer) -> bool {
        self.leave_out.contains(&layer)
    }
}

/// One layer and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerReport {
    pub layer: Layer,
    pub state: LayerState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    Closed {
        detail: String,
    },
    LeftOut,
    /// The kernel, or whoever started us, does not allow it.
    Missing {
        why: String,
    },
}

impl LayerReport {
    /// Why the bottle must not run, if it is because of this layer.
    #[must_use]
    pub fn obstacle(&self) -> Option<&str> {
        match &self.state {
            LayerState::Missing { why } if self.layer.required() => Some(why),
            _ => None,
        }
    }
}
