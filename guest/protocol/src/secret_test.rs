use super::*;
use proptest::prelude::*;

#[test]
fn growing_keeps_the_contents_and_truncating_wipes_the_rest() {
    let mut bytes = SecretBytes::with_capacity(3);
    bytes.extend_from_slice(b"abc");
    bytes.extend_from_slice(b"defgh");
    assert_eq!(bytes.expose(), b"abcdefgh");
    bytes.truncate(2);
    bytes.0.resize(2, 0);
    assert_eq!(bytes.expose(), b"ab");
    bytes.truncate(9);
    assert_eq!(bytes.expose(), b"ab");
    bytes.clear();
    assert!(bytes.is_empty());
}

#[test]
fn a_reservation_is_one_allocation() {
    let mut bytes = SecretBytes::new();
    bytes.reserve(100);
    let place = bytes.expose().as_ptr();
    bytes.extend_from_slice(&[1; 100]);
    assert_eq!(bytes.expose().as_ptr(), place);
}

#[test]
fn variables_are_found_by_their_whole_name_and_the_first_counts() {
    let mut env = SecretEnv::new();
    for (name, value) in [("HOMER", "no"), ("HOME", "/a=b"), ("HOME", "/second"), ("EMPTY", "")] {
        env.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    assert_eq!(env.get(b"HOME"), Some(&b"/a=b"[..]));
    assert_eq!(env.get(b"EMPTY"), Some(&b""[..]));
    assert_eq!(env.get(b"HOM"), None);
    assert_eq!(env.len(), 4);
    let entries: Vec<&CStr> = env.entries().collect();
    assert_eq!(entries, [c"HOMER=no", c"HOME=/a=b", c"HOME=/second", c"EMPTY="]);
    assert_eq!(env.byte_len(), entries.iter().map(|entry| entry.count_bytes() + 1).sum::<usize>());
}

#[test]
fn what_no_process_can_be_given_is_refused() {
    let mut env = SecretEnv::new();
    assert_eq!(env.push(b"", b"v"), Err(InvalidVariable::NoName { position: 0 }));
    assert_eq!(env.push(b"a=b", b"v"), Err(InvalidVariable::EqualsInName { position: 0 }));
    assert_eq!(env.push(b"a\0", b"v"), Err(InvalidVariable::Nul { position: 0 }));
    assert_eq!(env.push(b"a", b"v\0"), Err(InvalidVariable::Nul { position: 0 }));
    assert!(env.is_empty() && env.byte_len() == 0);
}

#[test]
fn the_packed_form_is_judged() {
    let read = |packed: &[u8], count| SecretEnv::from_packed(packed, count).map(|env| env.len());
    assert_eq!(read(b"", 0), Ok(0));
    assert_eq!(read(b"A=1\0B=\0", 2), Ok(2));
    assert_eq!(read(b"A=1\0B=\0", 1), Err(InvalidVariable::Nul { position: 1 }));
    assert_eq!(read(b"A=1\0", 2), Err(InvalidVariable::Nul { position: 1 }));
    assert_eq!(read(b"A=1", 1), Err(InvalidVariable::Nul { position: 0 }));
    assert_eq!(read(b"A\0", 1), Err(InvalidVariable::NoEquals { position: 0 }));
    assert_eq!(read(b"=1\0", 1), Err(InvalidVariable::NoName { position: 0 }));
    assert_eq!(read(b"A=1\0\0", 2), Err(InvalidVariable::NoEquals { position: 1 }));
}

proptest! {
    #[test]
    fn packing_and_reading_agree(variables in prop::collection::vec(("[A-Za-z_][^=\0]{0,8}", "[^\0]{0,20}"), 0..20)) {
        let mut env = SecretEnv::new();
        for (name, value) in &variables {
            env.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let again = SecretEnv::from_packed(env.packed().expose(), env.len()).ok().unwrap();
        prop_assert!(env.entries().eq(again.entries()));
    }

    #[test]
    fn any_bytes_are_survived(packed: Vec<u8>, count in 0usize..10) {
        if let Ok(env) = SecretEnv::from_packed(&packed, count) {
            prop_assert_eq!(env.entries().count(), count);
        }
    }
}
