use super::*;
use proptest::prelude::*;

fn found(text: &str) -> Found {
    let node = read(&format!("k: {text}")).unwrap();
    let Value::Map(entries) = node.value else { panic!("{text}") };
    entries[0].1.found()
}

#[test]
fn scalars_by_the_core_schema() {
    for (text, expected) in [
        ("", Found::Nothing),
        ("~", Found::Nothing),
        ("null", Found::Nothing),
        ("nULL", Found::Text),
        ("true", Found::Bool),
        ("False", Found::Bool),
        ("\"true\"", Found::Text),
        ("yes", Found::OldBool),
        ("Off", Found::OldBool),
        ("y", Found::OldBool),
        ("12", Found::Number),
        ("-1.5e3", Found::Number),
        ("+.5", Found::Number),
        ("0x1F", Found::Number),
        ("0o17", Found::Number),
        (".inf", Found::Number),
        ("-.INF", Found::Number),
        (".nan", Found::Number),
        ("inf", Found::Text),
        ("NaN", Found::Text),
        ("infinity", Found::Text),
        ("0x", Found::Text),
        ("0xg", Found::Text),
        ("1.2.3", Found::Text),
        ("10.0.0.0/8", Found::Text),
        ("12:30", Found::Text),
        ("1_000", Found::Text),
        ("'12'", Found::Text),
        ("?prompt", Found::Text),
        ("${NAME}", Found::Text),
        ("[a]", Found::List),
        ("{a: b}", Found::Map),
    ] {
        assert_eq!(found(text), expected, "{text:?}");
    }
}

#[test]
fn places_are_those_of_the_file() {
    let node = read("a: x\nb:\n  - ü: {c: d}\n").unwrap();
    let Value::Map(entries) = &node.value else { panic!("a map") };
    assert_eq!((entries[0].0.at, entries[0].1.at), (Mark { line: 2, column: 1 }, Mark { line: 2, column: 4 }));
    let Value::List(items) = &entries[1].1.value else { panic!("a list") };
    let Value::Map(inner) = &items[0].value else { panic!("a map") };
    assert_eq!((inner[0].0.at, inner[0].1.at), (Mark { line: 4, column: 5 }, Mark { line: 4, column: 8 }));
    let crlf = read("a: x\r\nb: [\r\n").unwrap_err();
    assert!(crlf.at.line >= 3, "{crlf:?}");
}

#[test]
fn nothing_is_an_empty_map() {
    for text in ["", "\n\n", "# a comment\n", "~", "null"] {
        assert_eq!(read(text).unwrap().value, Value::Map(vec![]), "{text:?}");
    }
}

#[test]
fn bounds() {
    let deep = |depth| format!("k: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&deep(MAX_DEPTH - 1)).is_ok());
    assert_eq!(read(&deep(MAX_DEPTH)).unwrap_err().fault, Fault::TooDeep);
    assert!(read(&deep(500_000)).is_err());
    let wide = |count| format!("k: [{}]", "x,".repeat(count));
    assert!(read(&wide(MAX_NODES - 3)).is_ok());
    assert_eq!(read(&wide(MAX_NODES)).unwrap_err().fault, Fault::TooManyNodes);
    let block: String = (0..500).map(|depth| format!("{}- \n", " ".repeat(depth))).collect();
    assert!(read(&block).is_err());
}

#[test]
fn a_bomb_of_aliases_is_refused_at_its_first_anchor() {
    let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n";
    assert_eq!(read(bomb), Err(Located { at: Mark { line: 2, column: 7 }, fault: Fault::Alias }));
}

proptest! {
    #[test]
    fn any_text_is_an_answer(text in "([-?:,\\[\\]{}#&*!|>'\"%@`~<. \n\ta-c0-9\\\\]|\\PC){0,60}") {
        let _ = read(&text);
    }

    /// JSON is YAML: what goes in by a serializer comes out as it was.
    #[test]
    fn what_is_written_is_read(map in proptest::collection::btree_map("\\PC{1,6}", "\\PC{0,8}", 0..6)) {
        let node = read(&serde_json::to_string(&map).unwrap()).unwrap();
        let Value::Map(entries) = node.value else { return Err(TestCaseError::fail("no map")) };
        let back: BTreeMap<String, String> = entries
            .into_iter()
            .map(|(key, node)| match node.value {
                Value::Scalar { text, plain: false } => (key.text, text),
                other => (key.text, format!("{other:?}")),
            })
            .collect();
        prop_assert_eq!(back, map);
    }
}
