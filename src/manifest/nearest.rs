//! Names in sentences: lists of them, and the one that was probably meant.

/// `` `a`, `b` and `c` ``.
#[must_use]
pub fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let ticked: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match ticked.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// `` there are `a` and `b` ``.
#[must_use]
pub fn there_are<T: AsRef<str>>(names: &[T]) -> String {
    format!("{} {}", if names.len() == 1 { "there is only" } else { "there are" }, listed(names))
}

/// The name that `found` is a slip of: one that goes on where it ends, or differs by few letters.
#[must_use]
pub fn nearest<'a, T: AsRef<str>>(found: &str, names: &'a [T]) -> Option<&'a str> {
    /// Distances beyond this are other words; comparing costs the product of the lengths.
    const LONGEST: usize = 64;
    if found.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let (found, length) = (plain(found), found.chars().count());
    let distance = |name: &&str| strsim::damerau_levenshtein(&found, &plain(name));
    let limit = (1 + length / 4).min(length.saturating_sub(1));
    let mut names = names.iter().map(AsRef::as_ref);
    let longer = names.clone().find(|name| length >= 3 && plain(name).starts_with(&found));
    longer.or_else(|| names.by_ref().filter(|name| distance(name) <= limit).min_by_key(distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_none() {
        let names = ["extends", "env", "git-gate", "supervise"];
        assert_eq!(nearest("evn", &names), Some("env"));
        assert_eq!(nearest("Git_Gate", &names), Some("git-gate"));
        assert_eq!(nearest("extend", &names), Some("extends"));
        assert_eq!(nearest("supervised", &names), Some("supervise"));
        assert_eq!(nearest("network", &names), None);
        assert_eq!(nearest("super", &names), Some("supervise"));
        assert_eq!((nearest("", &names), nearest("3", &["0", "1"])), (None, None));
        assert_eq!(nearest(&"e".repeat(1000), &names), None);
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(listed::<&str>(&[]), "none");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(
            (there_are(&["a"]), there_are(&["a", "b"])),
            ("there is only `a`".into(), "there are `a` and `b`".into())
        );
    }
}
