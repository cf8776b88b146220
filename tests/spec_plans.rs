//! Plans as bot-bottle's specification has them, written from it and not from what the program says: one directory of `tests/plans` a case.
//!
//! `home/` is the home, `repo` in it where the command runs; `command` has the sections that the case follows, and the command. Of what comes,
//! `plan.json` (or `metadata.json`, the record) has the fields that the specification fixes, or `error` what must be said: `at FILE:LINE:COLUMN`,
//! and words of the error or its hint, in which neither the program nor the file counts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod home;
#[path = "home/program.rs"]
mod program;

use program::Answer;
use regex::Regex;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// Set to what must not be said.
const VARIABLES: [&str; 7] =
    ["CLAUDE_TOKEN", "FORGE_TOKEN", "OWN_TOKEN", "ROUTE_TOKEN", "HOST_VAR", "FROM_ROOT", "FROM_MIDDLE"];

/// What each home has before the case's own files: an agent, a key, Codex's login, and a repository. None of it can be a file of ours.
fn home_of(case: &Path) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    home::write(home.path(), ".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\nGo.\n");
    home::write(home.path(), ".ssh/key", "");
    home::write(home.path(), ".codex/auth.json", &codex_login());
    home::write(home.path(), "repo/.git/HEAD", "");
    for (path, (_, bytes)) in home::listing(&case.join("home")) {
        if case.join("home").join(&path).is_file() {
            home::write(home.path(), path.to_str().unwrap(), &String::from_utf8(bytes).unwrap());
        }
    }
    home
}

/// As Codex keeps it: a token of three parts, the second of which tells when it ends (in 2100).
fn codex_login() -> String {
    let token = "e30.eyJleHAiOjQxMDI0NDQ4MDB9.canary";
    let tokens = serde_json::json!({"id_token": token, "access_token": token, "refresh_token": "canary", "account_id": "an-account"});
    serde_json::json!({"OPENAI_API_KEY": null, "tokens": tokens, "last_refresh": "2026-01-01T00:00:00Z"}).to_string()
}

/// Runs the lines of `command`, which are to succeed up to the last; what that one comes to is the answer.
fn run(case: &Path, home: &Path) -> Output {
    let text = fs::read_to_string(case.join("command")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let outputs: Vec<_> = lines
        .map(|line| {
            let mut command = program::command(home, env!("CARGO_BIN_EXE_bottle-vmm"));
            command.envs(VARIABLES.map(|name| (name, format!("canary-{name}")))).env_remove("ABSENT_HERE");
            for word in line.split_whitespace() {
                match word.split_once('=') {
                    Some((name, value)) => command.env(name, value),
                    None => command.arg(word),
                };
            }
            command.output().unwrap()
        })
        .collect();
    let (last, before) = outputs.split_last().unwrap();
    for output in before {
        assert!(output.status.success(), "{}: {}", case.display(), String::from_utf8_lossy(&output.stderr));
    }
    last.clone()
}

/// What an error lacks of what must be said.
fn unsaid(expected: &str, stderr: &str) -> Vec<String> {
    let lines = stderr.lines().filter(|line| !line.contains("warning: it could not run"));
    let said: String = lines.map(|line| format!("{}\n", line.strip_prefix("bottle-vmm: ").unwrap_or(line))).collect();
    let (place, words) = match expected.strip_prefix("at ").and_then(|rest| rest.split_once('\n')) {
        Some((place, words)) => (Some(format!("{place}: ")), words),
        None => (None, expected),
    };
    let rest = match &place {
        Some(place) => said.strip_prefix(place.as_str()),
        None => Some(said.as_str()),
    };
    let Some(rest) = rest else { return vec![format!("it is not {}", place.unwrap_or_default())] };
    words.lines().filter(|word| !rest.contains(word)).map(str::to_owned).collect()
}

/// How a case speaks of what is different each time.
struct Words<'a> {
    home: &'a str,
    slug: &'a str,
    net: &'a str,
}

