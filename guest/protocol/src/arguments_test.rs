use super::*;

fn env(bytes: usize) -> SecretEnv {
    let mut env = SecretEnv::new();
    env.push(b"NAME", &vec![b'x'; bytes]).unwrap();
    env
}

#[test]
fn one_string_has_a_limit_of_its_own() {
    let limit = 32 * 4096;
    let fits = limit - "NAME=".len() - 1;
    assert_eq!(ArgumentLimits::GUEST.check(&[], &env(fits)), Ok(()));
    let refused = ArgumentsTooLong::Variable { name: "NAME".to_owned(), bytes: limit as u64 + 1, limit: limit as u64 };
    assert_eq!(ArgumentLimits::GUEST.check(&[], &env(fits + 1)), Err(refused));
    let argument = CString::new(vec![b'x'; limit]).unwrap();
    let refused = ArgumentsTooLong::Argument { position: 1, bytes: limit as u64 + 1, limit: limit as u64 };
    assert_eq!(ArgumentLimits::GUEST.check(&[c"cmd".to_owned(), argument], &SecretEnv::new()), Err(refused));
}

#[test]
fn pointers_and_paths_count() {
    let limits = ArgumentLimits { total_bytes: 2 * 4096 + 2 * 8 + 4 + 10, string_bytes: 4096 };
    let argv = [c"cmd".to_owned()];
    assert_eq!(limits.check(&argv, &env(10 - 6)), Ok(()));
    let total = limits.total_bytes;
    assert_eq!(limits.check(&argv, &env(10 - 5)), Err(ArgumentsTooLong::Total { bytes: total + 1, limit: total }));
}

#[test]
fn a_value_is_never_in_the_words() {
    let error = ArgumentLimits::GUEST.check(&[], &env(200_000)).unwrap_err();
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("xxx"));
}
