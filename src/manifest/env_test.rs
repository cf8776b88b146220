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
        let expected = if text.contains("${") { Err(Invalid::PartlyInterpolated) } else { literal(text) };
        assert_eq!(EnvEntry::new(text), expected, "{text:?}");
    }
}

#[test]
fn what_only_looks_interpolated_is_refused() {
    for text in ["${A}b", "a${B}", "${A}${B}", "${}", "${1A}", "${A", "${A B}", "${A-b}", " ${A}", "${A:-x}"] {
        assert_eq!(EnvEntry::new(text), Err(Invalid::PartlyInterpolated), "{text}");
    }
    assert_eq!(EnvEntry::new("?"), Err(Invalid::NoPrompt));
    assert_eq!(EnvEntry::new("?  "), Err(Invalid::NoPrompt));
    assert_eq!(EnvEntry::new("?a\u{1b}[2J"), Err(Invalid::ControlCharacter));
    assert_eq!(EnvEntry::new("a\0b"), Err(Invalid::ControlCharacter));
}

#[test]
fn no_value_is_in_the_debug_form_or_an_error() {
    let canary = "canary-8f2c";
    assert!(!format!("{:?}", EnvEntry::new(canary)).contains(canary));
    let error = EnvEntry::new(&format!("{canary}${{A}}")).unwrap_err();
    assert!(!format!("{error:?} {error} {}", error.hint()).contains(canary));
}

/// In a function, because a macro would take its brace for a format.
fn has_reference(text: &str) -> bool {
    text.contains("${")
}

proptest! {
    /// Kind and content are a function of the text that loses nothing.
    #[test]
    fn every_text_is_one_kind_or_an_error(text in "(\\?|\\$\\{|\\$)?[A-Za-z_${}? ]{0,8}\\}?") {
        match EnvEntry::new(&text) {
            Ok(EnvEntry::Literal { value }) => {
                prop_assert_eq!(&value, &text);
                prop_assert!(!text.starts_with('?') && !has_reference(&text));
            }
            Ok(EnvEntry::Interpolated { from }) => prop_assert_eq!(format!("${{{from}}}"), text),
            Ok(EnvEntry::Secret { prompt }) => prop_assert_eq!(prompt, text[1..].trim()),
            Err(_) => prop_assert!(has_reference(&text) || text.trim_end() == "?"),
        }
    }
}