impl Words<'_> {
    /// An object has at least the fields that are expected, and with `nothing else` no others; null is a field that is not there, too. `has` is a list
    /// with such elements among others. A text that begins with `re:` is a pattern.
    fn compare(&self, at: &str, expected: &Value, found: &Value) -> Vec<String> {
        let differs = || vec![format!("{at}: expected {expected}, found {found}")];
        match (expected, found) {
            (Value::Object(fields), Value::Array(elements)) if fields.contains_key("has") => {
                let among =
                    |wanted: &&Value| elements.iter().any(|element| self.compare(at, wanted, element).is_empty());
                let missing = fields["has"].as_array().unwrap().iter().filter(|wanted| !among(wanted));
                missing.map(|wanted| format!("{at}: expected {wanted} among {found}")).collect()
            }
            (Value::Object(fields), Value::Object(had)) => self.compare_fields(at, fields, had),
            (Value::Array(wanted), Value::Array(had)) if wanted.len() == had.len() => {
                let pairs = wanted.iter().zip(had).enumerate();
                pairs.flat_map(|(index, (wanted, had))| self.compare(&format!("{at}[{index}]"), wanted, had)).collect()
            }
            (Value::String(text), Value::String(had)) => match text.strip_prefix("re:") {
                Some(pattern) if Regex::new(pattern).unwrap().is_match(had) => vec![],
                None if &self.spell(text) == had => vec![],
                _ => differs(),
            },
            _ if expected == found => vec![],
            _ => differs(),
        }
    }

    fn compare_fields(&self, at: &str, fields: &Map<String, Value>, had: &Map<String, Value>) -> Vec<String> {
        const ONLY: &str = "nothing else";
        let wanted = fields.iter().filter(|(name, _)| *name != ONLY);
        let mut differences: Vec<_> = wanted
            .flat_map(|(name, wanted)| {
                self.compare(&format!("{at}.{name}"), wanted, had.get(name).unwrap_or(&Value::Null))
            })
            .collect();
        if fields.contains_key(ONLY) {
            let others = had.keys().filter(|name| !fields.contains_key(*name));
            differences.extend(others.map(|name| format!("{at}.{name}: is there")));
        }
        differences
    }

    fn spell(&self, text: &str) -> String {
        text.replace("{home}", self.home).replace("{slug}", self.slug).replace("{net}", self.net)
    }
}

/// What is wrong with a case.
fn differences(case: &Path) -> Vec<String> {
    let home = home_of(case);
    let output = run(case, home.path());
    let Answer { code, stdout, stderr } = Answer::of(home.path(), &output);
    if stdout.contains("canary") || stderr.contains("canary") {
        return vec!["a value was said".to_owned()];
    }
    if let Ok(words) = fs::read_to_string(case.join("error")) {
        let mut missing = unsaid(&words, &stderr);
        missing.extend((code == 0 || !stdout.is_empty()).then_some("an error".to_owned()));
        return missing.iter().map(|word| format!("{word} is not in: {stderr}")).collect();
    }
    if code != 0 {
        return vec![stderr];
    }
    let (file, text) = match case.join("plan.json").exists() {
        true => ("plan.json", String::from_utf8(output.stdout).unwrap()),
        false => {
            ("metadata.json", fs::read_to_string(home.path().join(".bot-bottle/state/kept/metadata.json")).unwrap())
        }
    };
    let [expected, found]: [Value; 2] =
        [fs::read_to_string(case.join(file)).unwrap(), text].map(|text| serde_json::from_str(&text).unwrap());
    let [slug, subnet] = ["slug", "bundle_subnet"].map(|field| found[field].as_str().unwrap_or_default());
    let net = subnet.strip_suffix(".0/24").unwrap_or_default();
    let words = Words { home: home.path().to_str().unwrap(), slug, net };
    words.compare("", &expected, &found)
}

#[test]
fn plans_are_what_the_specification_says() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut cases: Vec<_> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let named = |case: &Path| {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        differences(case).into_iter().map(move |difference| format!("{name} {difference}"))
    };
    let wrong: Vec<_> = cases.iter().flat_map(|case| named(case)).collect();
    assert!(cases.len() >= 40, "the cases are there");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
