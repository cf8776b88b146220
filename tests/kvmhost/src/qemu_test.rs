use std::io::Write;

use super::*;

#[test]
fn a_comma_in_a_path_is_doubled() {
    assert_eq!(option_value(Path::new("/a,b,/c")), "/a,,b,,/c");
}

#[test]
fn every_share_has_a_device_whether_used_or_not() {
    let devices = |shares: &[PathBuf]| share_arguments(shares).iter().filter(|word| *word == "-virtfs").count();
    assert_eq!(devices(&[]), 1 + MAX_SHARES);
    assert_eq!(devices(&["/a".into(), "/b".into()]), 1 + MAX_SHARES);
}

#[test]
fn an_unused_share_is_read_only() {
    let arguments = share_arguments(&["/a".into()]);
    let writable: Vec<_> = arguments
        .iter()
        .filter_map(|word| word.to_str())
        .filter(|w| w.starts_with("local,") && !w.contains("readonly=on"))
        .collect();
    assert_eq!(writable.len(), 1);
    assert!(writable[0].ends_with("path=/a"));
}

#[test]
fn the_tail_is_the_last_lines_and_leaves_the_writers_position_alone() {
    let mut console = tempfile::tempfile().unwrap();
    for line in 0..1000 {
        writeln!(console, "line {line}").unwrap();
    }
    writeln!(console, "qemu: warning: TCG doesn't support requested feature: CPUID.80000001H").unwrap();
    let text = tail(&console);
    assert_eq!(text.lines().count(), TAIL_LINES);
    assert!(text.ends_with("line 999"));
    writeln!(console, "line 1000").unwrap();
    assert!(tail(&console).ends_with("line 999\nline 1000"));
}
