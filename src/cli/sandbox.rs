//! `--no-sandbox`: what it leaves out, and the warning that it never comes without.

use super::args::SandboxPart;
use crate::monitor::sandbox::{Confinement, Layer};

impl SandboxPart {
    fn layers(self) -> &'static [Layer] {
        match self {
            Self::All => &Layer::ALL,
            Self::Landlock => &[Layer::Landlock],
            Self::Seccomp => &[Layer::Seccomp],
            Self::User => &[Layer::User],
            Self::Network => &[Layer::Network],
        }
    }
}

pub fn confinement(parts: &[SandboxPart]) -> Confinement {
    let left_out = |layer: &Layer| parts.iter().any(|part| part.layers().contains(layer));
    Confinement { leave_out: Layer::ALL.into_iter().filter(left_out).collect() }
}

/// What to tell the person about what is left out.
pub fn warning(confinement: &Confinement) -> Option<String> {
    let what = match confinement.leave_out.as_slice() {
        [] => return None,
        all if all.len() == Layer::ALL.len() => "its sandbox".to_owned(),
        some => format!("a part of its sandbox: {}", some.iter().map(Layer::to_string).collect::<Vec<_>>().join(", ")),
    };
    Some(format!(
        "WARNING: the monitor runs without {what} (--no-sandbox). A guest that breaks out of its virtual machine can do what this user can"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_unless_it_is_named() {
        assert_eq!(confinement(&[]), Confinement::default());
        assert_eq!(warning(&confinement(&[])), None);
        assert_eq!(confinement(&[SandboxPart::All, SandboxPart::User]), Confinement::none());
        let without = confinement(&[SandboxPart::Landlock, SandboxPart::Landlock]);
        assert_eq!(without.leave_out, [Layer::Landlock]);
        let warning = warning(&without).unwrap();
        assert!(warning.starts_with("WARNING: ") && warning.contains("Landlock") && !warning.contains("seccomp"));
    }
}
