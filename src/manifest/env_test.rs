use super::*;
use proptest::prelude::*;

fn literal(value: &str) -> Result<EnvEntry, Invalid> {
    Ok(EnvEntry::Literal { value: value.into() })
}

#[test]
fn the_three_kinds() {
    assert_eq!(EnvEntry::new("?Token for the forge"), Ok(EnvEntry::Secret { prompt: "Token for the forge".into() }));
    assert_eq!(EnvEntry::new("? padded "), Ok(EnvEntry::Secret { prompt: "padded".into() }));
    let from = Variable::new("HOME_2").unwrap();
    assert_eq!(EnvEntry::new("${HOME_2}"), Ok(EnvEntry::Interpolated { from }));
    for text in ["", "value", "$NAME", "$", "a?b", "{A}", "$$", "multi\nline", "pa$$word", " ${", "a}"] {
        assert_eq!(EnvEntry::new(text), literal(text), "{text:?}");
    }
}

#[test]
fn what_only_looks_interpolated_is_a_literal() {
    for text in ["${A}b", "a${B}", "${A}${B}", "${}", "${1A}", "${A", "${A B}", "${A-b}", " ${A}", "${A:-x}", "${A}\n"]
    {
        assert_eq!(EnvEntry::new(text), literal(text), "{text}");
    }
}

#[test]
fn a_prompt_may_be_empty_and_is_shown_as_it_is() {
    for text in ["?", "?  "] {
        assert_eq!(EnvEntry::new(text), Ok(EnvEntry::Secret { prompt: String::new() }));
    }
    assert_eq!(EnvEntry::new("?a\u{1b}[2J"), Err(Invalid::ControlCharacter));
    assert_eq!(EnvEntry::new("a\0b"), Err(Invalid::ControlCharacter));
}

#[test]
fn no_value_is_in_the_debug_form_or_an_error() {
    let canary = "canary-8f2c";
    assert!(!format!("{:?}", EnvEntry::new(canary)).contains(canary));
    let error = EnvEntry::new(&format!("{canary}\0")).unwrap_err();
    assert!(!format!("{error:?} {error} {:?}", error.hint()).contains(canary));
}

proptest! {
    /// Kind and content are a function of the text that loses nothing.
    #[test]
    fn every_text_is_one_kind(text in "(\\?|\\$\\{|\\$)?[A-Za-z_${}? ]{0,8}\\}?") {
        match EnvEntry::new(&text).unwrap() {
            EnvEntry::Literal { value } => {
                prop_assert_eq!(&value, &text);
                prop_assert!(!text.starts_with('?'));
                let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                prop_assert!(name.is_none_or(|name| Variable::new(name).is_err()));
            }
            EnvEntry::Interpolated { from } => prop_assert_eq!(format!("${{{from}}}"), text),
            EnvEntry::Secret { prompt } => prop_assert_eq!(prompt, text[1..].trim()),
        }
    }
}
