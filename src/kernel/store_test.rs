use super::*;
use proptest::prelude::*;

fn install(store: &Store, kind: Kind, version: &str, vmlinux: &[u8]) -> Installed {
    let stage = store.stage().unwrap();
    fs::write(stage.vmlinux(), vmlinux).unwrap();
    stage.commit(kind, version, "a test", options::assumed()).unwrap()
}

fn names(store: &Store) -> Vec<String> {
    store.list().unwrap().into_iter().map(|kernel| kernel.name).collect()
}

#[test]
fn an_empty_or_missing_store_has_nothing_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("not/there"));
    assert!(store.list().unwrap().is_empty());
    let error = store.select(None).unwrap_err();
    assert!(matches!(error, KernelError::NoneInstalled { .. }));
    assert!(error.hint().unwrap().contains("kernel install"));
    assert!(!dir.path().join("not").exists(), "asking creates nothing");
}

#[test]
fn firmware_is_preferred_then_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    for (kind, version) in
        [(Kind::Stock, "6.12.1"), (Kind::Firmware, "6.9.30"), (Kind::Stock, "6.1.0-56"), (Kind::Firmware, "6.12.9")]
    {
        install(&store, kind, version, b"k");
    }
    assert_eq!(names(&store), ["firmware-6.12.9", "firmware-6.9.30", "stock-6.12.1", "stock-6.1.0-56"]);
    assert_eq!(store.select(None).unwrap().name, "firmware-6.12.9");
    assert_eq!(store.select(Some("stock")).unwrap().name, "stock-6.12.1");
    assert_eq!(store.select(Some("stock-6.1.0-56")).unwrap().name, "stock-6.1.0-56");
    let error = store.select(Some("stock-7")).unwrap_err();
    assert!(error.hint().unwrap().contains("firmware-6.12.9"), "the way out names what there is");
}

#[test]
fn what_is_recorded_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let stage = store.stage().unwrap();
    fs::write(stage.vmlinux(), b"abc").unwrap();
    fs::write(stage.modules(), b"cpio").unwrap();
    fs::write(stage.scratch().unwrap().join("junk"), b"x").unwrap();
    let options = vec!["CONFIG_EROFS_FS_ZIP".to_owned(), "CONFIG_EROFS_FS_ZIP_ZSTD".to_owned()];
    let installed = stage.commit(Kind::Stock, "6.1", "p.deb", options.clone()).unwrap();
    assert_eq!((installed.options.clone(), installed.release()), (options, Some((6, 1))));
    assert_eq!(installed.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(fs::read(installed.modules.as_ref().unwrap()).unwrap(), b"cpio");
    assert!(!dir.path().join("stock-6.1/scratch").exists());
    assert_eq!(store.list().unwrap(), [installed]);
}

#[test]
fn a_record_from_before_options_were_kept_has_what_all_kernels_had() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let installed = install(&store, Kind::Firmware, "6.12.9", b"k");
    let path = dir.path().join("firmware-6.12.9/kernel.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record.as_object_mut().unwrap().remove("options").unwrap();
    fs::write(&path, record.to_string()).unwrap();
    assert_eq!(store.list().unwrap(), [installed]);
}

#[test]
fn replacing_leaves_the_new_one_and_no_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    install(&store, Kind::Stock, "6.1", b"old");
    let new = install(&store, Kind::Stock, "6.1", b"new");
    assert_eq!(fs::read(new.vmlinux).unwrap(), b"new");
    assert_eq!(names(&store), ["stock-6.1"]);
    assert!(!dir.path().join(STAGING).exists());
}

#[test]
fn an_abandoned_or_killed_install_is_not_taken_and_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let stage = store.stage().unwrap();
    fs::write(stage.vmlinux(), b"half").unwrap();
    assert!(names(&store).is_empty(), "not while it is being made");
    drop(stage);
    assert!(!dir.path().join(STAGING).exists());
    // As after SIGKILL: the directory is there, its lock is not held.
    fs::create_dir(dir.path().join(STAGING)).unwrap();
    fs::write(dir.path().join(STAGING).join("modules.cpio"), b"half").unwrap();
    assert!(names(&store).is_empty());
    let installed = install(&store, Kind::Stock, "6.1", b"whole");
    assert_eq!(installed.modules, None, "nothing of the killed one gets in");
}

#[test]
fn directories_that_are_no_kernel_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let kernel = install(&store, Kind::Stock, "6.1", b"k");
    for (name, record) in [("empty", None), ("garbage", Some("{")), ("other", Some("{\"name\": 3}"))] {
        let dir = dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(VMLINUX), b"k").unwrap();
        if let Some(record) = record {
            fs::write(dir.join(RECORD), record).unwrap();
        }
    }
    assert_eq!(names(&store), ["stock-6.1"]);
    fs::remove_file(kernel.vmlinux).unwrap();
    assert!(names(&store).is_empty());
}

#[test]
fn versions_order_by_value() {
    for (smaller, larger) in [
        ("6.9", "6.12"),
        ("6.1", "6.1.1"),
        ("6.1.0-9-cloud", "6.1.0-56-cloud"),
        ("6.12.95+deb12", "6.12.117"),
        ("6.1", "06.2"),
        ("1.99999999999999999999999999999999999999999", "1.100000000000000000000000000000000000000000"),
    ] {
        assert!(Natural(smaller) < Natural(larger), "{smaller} < {larger}");
    }
}

proptest! {
    #[test]
    fn the_order_is_total(a in "[0-9.a-]{0,6}", b in "[0-9.a-]{0,6}", c in "[0-9.a-]{0,6}") {
        let (a, b, c) = (Natural(&a), Natural(&b), Natural(&c));
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b).is_eq(), a == b);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
    }
}

#[test]
fn what_is_removed_is_gone_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    install(&store, Kind::Stock, "6.1", b"k");
    install(&store, Kind::Firmware, "6.12", b"k");
    store.remove("firmware-6.12").unwrap();
    assert_eq!(names(&store), ["stock-6.1"]);
    let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".lock", "stock-6.1"]);
    for name in ["firmware-6.12", "stock", "", ".lock", "../x"] {
        assert!(matches!(store.remove(name).unwrap_err(), KernelError::NotInstalled { .. }), "{name}");
    }
}

#[test]
fn a_file_that_is_taken_for_a_name_is_pointed_at() {
    let error = Store::at("/nowhere").select(Some("Cargo.toml")).unwrap_err();
    assert_eq!(error.hint().unwrap(), "for the file of that name: `./Cargo.toml`");
}
