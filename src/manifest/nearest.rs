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

/// The name that `found` is a slip of: one that differs in case or separators only, or by few letters.
#[must_use]
pub fn nearest<'a, T: AsRef<str>>(found: &str, names: &'a [T]) -> Option<&'a str> {
    /// Distances beyond this are other words; comparing costs the product of the lengths.
    const LONGEST: usize = 64;
    if found.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let distance = |name: &&str| strsim::damerau_levenshtein(&plain(found), &plain(name));
    let limit = 1 + found.chars().count() / 4;
    names.iter().map(AsRef::as_ref).filter(|name| distance(name) <= limit).min_by_key(distance)
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
        assert_eq!(nearest("", &names), None);
        assert_eq!(nearest(&"e".repeat(1000), &names), None);
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(listed::<&str>(&[]), "none");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
