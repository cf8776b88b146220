use super::*;

#[test]
fn lost_lines_are_found_and_absent_symbols_are_not_set() {
    let wanted = "# a comment\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"x\"\n# CONFIG_D is not set\n# CONFIG_E is not set\n";
    let result = "CONFIG_A=y\nCONFIG_C=\"y\"\nCONFIG_D=y\nCONFIG_DD=y\n";
    assert_eq!(lost_lines(wanted, result), ["CONFIG_B=y", "CONFIG_C=\"x\"", "# CONFIG_D is not set"]);
    assert!(lost_lines(CONFIG, CONFIG).is_empty());
}

#[test]
fn our_configuration_names_each_symbol_once_and_has_what_a_bottle_cannot_do_without() {
    let mut symbols: Vec<_> = CONFIG
        .lines()
        .filter_map(|line| line.strip_prefix("# ").unwrap_or(line).strip_prefix("CONFIG_"))
        .map(|line| line.split(['=', ' ']).next().unwrap_or_default())
        .collect();
    symbols.sort_unstable();
    let twice: Vec<_> = symbols.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for symbol in
        ["VIRTIO_MMIO", "VIRTIO_BLK", "VIRTIO_VSOCKETS", "EROFS_FS", "OVERLAY_FS", "EXT4_FS", "BLK_DEV_INITRD"]
    {
        assert!(CONFIG.contains(&format!("CONFIG_{symbol}=y\n")), "{symbol}");
    }
}
