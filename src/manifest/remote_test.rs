use super::*;
use proptest::prelude::*;

fn remote(user: &str, host: &str, port: u16, path: &str) -> Remote {
    Remote { user: user.into(), host: host.into(), port, path: path.into() }
}

#[test]
fn urls_and_short_forms() {
    for (text, expected) in [
        ("ssh://git@forge.example/owner/repo.git", remote("git", "forge.example", 22, "/owner/repo.git")),
        ("ssh://git@Forge.Example:2222/~u/r", remote("git", "forge.example", 2222, "/~u/r")),
        ("ssh://git@[fd00::1]:2222/r", remote("git", "fd00::1", 2222, "/r")),
        ("ssh://git@[fd00::1]/r", remote("git", "fd00::1", 22, "/r")),
        ("ssh://git@192.0.2.7/r", remote("git", "192.0.2.7", 22, "/r")),
        ("git@forge.example:owner/repo.git", remote("git", "forge.example", 22, "owner/repo.git")),
        ("git@forge.example:/srv/repo.git", remote("git", "forge.example", 22, "/srv/repo.git")),
        ("git@[fd00::1]:repo", remote("git", "fd00::1", 22, "repo")),
        ("git@forge.example:2222/repo", remote("git", "forge.example", 22, "2222/repo")),
    ] {
        assert_eq!(Remote::new(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_none() {
    use RemoteFault::*;
    for (text, fault) in [
        ("", Form),
        ("/srv/repo.git", Form),
        ("./a:b", Form),
        ("https://forge.example/owner/repo.git", Scheme),
        ("git://forge.example/repo", Scheme),
        ("file:///srv/repo", Scheme),
        ("ssh://forge.example/repo", NoUser),
        ("forge.example:repo", NoUser),
        ("ssh://@forge.example/repo", NoUser),
        ("ssh://git:pass@forge.example/repo", Password),
        ("git:pass@forge.example:repo", Password),
        ("ssh://-oProxyCommand=x@forge.example/repo", User),
        ("ssh://git@-oProxyCommand=x/repo", Host),
        ("ssh://git@forge.example:/repo", Port),
        ("ssh://git@forge.example:0/repo", Port),
        ("ssh://git@forge.example:+22/repo", Port),
        ("ssh://git@forge.example:65536/repo", Port),
        ("ssh://git@[fd00::1/repo", Host),
        ("ssh://git@[fd00::1]x/repo", Host),
        ("ssh://git@bücher.example/repo", Host),
        ("ssh://git@forge.example", Path),
        ("ssh://git@forge.example/", Path),
        ("git@forge.example:", Path),
        ("git@forge.example:-oX", Path),
        ("git@forge.example:a b", Path),
        ("ssh://git@forge.example/a\nb", Path),
    ] {
        assert_eq!(Remote::new(text), Err(Invalid::Remote(fault)), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_answer_and_what_is_shown_reads_the_same(text in "(ssh://)?[a-z-]{0,3}[@:]?\\PC{0,12}") {
        if let Ok(remote) = Remote::new(&text) {
            prop_assert!(![&remote.user, &remote.host, &remote.path].iter().any(|part| part.starts_with('-')));
            prop_assert_eq!(Remote::new(&remote.to_string()), Ok(remote));
        }
    }
}
