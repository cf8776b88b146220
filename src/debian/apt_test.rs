use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

const MADISON: &str = "\
linux-image-cloud-amd64 | 6.12.95-1~bpo12+1 | http://mirror.example/debian bookworm-backports/main amd64 Packages
linux-image-cloud-amd64 |  6.1.192-2 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
linux-image-cloud-amd64 |  6.1.176-1 | http://mirror.example/debian bookworm/main amd64 Packages
";

#[test]
fn newest_is_the_first_of_the_suite() {
    let newest = |suite| newest_in(MADISON, suite).map(|v| v.to_string());
    assert_eq!(newest(Suite::Stable).as_deref(), Some("6.1.192-2"));
    assert_eq!(newest(Suite::Backports).as_deref(), Some("6.12.95-1~bpo12+1"));
    assert_eq!(newest(Suite::Any).as_deref(), Some("6.12.95-1~bpo12+1"));
    assert_eq!(newest_in("", Suite::Any), None);
    assert_eq!(newest_in("a | 1\n| | |\n", Suite::Any), None);
    assert_eq!(newest_in("a | 1 | http://m/debian bookworm/main Sources\n", Suite::Any), None);
}

#[test]
fn upstream_version_has_neither_epoch_nor_revision() {
    for (debian, upstream) in
        [("6.12.117-1~deb12u1", "6.12.117"), ("1:10.0.2+ds-2", "10.0.2+ds"), ("1.0-rc1-2", "1.0-rc1"), ("7", "7")]
    {
        assert_eq!(Version(debian.to_owned()).upstream(), upstream);
    }
}

#[test]
fn dependencies_are_names_alternatives_included() {
    let record =
        "Package: a\nPre-Depends: z\nDepends: x | y, linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2), py:any (>= 3)\n";
    assert_eq!(dependencies_in(record), ["x", "y", "linux-image-6.1.0-56-cloud-amd64", "py"]);
    assert!(dependencies_in("Package: a\n").is_empty());
}

#[test]
fn file_name_and_size_come_from_the_uri_line() {
    let line = "'http://m/debian/pool/q_10_amd64.deb' qemu_1%3a10_amd64.deb 42 SHA256:00\n";
    assert_eq!(download_in(line), Some(("qemu_1%3a10_amd64.deb".to_owned(), 42)));
    assert_eq!(download_in("'http://m/x' ../x 42 SHA256:00\n"), None, "a name that leaves the directory");
    assert_eq!(download_in("Reading lists\n"), None);
}

#[test]
fn errors_carry_the_end_of_what_apt_said_and_no_password() {
    let stderr: String = (0..20).map(|n| format!("line {n}\n\n")).collect();
    let output = Output {
        status: ExitStatus::from_raw(100 << 8),
        stdout: b"progress".to_vec(),
        stderr: (stderr + "E: Failed to fetch https://me:s3cret@mirror.example/debian/x@y 404\n").into_bytes(),
    };
    let lines = last_lines(&output);
    assert_eq!(lines.len(), LAST_LINES);
    assert_eq!(lines[0], "line 15");
    assert_eq!(lines[LAST_LINES - 1], "E: Failed to fetch https://mirror.example/debian/x@y 404");
}

fn fake_machine() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apt")).unwrap();
    fs::write(dir.path().join("apt/sources.list"), "deb http://m/debian bookworm main\n").unwrap();
    fs::write(dir.path().join("os-release"), "VERSION_ID=\"12\"\n").unwrap();
    dir
}

fn open(machine: &Path) -> Result<Apt, DebianError> {
    Apt::open_with(&machine.join("state"), &machine.join("apt"), &machine.join("os-release"))
}

#[test]
fn changed_sources_make_the_lists_stale() {
    if !on_path("apt-get") {
        return println!("SKIPPED: no apt-get on this machine");
    }
    let machine = fake_machine();
    open(machine.path()).unwrap();
    let mark = machine.path().join("state/updated");
    File::create(&mark).unwrap();
    open(machine.path()).unwrap();
    assert!(mark.exists(), "nothing changed");
    fs::write(machine.path().join("apt/sources.list"), "deb http://other/debian bookworm main\n").unwrap();
    open(machine.path()).unwrap();
    assert!(!mark.exists());
}

#[test]
fn only_a_release_gets_backports_and_no_sources_is_an_error() {
    if !on_path("apt-get") {
        return println!("SKIPPED: no apt-get on this machine");
    }
    let machine = fake_machine();
    let list = machine.path().join("state/debian.sources");
    open(machine.path()).unwrap();
    assert!(fs::read_to_string(&list).unwrap().contains("bookworm-backports"));
    fs::write(machine.path().join("os-release"), "VERSION_CODENAME=forky\n").unwrap();
    open(machine.path()).unwrap();
    assert!(!fs::read_to_string(&list).unwrap().contains("backports"));
    fs::write(machine.path().join("apt/sources.list"), "").unwrap();
    let error = open(machine.path()).unwrap_err();
    assert!(matches!(error, DebianError::NoSources { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--deb"));
}

#[test]
fn freshness_ends_and_a_mark_from_the_future_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    assert!(!is_fresh(&mark));
    let file = File::create(&mark).unwrap();
    assert!(is_fresh(&mark));
    file.set_modified(SystemTime::now() - LISTS_GOOD_FOR - Duration::from_secs(60)).unwrap();
    assert!(!is_fresh(&mark));
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    assert!(!is_fresh(&mark));
}

#[test]
fn what_is_not_installed_is_told_apart_and_root_is_told_the_command() {
    if !on_path("apt-get") || !on_path("dpkg-query") {
        return println!("SKIPPED: no apt-get or dpkg-query on this machine");
    }
    let machine = fake_machine();
    let apt = open(machine.path()).unwrap();
    assert_eq!(apt.missing(&["dpkg", "no-such-package"]).unwrap(), ["no-such-package"]);
    apt.install(&["dpkg"]).unwrap();
    let error = DebianError::NeedsRoot { packages: vec!["bison".to_owned(), "flex".to_owned()] };
    assert_eq!(error.hint().unwrap(), "as root: apt-get install --no-install-recommends bison flex");
}
