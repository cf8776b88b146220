use super::*;
use proptest::prelude::*;

fn parts(text: &str) -> (String, String) {
    let parts = split(text.as_bytes()).unwrap();
    (parts.yaml.to_owned(), parts.body)
}

fn fault(bytes: &[u8]) -> (Mark, Fault) {
    let error = split(bytes).unwrap_err();
    (error.at, error.fault)
}

#[test]
fn the_two_halves() {
    assert_eq!(parts("---\na: 1\n---\n\n# Title\n\ntext\n"), ("a: 1\n".into(), "# Title\n\ntext".into()));
    assert_eq!(parts("---\n---"), (String::new(), String::new()));
    assert_eq!(parts("---  \na: 1\n---\t\n    code\n"), ("a: 1\n".into(), "    code".into()));
    assert_eq!(parts("---\na: |\n  ---\n---\nx\n---\ny"), ("a: |\n  ---\n".into(), "x\n---\ny".into()));
}

#[test]
fn what_editors_of_windows_write() {
    assert_eq!(parts("\u{feff}---\r\na: 1\r\n---\r\none\r\ntwo\r\n"), ("a: 1\r\n".into(), "one\ntwo".into()));
}

#[test]
fn what_is_no_front_matter() {
    for text in ["", "\n---\n---\n", "# Title\n", "----\n---\n", " ---\n---\n", "--- # settings\n---\n"] {
        assert_eq!(fault(text.as_bytes()), (Mark::START, Fault::NoFrontMatter), "{text:?}");
    }
    for text in ["---", "---\na: 1\n", "---\na: 1\n --- \n", "---\na: 1\n----\n"] {
        assert_eq!(fault(text.as_bytes()), (Mark::START, Fault::Unclosed), "{text:?}");
    }
}

#[test]
fn a_byte_that_is_not_utf8_has_its_place() {
    assert_eq!(fault(b"---\nenv:\n  \xc3\xa4\xff: 1\n---\n"), (Mark { line: 3, column: 4 }, Fault::NotUtf8));
    assert_eq!(fault(b"\xff\xfe-\0-\0-\0"), (Mark::START, Fault::NotUtf8));
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes: Vec<u8>) {
        let _ = split(&bytes);
    }

    #[test]
    fn what_was_put_together_comes_apart(yaml in "([a-z]: [a-z]\n){0,5}", body in "([A-Za-z#-]{1,2}\n){0,5}") {
        let text = format!("---\n{yaml}---\n{body}");
        let parts = split(text.as_bytes()).unwrap();
        prop_assert_eq!(parts.yaml, yaml);
        prop_assert_eq!(parts.body, body.trim_end());
    }
}
