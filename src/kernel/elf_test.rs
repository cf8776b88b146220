use super::super::testing::{AARCH64, X86_64, module, program, vmlinux};
use super::*;
use proptest::prelude::*;

#[test]
fn a_kernel_ends_where_its_last_segment_does() {
    assert_eq!(kernel(&vmlinux(X86_64, &[0; 100])), Some(Verdict::Kernel { end: HEAD as u64 + 100 }));
}

#[test]
fn other_files_are_told_apart() {
    assert_eq!(kernel(&vmlinux(AARCH64, b"x")), Some(Verdict::Machine("aarch64".to_owned())));
    assert_eq!(kernel(&vmlinux(9999, b"x")), Some(Verdict::Machine("ELF machine 9999".to_owned())));
    assert_eq!(kernel(&program(X86_64, SEGMENT_LOAD, 0x40_0000, b"a static program")), Some(Verdict::Other));
    assert_eq!(kernel(&program(X86_64, SEGMENT_INTERPRETER, 0, b"a dynamic one")), Some(Verdict::Other));
    let mut shared = vmlinux(X86_64, b"x");
    shared[16] = 3;
    assert_eq!(kernel(&shared), Some(Verdict::Other));
    let mut narrow = vmlinux(3, b"x");
    narrow[4] = 1;
    assert_eq!(kernel(&narrow), Some(Verdict::Machine("i386".to_owned())));
}

#[test]
fn headers_that_are_not_there_are_not_judged() {
    let whole = vmlinux(X86_64, b"x");
    for end in 0..64 + 56 {
        assert_eq!(kernel(&whole[..end]), None, "{end} bytes");
    }
    let mut overflow = whole.clone();
    overflow[64 + 8..64 + 16].fill(0xff);
    assert_eq!(kernel(&overflow), None, "a segment that ends past the last address");
}

#[test]
fn a_section_is_found_by_its_name() {
    assert_eq!(section(&module(&["a=b"]), ".modinfo"), Some(&b"a=b\0"[..]));
    assert_eq!(section(&module(&["a=b"]), ".text"), None);
    assert_eq!(section(b"", ".modinfo"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0usize..256, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = kernel(&bytes);
        let _ = section(&bytes, ".modinfo");
        for mut whole in [vmlinux(X86_64, b"x"), module(&["depends=a", "alias=b"])] {
            let at = at.min(whole.len());
            let end = (at + bytes.len()).min(whole.len());
            whole[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = kernel(&whole);
            let _ = section(&whole, ".modinfo");
        }
    }
}
