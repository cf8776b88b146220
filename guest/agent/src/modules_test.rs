use super::*;

#[test]
fn modules_come_in_the_order_of_their_names_and_nothing_else_comes() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["010-b.ko", "002-a.ko", "README", "001-z.ko", "003-c.ko.xz"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let names: Vec<_> = in_order(directory.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["001-z.ko", "002-a.ko", "010-b.ko"]);
}

#[test]
fn no_directory_means_no_modules() {
    assert_eq!(in_order(Path::new("/no/such/directory")), Vec::<PathBuf>::new());
}
