//! Errors as people read them: what, why, and the way out.

use super::tty::Caught;
use crate::launch::{EXIT_OURS, LaunchError, harmless};
use crate::manifest::resolve::ResolveError;
use crate::plan::PlanError;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// An error of the command line tool: what to show, the way out, and the exit code.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn std::error::Error + Send + Sync>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>, hint: Option<String>) -> Self {
        Self { error: error.into(), hint, code: EXIT_OURS }
    }

    /// The person left by a signal: nothing is wrong, and the shell wants to know (128+N).
    pub fn interrupted(caught: Caught) -> Self {
        Self { error: Box::new(caught), hint: None, code: caught.0.saturating_add(128) }
    }
}

impl Failure {
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Another way out than the error's own: who knows more of what was asked for.
    pub fn with_hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }

    #[cfg(test)]
    pub fn code(&self) -> u8 {
        self.code
    }
}

/// Every error type of ours that has a way out to tell, or (`always`) that has one for whatever is wrong.
macro_rules! from_hinting {
    ($($error:ty),*; always $($always:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let hint = error.hint();
                Self::new(error, hint)
            }
        })*
        $(impl From<$always> for Failure {
            fn from(error: $always) -> Self {
                let hint = error.hint();
                Self::new(error, Some(hint))
            }
        })*
    };
}
from_hinting!(
    crate::kernel::KernelError,
    crate::image::ImageError,
    crate::debian::DebianError,
    crate::debian::deb::DebError,
    crate::debian::busybox::BusyboxError,
    crate::scratch::ScratchError,
    crate::paths::NoHome,
    crate::net::policy::EntryError,
    crate::net::broker::BundleError,
    crate::net::ledger::LogError,
    crate::net::inquiry::InquiryError;
    always
    crate::manifest::CatalogueError,
    crate::plan::identity::NoSlug,
    crate::plan::state::StateError,
    crate::plan::leftovers::LeftoverError
);

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        if let PlanError::Resolve(ResolveError::Ask { source, .. }) = &error
            && let Some(caught) = Caught::of(source)
        {
            return Self::interrupted(caught);
        }
        let hint = error.hint();
        Self::new(error, Some(hint))
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        let (hint, code) = (error.hint(), error.exit_code());
        Self { error: error.into(), hint, code }
    }
}

impl From<crate::builder::BuilderError> for Failure {
    fn from(error: crate::builder::BuilderError) -> Self {
        let (hint, code) = (error.hint(), error.exit_code());
        Self { error: error.into(), hint, code }
    }
}

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    ForPeople,
    /// A JSON object a line, as progress is.
    ForPrograms,
}

impl Voice {
    /// Something that is no error.
    pub fn note(self, what: &str) {
        match self {
            Self::ForPeople => note(what),
            // Who closes standard error does not want to know.
            Self::ForPrograms => {
                let _ = writeln!(io::stderr(), "{}", serde_json::json!({ "event": "note", "text": harmless(what) }));
            }
        }
    }

    /// Tells the error, and gives the exit code.
    pub fn error(self, failure: &Failure) -> ExitCode {
        let _ = match self {
            Self::ForPeople => write!(io::stderr(), "{}", render(failure)),
            Self::ForPrograms => writeln!(io::stderr(), "{}", event(failure)),
        };
        ExitCode::from(failure.code)
    }
}

/// Tells the person at the terminal something that is no error.
pub fn note(what: &str) {
    // The terminal may be gone, which is no reason to panic.
    let _ = writeln!(io::stderr(), "bottle-vmm: {}", harmless(what));
}

/// Prints it on standard error and gives the exit code.
pub fn error(failure: &Failure) -> ExitCode {
    Voice::ForPeople.error(failure)
}

/// Much of it may be somebody else's words: a file's, a guest's, a library's about them.
pub fn render(failure: &Failure) -> String {
    harmless(&written(failure))
}

/// The same for a program.
fn event(failure: &Failure) -> serde_json::Value {
    let causes: Vec<_> = causes(failure).iter().map(|cause| harmless(cause)).collect();
    serde_json::json!({
        "event": "error",
        "message": harmless(&failure.error.to_string()),
        "causes": causes,
        "hint": failure.hint.as_deref().map(harmless),
        "exit_code": failure.code,
    })
}

fn causes(failure: &Failure) -> Vec<String> {
    let mut causes = Vec::new();
    let mut shown = failure.error.to_string();
    let mut next = failure.error.source();
    while let Some(cause) = next {
        let line = cause.to_string();
        // Some libraries repeat their cause in their own words.
        if !shown.contains(&line) {
            causes.push(line.clone());
        }
        shown = line;
        next = cause.source();
    }
    causes
}

fn written(failure: &Failure) -> String {
    let mut text = format!("bottle-vmm: {}\n", failure.error);
    for cause in causes(failure) {
        let _ = writeln!(text, "  caused by: {cause}");
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_and_the_way_out_follow_the_error() {
        let error = LaunchError::Host { what: "make a socket pair", source: io::Error::other("no descriptors") };
        let text = render(&Failure { hint: Some("raise `ulimit -n`".into()), ..error.into() });
        assert_eq!(
            text,
            "bottle-vmm: cannot make a socket pair\n  caused by: no descriptors\nhint: raise `ulimit -n`\n"
        );
    }

    #[test]
    fn a_program_is_told_the_same_as_a_person() {
        let error = LaunchError::Host { what: "make a socket pair", source: io::Error::other("no\x1b[2J") };
        let told = event(&error.into());
        assert_eq!((&told["event"], &told["message"]), (&"error".into(), &"cannot make a socket pair".into()));
        assert_eq!((&told["hint"], &told["exit_code"]), (&serde_json::Value::Null, &125.into()));
        assert!(!told["causes"][0].as_str().unwrap().contains('\x1b'));
    }
}
