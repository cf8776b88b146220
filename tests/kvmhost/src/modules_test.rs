use super::*;

fn tree(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, depends) in modules {
        let path = dir.path().join("kernel").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0")).unwrap();
    }
    fs::write(dir.path().join("modules.builtin"), builtin).unwrap();
    dir
}

fn order(dir: &tempfile::TempDir, wanted: &[&str]) -> Vec<String> {
    in_load_order(dir.path(), wanted).unwrap().into_iter().map(|module| module.name).collect()
}

#[test]
fn dependencies_come_first_and_once() {
    let dir = tree(
        &[("a/kvm-amd.ko", "kvm,ccp"), ("b/kvm.ko", "irq-bypass"), ("irq-bypass.ko", ""), ("ccp.ko", ""), ("c.ko", "kvm")],
        "",
    );
    assert_eq!(order(&dir, &["kvm_amd", "c"]), ["irq_bypass", "kvm", "ccp", "kvm_amd", "c"]);
}

#[test]
fn what_is_built_in_is_left_out_and_what_is_missing_is_an_error() {
    let dir = tree(&[("a.ko", "")], "kernel/fs/ext4/ext4.ko\n");
    assert_eq!(order(&dir, &["ext4", "a"]), ["a"]);
    let error = in_load_order(dir.path(), &["kvm"]).unwrap_err();
    assert!(matches!(error, ModulesError::Missing { name, .. } if name == "kvm"));
}

#[test]
fn a_cycle_ends() {
    let dir = tree(&[("a.ko", "b"), ("b.ko", "a")], "");
    assert_eq!(order(&dir, &["a"]), ["b", "a"]);
}

#[test]
fn a_compressed_module_is_an_error_and_not_given_to_the_kernel() {
    let dir = tree(&[("a.ko.xz", "")], "");
    assert!(matches!(in_load_order(dir.path(), &["a"]), Err(ModulesError::Compressed(_))));
}
