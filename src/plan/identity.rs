//! A bottle's identity: the slug that its machine, its state and its network are named by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::manifest::Name;

/// With `bot-bottle-` in front it is a host name, which has 63 characters at most (RFC 1123 §2.1).
pub const SLUG_MAX: usize = 63 - MACHINE_PREFIX.len();
const MACHINE_PREFIX: &str = "bot-bottle-";
/// Digits behind the agent's name: 36⁵, about 60 million.
const DIGITS: usize = 5;

/// Lower-case letters, digits and `-`, at most [`SLUG_MAX`] of them: one component of a path, and part of a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the identity of a bottle", found.chars().take(80).collect::<String>().escape_debug())]
pub struct NoSlug {
    pub found: String,
}

impl NoSlug {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        format!(
            "1 to {SLUG_MAX} lower-case letters, digits and `-`, beginning with a letter or digit, as in `coder-4f2k9`"
        )
    }
}

impl Slug {
    /// # Errors
    /// [`NoSlug`].
    pub fn new(text: &str) -> Result<Self, NoSlug> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=SLUG_MAX).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(NoSlug { found: text.to_owned() }) }
    }

    /// Of what a person has typed: a label is for people, and its identity part of a host's name, where upper case is none.
    ///
    /// # Errors
    /// [`NoSlug`].
    pub fn of_label(text: &str) -> Result<Self, NoSlug> {
        Self::new(&text.to_ascii_lowercase()).map_err(|_| NoSlug { found: text.to_owned() })
    }

    /// The agent's name, and digits that nobody can foresee.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn made_up(agent: &Name) -> Result<Self, getrandom::Error> {
        let name: String = agent.as_str().chars().take(SLUG_MAX - DIGITS - 1).collect();
        Ok(Self(format!("{}-{}", name.trim_end_matches('-'), random_digits()?)))
    }

    /// The `number`th bottle of this label, from 1: the label itself, then `LABEL-2` and so on.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        if number < 2 {
            return self.clone();
        }
        let suffix = format!("-{number}");
        let room = SLUG_MAX.saturating_sub(suffix.len());
        let label: String = self.0.chars().take(room).collect();
        Self(label + &suffix)
    }

    /// `bot-bottle-SLUG`: the machine's name, and its host name.
    #[must_use]
    pub fn machine_name(&self) -> String {
        format!("{MACHINE_PREFIX}{self}")
    }

    /// Whose machine has this name.
    #[must_use]
    pub fn of_machine(name: &str) -> Option<Self> {
        Self::new(name.strip_prefix(MACHINE_PREFIX)?).ok()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Base 36, each digit as likely as the others.
fn random_digits() -> Result<String, getrandom::Error> {
    const BASE: u8 = 36;
    const FAIR: u8 = u8::MAX / BASE * BASE; // from here on, the first digits would come more often
    let mut digits = String::new();
    while digits.len() < DIGITS {
        let mut bytes = [0; DIGITS];
        getrandom::fill(&mut bytes)?;
        let fair = bytes.into_iter().filter(|byte| *byte < FAIR);
        let drawn = fair.filter_map(|byte| char::from_digit((byte % BASE).into(), BASE.into()));
        digits.extend(drawn.take(DIGITS - digits.len()));
    }
    Ok(digits)
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Slug {
    type Error = NoSlug;

    fn try_from(text: String) -> Result<Self, NoSlug> {
        Self::new(&text)
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_made_up_slug_is_the_agents_name_and_five_digits() {
        let name = Name::new("coder").unwrap();
        let slugs: BTreeSet<_> = (0..500).map(|_| Slug::made_up(&name).unwrap()).collect();
        assert!(slugs.len() >= 499, "{} different ones of 500", slugs.len());
        let mut seen = BTreeSet::new();
        for slug in &slugs {
            let digits = slug.as_str().strip_prefix("coder-").unwrap();
            assert_eq!(digits.len(), 5);
            assert_eq!(Slug::new(slug.as_str()).as_ref(), Ok(slug));
            seen.extend(digits.chars());
        }
        let all: BTreeSet<_> = ('0'..='9').chain('a'..='z').collect();
        assert_eq!(seen, all, "all digits come up");
    }

    #[test]
    fn however_long_the_agents_name_the_machines_name_is_a_host_name() {
        let long = Name::new(&"a-".repeat(100)).unwrap();
        let slug = Slug::made_up(&long).unwrap();
        assert_eq!(Slug::new(slug.as_str()).as_ref(), Ok(&slug));
        let longest = Slug::new(&"a".repeat(SLUG_MAX)).unwrap();
        for slug in [&slug, &longest, &longest.numbered(12)] {
            assert!(slug.machine_name().len() <= 63);
            bottle_protocol::Hostname::new(&slug.machine_name()).unwrap();
        }
        assert_ne!(longest.numbered(12), longest);
    }

    #[test]
    fn what_is_no_slug_is_refused_also_in_json() {
        for text in ["", "-a", "A", "a b", "a/b", "..", "a.b", "ä", "a\n", &"a".repeat(SLUG_MAX + 1)] {
            assert!(Slug::new(text).is_err(), "{text:?}");
            assert!(serde_json::from_value::<Slug>(serde_json::json!(text)).is_err());
        }
        assert_eq!(Slug::new("fix").unwrap().numbered(1).as_str(), "fix");
        assert_eq!(Slug::new("fix").unwrap().numbered(2).as_str(), "fix-2");
    }
}
