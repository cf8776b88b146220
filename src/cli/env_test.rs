use super::*;
use std::io::Write as _;

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

fn read_one(text: &[u8]) -> Result<Vec<Line>, EnvError> {
    read(&[file(text).path().to_owned()])
}

fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a [u8]> {
    variables.values.get(name.as_bytes()).map(|value| value.as_slice())
}

#[test]
fn the_later_wins_and_docker_defaults_are_there() {
    let mut variables = Variables::of_image(&["A=image".into(), "PATH=/bin".into()], "box", true).unwrap();
    assert!(read_one(b"A=file\n# comment\n\n  B = spaces stay \nC=a=b\r\n").is_err());
    variables.add_lines(read_one(b"A=file\n# comment\n\n  B= spaces stay \nC=a=b\r\n").unwrap()).unwrap();
    assert_eq!(value(&variables, "A"), Some(b"file".as_slice()));
    assert_eq!(value(&variables, "B"), Some(b" spaces stay ".as_slice()));
    assert_eq!(value(&variables, "C"), Some(b"a=b".as_slice()));
    assert_eq!(value(&variables, "PATH"), Some(b"/bin".as_slice()));
    assert_eq!(value(&variables, "HOSTNAME"), Some(b"box".as_slice()));
    assert_eq!(value(&variables, "TERM"), Some(b"xterm".as_slice()));
}

#[test]
fn a_value_on_the_command_line_is_refused_without_being_repeated() {
    let error = check(&["KEY=s3cret".into()], &[], 0).unwrap_err();
    let text = format!("{error} {}", error.hint().unwrap());
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("`-e KEY`") && text.contains("--env-file"), "{text}");
}

#[test]
fn a_bad_line_is_named_by_file_and_number_without_its_content() {
    let file = file(b"GOOD=1\n=s3cret\n");
    let error = read(&[file.path().to_owned()]).err().unwrap().to_string();
    assert!(error.contains(&format!("{}:2", file.path().display())), "{error}");
    assert!(!error.contains("s3cret"));
}

#[test]
fn all_that_can_be_wrong_with_a_file_is_found_when_it_is_read() {
    let said = |text: &[u8]| read_one(text).err().unwrap().to_string();
    assert!(
        said(b"A=1\nNO_SUCH_VARIABLE\n").ends_with(":2: there is no variable `NO_SUCH_VARIABLE` in this environment")
    );
    assert_eq!(said(b"KEY=a\0b\n"), "the value of `KEY` holds a NUL byte, which no environment can");
    let missing = read(&["/no/such/file".into()]).err().unwrap();
    assert_eq!(missing.to_string(), "cannot read the environment file /no/such/file");
}

#[test]
fn standard_input_is_read_once() {
    assert!(check(&[], &["-".into(), "-".into()], 0).is_err());
    assert!(check(&[], &["-".into()], 1).is_err());
    assert!(check(&[], &["-".into(), "file".into()], 0).is_ok());
}

#[test]
fn ten_thousand_variables_of_a_mebibyte_are_fine() {
    let mut variables = Variables::default();
    for number in 0..10_000 {
        variables.set(format!("N{number:05}").as_bytes(), vec![b'x'; 95].into());
    }
    let env = variables.into_secret().unwrap();
    assert_eq!(env.len(), 10_000);
    assert!(env.byte_len() > 1_000_000);
}

#[test]
fn a_nul_byte_is_an_error_that_names_the_variable() {
    let mut variables = Variables::default();
    variables.set(b"KEY", b"a\0b".to_vec().into());
    assert_eq!(
        variables.into_secret().err().unwrap().to_string(),
        "the value of `KEY` holds a NUL byte, which no environment can"
    );
}

#[test]
fn a_variable_named_twice_keeps_its_value() {
    // Cargo gives it to every test, and no other test reads it.
    let name = OsStr::new("CARGO_PKG_DESCRIPTION");
    let expected = std::env::var_os(name).unwrap().into_encoded_bytes();
    let lines = read_one(b"GIVEN=1\nCARGO_PKG_DESCRIPTION\n").unwrap();
    assert_eq!(lines.iter().filter_map(Line::passed).collect::<Vec<_>>(), [name]);
    let mut variables = Variables::default();
    variables.add_lines(lines).unwrap();
    variables.add_passed(name).unwrap();
    variables.add_passed(name).unwrap();
    assert_eq!(value(&variables, "CARGO_PKG_DESCRIPTION"), Some(expected.as_slice()));
}

#[test]
fn an_image_s_variables_are_its_own_fault() {
    let of_image = |literal: &str| Variables::of_image(&[literal.to_owned(), "B=".to_owned()], "box", false);
    for nameless in ["=x", "=", "", "NAME"] {
        let variables = of_image(nameless).unwrap();
        assert_eq!(variables.values.keys().collect::<Vec<_>>(), [b"B".as_slice(), b"HOSTNAME", b"PATH"], "{nameless}");
        variables.into_secret().unwrap();
    }
    for wrong in ["A=\0", "A\0=x"] {
        let error = of_image(wrong).err().unwrap();
        assert!(
            error.to_string().starts_with("the image's configuration sets `A") && error.hint().is_some(),
            "{error}"
        );
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_name() {
    let lines = read_one(b"\xef\xbb\xbfA=b\n").unwrap();
    assert_eq!(lines[0].name, b"A");
    let error = read_one(b"A=b\n\xef\xbb\xbf").err().unwrap();
    assert!(matches!(error, EnvError::UnsetInFile { line: 2, .. }), "only in front: {error}");
}
