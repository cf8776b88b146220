use super::*;
use proptest::prelude::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
    # a comment\n\
    broken line\n\
    node:x:1000:1001:Node:/home/node:/bin/sh\n\
    1234:x:77:77::/home/odd:/bin/sh\n\
    homeless:x:5:5:::\n";
const GROUP: &[u8] = b"root:x:0:\nnode:x:1001:\naudio:x:29:other,node\nvideo:x:44: node\ndocker:x:999:nodejs\n";

fn found(user: &str) -> (u32, u32, Vec<u32>, String) {
    let identity = resolve(user.as_bytes(), PASSWD, GROUP).unwrap();
    let groups = identity.groups.iter().map(|gid| gid.as_raw()).collect();
    (identity.uid.as_raw(), identity.gid.as_raw(), groups, identity.home.to_str().unwrap().to_owned())
}

fn who(uid: u32, gid: u32, groups: &[u32], home: &str) -> (u32, u32, Vec<u32>, String) {
    (uid, gid, groups.to_vec(), home.to_owned())
}

#[test]
fn nobody_in_particular_is_root() {
    assert_eq!(found(""), who(0, 0, &[], "/root"));
    assert_eq!(found(":"), who(0, 0, &[], "/root"));
}

#[test]
fn a_name_brings_its_groups_and_home() {
    assert_eq!(found("node"), who(1000, 1001, &[29, 44], "/home/node"));
}

#[test]
fn a_number_is_an_id_even_if_it_is_a_name_too() {
    assert_eq!(found("1000"), who(1000, 1001, &[29, 44], "/home/node"));
    assert_eq!(found("1234"), who(1234, 0, &[], "/"));
    assert_eq!(found("77"), who(77, 77, &[], "/home/odd"));
}

#[test]
fn a_given_group_is_the_only_one() {
    assert_eq!(found("node:audio"), who(1000, 29, &[], "/home/node"));
    assert_eq!(found("node:0"), who(1000, 0, &[], "/home/node"));
    assert_eq!(found("4000:5000"), who(4000, 5000, &[], "/"));
    assert_eq!(found(":audio"), who(0, 29, &[], "/root"));
}

#[test]
fn an_empty_home_is_the_root() {
    assert_eq!(found("homeless"), who(5, 5, &[], "/"));
}

#[test]
fn unknown_names_are_errors_that_name_them() {
    let message = |user: &str| resolve(user.as_bytes(), PASSWD, GROUP).unwrap_err().to_string();
    assert_eq!(message("nosuch"), "the image has no user `nosuch`");
    assert_eq!(message("node:nosuch"), "the image has no group `nosuch`");
    assert_eq!(message("-1"), "the image has no user `-1`");
    assert_eq!(message("+0"), "the image has no user `+0`");
    assert_eq!(message("4294967295"), "the image has no user `4294967295`"); // "no change" to setuid
    assert_eq!(message("99999999999"), "the image has no user `99999999999`");
    assert_eq!(message("a:b:c"), "the image has no user `a`");
}

#[test]
fn without_files_only_numbers_are_known() {
    assert_eq!(resolve(b"7:8", b"", b"").unwrap().gid, Gid::from_raw(8));
    assert!(resolve(b"root", b"", b"").is_err());
}

proptest! {
    #[test]
    fn any_files_are_survived(user: Vec<u8>, passwd: Vec<u8>, group: Vec<u8>) {
        let _ = resolve(&user, &passwd, &group);
    }

    #[test]
    fn a_plain_entry_is_found_among_noise(noise in "[a-z0-9:\n ]{0,200}", uid in 1u32..100_000, gid in 0u32..100_000) {
        let passwd = format!("wanted-user:x:{uid}:{gid}::/h:/s\n{noise}");
        let identity = resolve(b"wanted-user", passwd.as_bytes(), b"").unwrap();
        prop_assert_eq!((identity.uid.as_raw(), identity.gid.as_raw()), (uid, gid));
    }
}
