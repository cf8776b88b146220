use super::*;

/// `struct nlmsghdr`, `struct rtmsg`, two `struct rtattr`: rtnetlink(7).
#[test]
fn a_route_is_written_as_the_kernel_reads_it() {
    let fixed = [2, 32, 0, 0, 254, 3, 253, 1, 0, 0, 0, 0];
    let bytes = message(24, 0x605, &fixed, &[(1, [192, 168, 7, 1]), (4, 2u32.to_ne_bytes())]);
    let mut expected = vec![44, 0, 0, 0, 24, 0, 0x05, 0x06, 0, 0, 0, 0, 0, 0, 0, 0];
    expected.extend(fixed);
    expected.extend([8, 0, 1, 0, 192, 168, 7, 1, 8, 0, 4, 0, 2, 0, 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn answers_are_read_and_garbage_is_an_error() {
    let answer = |error: i32| [&[36, 0, 0, 0, 2, 0][..], &[0; 10], &error.to_ne_bytes()].concat();
    assert_eq!(acknowledged(&answer(0)), Ok(()));
    assert_eq!(acknowledged(&answer(-17)), Err(Errno::EEXIST));
    assert_eq!(acknowledged(&answer(i32::MIN)), Err(Errno::UnknownErrno));
    assert_eq!(acknowledged(&[]), Err(Errno::EPROTO));
    assert_eq!(acknowledged(&[0; 20]), Err(Errno::EPROTO));
}

/// The kernel's own judgement: an interface that does not exist is told apart from a request that makes no sense.
#[test]
fn the_kernel_understands_what_is_asked() {
    let netlink = Netlink::open(0x7fff_fff0).unwrap();
    // Without the right to change anything, that is what it says first.
    for refusal in [netlink.up(1500), netlink.address(Ipv4Addr::LOCALHOST), netlink.route_to(Ipv4Addr::LOCALHOST)] {
        let refusal = refusal.unwrap_err();
        assert!([Errno::ENODEV, Errno::EPERM].contains(&refusal), "{refusal}");
    }
}
