use super::*;

fn env(variables: &[(&str, &str)]) -> SecretEnv {
    let mut env = SecretEnv::new();
    for (name, value) in variables {
        env.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    env
}

fn tried(name: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let paths = candidates(&[CString::new(name).unwrap()], &env(variables));
    paths.into_iter().map(|path| path.into_string().unwrap()).collect()
}

#[test]
fn a_name_is_looked_for_along_path() {
    assert_eq!(tried("ls", &[("PATH", "/a:/b")]), ["/a/ls", "/b/ls"]);
    assert_eq!(tried("ls", &[("PATH", "/a::/b:")]), ["/a/ls", "./ls", "/b/ls", "./ls"]);
    assert_eq!(tried("ls", &[("PATH", "/first"), ("PATH", "/second")]), ["/first/ls"]);
    assert_eq!(tried("ls", &[]).last().unwrap(), "/bin/ls");
}

#[test]
fn a_path_is_taken_as_it_is() {
    assert_eq!(tried("./ls", &[("PATH", "/a")]), ["./ls"]);
    assert_eq!(tried("/bin/ls", &[("PATH", "/a")]), ["/bin/ls"]);
    assert_eq!(tried("", &[("PATH", "/a")]), [""]);
}

#[test]
fn home_is_the_users_unless_it_was_given() {
    let identity = Identity {
        uid: Uid::from_raw(1),
        gid: nix::unistd::Gid::from_raw(1),
        groups: Vec::new(),
        home: "/home/u".into(),
    };
    assert_eq!(home(&env(&[("HOME", "/given")]), &identity), None);
    assert_eq!(home(&env(&[("HOME", "")]), &identity).unwrap().as_c_str(), c"HOME=/home/u");
    assert_eq!(home(&env(&[("HOMER", "/x")]), &identity).unwrap().as_c_str(), c"HOME=/home/u");
}
