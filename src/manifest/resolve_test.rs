use super::*;

const CANARY: &[u8] = b"canary-1d7e";

/// A host with one variable, and a person who types the same answer to everything.
#[derive(Default)]
struct Host {
    looked_up: Vec<String>,
    asked: Vec<String>,
    answer: Option<&'static [u8]>,
}

fn secret(bytes: &[u8]) -> SecretBytes {
    let mut secret = SecretBytes::new();
    secret.extend_from_slice(bytes);
    secret
}

impl Values for Host {
    fn variable(&mut self, name: &Variable) -> Option<SecretBytes> {
        self.looked_up.push(name.to_string());
        (name.as_str() == "SET").then(|| secret(CANARY))
    }

    fn ask(&mut self, variable: &Variable, prompt: &str) -> io::Result<SecretBytes> {
        self.asked.push(format!("{variable}: {prompt}"));
        self.answer.map(secret).ok_or_else(|| io::Error::other("no terminal"))
    }
}

fn env(entries: &[(&str, &str)]) -> Env {
    entries.iter().map(|(name, text)| (Variable::new(name).unwrap(), EnvEntry::new(text).unwrap())).collect()
}

fn failure(env: &Env, host: &mut Host) -> ResolveError {
    resolve(env, host).err().unwrap()
}

#[test]
fn each_kind_goes_where_it_belongs() {
    let mut host = Host { answer: Some(b"typed"), ..Host::default() };
    let resolved = resolve(&env(&[("A", "plain"), ("B", "${SET}"), ("C", "?Pass"), ("D", "$SET")]), &mut host).unwrap();
    let literals: Vec<_> = resolved.literals.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(literals, ["A=plain", "D=$SET"]);
    let forwarded: Vec<_> = resolved.forwarded.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(forwarded, [("B", CANARY), ("C", &b"typed"[..])]);
    assert_eq!((host.looked_up, host.asked), (vec!["SET".to_owned()], vec!["C: Pass".to_owned()]));
}

#[test]
fn all_that_is_not_set_is_said_before_anything_is_asked() {
    let mut host = Host { answer: Some(b"typed"), ..Host::default() };
    let error =
        failure(&env(&[("A", "?Pass"), ("B", "${X}"), ("C", "${SET}"), ("D", "${Y}"), ("E", "${X}")]), &mut host);
    assert_eq!(error.to_string(), "`X` and `Y` are not set in this environment");
    assert_eq!(error.hint(), "`export X=…` first; the bottle's `env` asks for it");
    assert_eq!(host.asked, [""; 0]);
    assert_eq!(failure(&env(&[("B", "${X}")]), &mut host).to_string(), "`X` is not set in this environment");
}

#[test]
fn errors_hold_no_value() {
    let nobody = failure(&env(&[("B", "${SET}"), ("C", "?Pass")]), &mut Host::default());
    assert_eq!(nobody.to_string(), "cannot ask for the value of `C`");
    let mut host = Host { answer: Some(b"canary-1d7e\0"), ..Host::default() };
    let nul = failure(&env(&[("C", "?Pass")]), &mut host);
    assert_eq!(nul.to_string(), "the value of `C` holds a NUL byte, which no environment can");
    for error in [nobody, nul] {
        assert!(!format!("{error:?}{error}{}", error.hint()).contains("canary"));
    }
}
