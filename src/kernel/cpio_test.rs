use super::*;

#[test]
fn golden_archive() {
    let mut archive = Archive::new(Vec::new());
    archive.directory("lib", 0o755).unwrap();
    archive.file("lib/a", 0o644, b"xyz").unwrap();
    let bytes = archive.finish().unwrap();
    let expected = concat!(
        "07070100000001000041ed00000000000000000000000100000000000000000000000000000000000000000000000000000004",
        "00000000lib\0\0\0",
        "07070100000002000081a400000000000000000000000100000000000000030000000000000000000000000000000000000006",
        "00000000lib/a\0xyz\0",
        "07070100000003000000000000000000000000000000010000000000000000000000000000000000000000000000000000000b",
        "00000000TRAILER!!!\0\0\0\0",
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn archives_may_follow_one_another() {
    for len in 0..9 {
        let mut archive = Archive::new(Vec::new());
        archive.file(&"n".repeat(len + 1), 0o600, &vec![b'd'; len]).unwrap();
        assert_eq!(archive.finish().unwrap().len() % 4, 0, "data of {len}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let mut room = [0; 100];
    let mut archive = Archive::new(&mut room[..]);
    assert_eq!(archive.file("a", 0o600, b"x").unwrap_err().kind(), io::ErrorKind::WriteZero);
}
