use super::*;
use proptest::prelude::*;

const BOOKWORM: &str = "\
Types: deb
# a snapshot
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";

#[test]
fn backports_are_added_once_and_beside_the_plain_suite_only() {
    let text = render(&deb822_style(BOOKWORM), true).unwrap();
    assert_eq!(text.matches("Suites: bookworm-backports\n").count(), 1);
    assert_eq!(text.matches("-backports").count(), 1, "neither updates nor security have backports: {text}");
    assert_eq!(text.matches("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n").count(), 3);
    assert!(!render(&deb822_style(BOOKWORM), false).unwrap().contains("backports"));
}

#[test]
fn what_is_rendered_reads_back_the_same() {
    let sources = deb822_style(BOOKWORM);
    assert_eq!(deb822_style(&render(&sources, false).unwrap()), sources);
}

#[test]
fn one_line_options_become_fields() {
    let sources = one_line_style(
        "deb [arch=amd64,i386 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m/debian bookworm main contrib # ours\n\
         deb-src http://m/debian bookworm main\n# deb http://m/debian sid main\n\ndeb\ndeb [ http://m\n",
    );
    assert_eq!(sources.len(), 1);
    let text = render(&sources, true).unwrap();
    assert!(text.contains("Architectures: amd64 i386\n"), "{text}");
    assert!(text.contains("Suites: bookworm\nComponents: main contrib\n"), "{text}");
    assert!(text.contains("Suites: bookworm-backports\nComponents: main\n"), "{text}");
}

#[test]
fn backports_that_are_there_already_are_not_configured_twice() {
    let sources = one_line_style("deb http://m/debian bookworm main\ndeb http://m/debian bookworm-backports main\n");
    assert_eq!(render(&sources, true).unwrap().matches("bookworm-backports").count(), 1);
}

#[test]
fn rolling_suites_have_no_backports() {
    let text = render(&one_line_style("deb http://m/debian sid main\n"), true).unwrap();
    assert!(!text.contains("backports"), "{text}");
}

#[test]
fn third_parties_are_left_out() {
    for line in [
        "deb https://download.example/linux/debian bookworm stable",
        "deb [signed-by=/usr/share/keyrings/other.gpg] https://pkgs.example/stable/debian bookworm main",
        "deb https://apt.example stable main",
    ] {
        assert_eq!(render(&one_line_style(line), true), None, "{line}");
    }
}

#[test]
fn disabled_and_source_only_stanzas_are_left_out() {
    assert!(deb822_style(&BOOKWORM.replace("Types: deb\n", "Types: deb\nEnabled: no\n")).is_empty());
    assert!(deb822_style(&BOOKWORM.replace("Types: deb\n", "Types: deb-src\n")).is_empty());
}

#[test]
fn an_embedded_key_is_carried_through() {
    let key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n";
    let text = BOOKWORM.replace("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", key);
    let rendered = render(&deb822_style(&text), false).unwrap();
    assert!(rendered.contains(" .\n abc\n -----END"), "{rendered}");
}

#[test]
fn both_places_are_read_and_none_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(dir.path()).unwrap().is_empty());
    fs::write(dir.path().join("sources.list"), "deb http://m/debian bookworm main\n").unwrap();
    fs::create_dir(dir.path().join("sources.list.d")).unwrap();
    fs::write(dir.path().join("sources.list.d/debian.sources"), BOOKWORM).unwrap();
    fs::write(dir.path().join("sources.list.d/old.sources.save"), BOOKWORM).unwrap();
    assert_eq!(read(dir.path()).unwrap().len(), 3);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", lines in "(deb|Types:|URIs:| |\\[|=|\\]|\n|a|debian|main){0,40}") {
        for text in [&text, &lines] {
            let _ = render(&one_line_style(text), true);
            let _ = render(&deb822_style(text), true);
        }
    }
}
