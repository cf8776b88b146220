//! The machine that an image is for. Law: pure.
//!
//! Source: OCI image-spec, image-index.md, "platform", and config.md; other spellings as containerd's `platforms.Normalize` has them.

use std::fmt;

use serde::Deserialize;

use super::go_json::{caseless, nullable};

/// The machine that bottles have.
pub(crate) const ARCHITECTURE: &str = "amd64";
pub(crate) const OS: &str = "linux";

/// As an index or a configuration says it; what it leaves out is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Platform {
    #[serde(deserialize_with = "nullable")]
    pub(crate) os: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) architecture: String,
    /// `v3` of `amd64` needs newer processors; in order, what needs less comes first.
    #[serde(deserialize_with = "nullable")]
    pub(crate) variant: String,
}

caseless!(Platform);

impl Platform {
    pub(crate) fn ours() -> Self {
        Self { os: OS.to_owned(), architecture: ARCHITECTURE.to_owned(), variant: String::new() }
    }

    /// What is not said may be ours: docker and podman take it for theirs, too.
    pub(crate) fn is_ours(&self) -> bool {
        let is_one_of = |said: &str, ours: &[&str]| ours.iter().any(|name| said.eq_ignore_ascii_case(name));
        is_one_of(&self.os, &["", OS]) && is_one_of(&self.architecture, &["", ARCHITECTURE, "x86_64", "x86-64"])
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [&self.os, &self.architecture, &self.variant].map(String::as_str);
        f.write_str(&said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::Platform;

    fn of(text: &str) -> Platform {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn ours_is_known_by_any_of_its_names() {
        for ours in [
            r#"{"os":"linux","architecture":"amd64"}"#,
            r#"{"os":"Linux","architecture":"x86_64","variant":null}"#,
            r#"{"os":"linux","architecture":"x86-64"}"#,
            r#"{"architecture":"amd64","os.version":"10"}"#,
            r#"{"os":null,"architecture":null}"#,
            "{}",
        ] {
            assert!(of(ours).is_ours(), "{ours}");
        }
        for (other, shown) in [
            (r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#, "linux/arm64/v8"),
            (r#"{"os":"windows","architecture":"amd64"}"#, "windows/amd64"),
            (r#"{"architecture":"386"}"#, "386"),
            (r#"{"os":"unknown","architecture":"unknown"}"#, "unknown/unknown"),
        ] {
            assert_eq!((of(other).is_ours(), of(other).to_string().as_str()), (false, shown));
        }
    }
}
