use super::*;

#[test]
fn modules_of_a_virtual_machines_host_are_wanted_and_other_hardware_is_not() {
    for path in [
        "lib/modules/6.1.0-1-amd64/modules.builtin",
        "lib/modules/6.1.0-1-amd64/kernel/arch/x86/kvm/kvm-amd.ko",
        "usr/lib/modules/6.1.0-1-amd64/kernel/drivers/net/tun.ko",
        "lib/modules/6.1.0-1-amd64/kernel/fs/9p/9p.ko",
        "lib/modules/6.1.0-1-amd64/kernel/drivers/block/virtio_blk.ko.xz",
    ] {
        assert!(is_wanted_module(Path::new(path)), "{path}");
    }
    for path in [
        "lib/modules/6.1.0-1-amd64/kernel/drivers/net/ethernet/intel/e1000.ko",
        "lib/modules/6.1.0-1-amd64/kernel/drivers/gpu/drm/drm.ko",
        "lib/modules/6.1.0-1-amd64/kernel/sound/soundcore.ko",
        "usr/share/doc/linux/copyright",
    ] {
        assert!(!is_wanted_module(Path::new(path)), "{path}");
    }
}

#[test]
fn versions_are_compared_by_their_first_number() {
    assert_eq!(major("10.0.2"), Some(10));
    assert_eq!(major("7.2"), Some(7));
    assert_eq!(major("unknown"), None);
}
