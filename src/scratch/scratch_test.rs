use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::layout::{BLOCKS_PER_GROUP, Layout};
use super::{MAX_BYTES, MIN_BYTES, ScratchError, create};

fn on(file: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// `None`, said loudly, where e2fsprogs is not installed.
fn e2fsck(file: &File) -> Option<String> {
    let found = ["/sbin/e2fsck", "/usr/sbin/e2fsck"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = found else {
        eprintln!("SKIPPED: no e2fsck (Debian: e2fsprogs)");
        return None;
    };
    let run = Command::new(program).args(["-fn", &on(file)]).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    Some(if run.status.success() { String::new() } else { text })
}

#[test]
fn e2fsck_finds_nothing_to_say_at_any_size() {
    let directory = tempfile::tempdir().unwrap();
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let edges = [128 * MIB, 256 * MIB]
        .into_iter()
        .flat_map(|edge| [edge - 4096, edge, edge + 4096, edge + 4 * MIB, edge + 5 * MIB]);
    for bytes in
        [MIN_BYTES, MIN_BYTES + 1, 20 * MIB + 12345, GIB, 10 * GIB, 100 * GIB, 1024 * GIB].into_iter().chain(edges)
    {
        let disk = create(directory.path(), bytes).unwrap();
        assert_eq!(disk.metadata().unwrap().len(), bytes - bytes % 4096);
        if let Some(complaints) = e2fsck(&disk) {
            assert_eq!(complaints, "", "{bytes} bytes");
        }
    }
}

#[test]
fn takes_little_room_and_has_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let disk = create(directory.path(), 100 << 30).unwrap();
    let metadata = disk.metadata().unwrap();
    assert_eq!(metadata.nlink(), 0);
    // 800 descriptors of 32 bytes and seven blocks.
    assert!(metadata.blocks() * 512 < 128 << 10, "{} bytes", metadata.blocks() * 512);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn sizes_out_of_range_are_refused_with_the_range() {
    let directory = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let small = create(directory.path(), MIN_BYTES - 1).unwrap_err();
    let said = |bytes| ScratchError::TooSmall { bytes }.to_string();
    assert_eq!(said(1 << 20), "a scratch disk of 1 MiB is too small");
    assert_eq!(said(0), "a scratch disk of 0 bytes is too small");
    assert_eq!(said(1025), "a scratch disk of 1025 bytes is too small");
    assert!(matches!(small, ScratchError::TooSmall { .. }) && small.hint().unwrap().contains("8 MiB"));
    let large = create(directory.path(), MAX_BYTES + 1).unwrap_err();
    assert!(matches!(large, ScratchError::TooLarge { .. }) && large.hint().unwrap().contains("8 TiB"));
    assert!(matches!(create(file.path(), MIN_BYTES), Err(ScratchError::Create { .. })));
}

proptest! {
    /// Every group has room for what it must hold, and everything adds up to the whole.
    #[test]
    fn layouts_add_up(bytes in MIN_BYTES..=MAX_BYTES) {
        let layout = Layout::new(bytes / 4096);
        prop_assert!(u64::from(layout.blocks) * 4096 <= bytes);
        prop_assert!(bytes - u64::from(layout.blocks) * 4096 < u64::from(BLOCKS_PER_GROUP) * 4096);
        let used: u64 = (0..layout.groups).map(|group| u64::from(layout.used_blocks(group))).sum();
        for group in 0..layout.groups {
            prop_assert!(layout.used_blocks(group) < layout.blocks_in(group));
        }
        prop_assert_eq!(used + u64::from(layout.free_blocks()), u64::from(layout.blocks));
        prop_assert_eq!(used, u64::from(layout.overhead()) + 2);
        prop_assert_eq!(layout.lost_and_found_block() + 1, u64::from(layout.used_blocks(0)));
    }
}
