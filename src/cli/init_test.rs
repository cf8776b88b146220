use super::*;
use crate::manifest::{Catalogue, Places};
use std::os::unix::fs::PermissionsExt as _;

fn interviewed(own: &Path, answers: &str) -> (Result<[Draft; 2], Failure>, String) {
    let mut questions = vec![];
    let drafts = interview(&mut Asker::new(answers.as_bytes(), &mut questions), own);
    (drafts, String::from_utf8(questions).unwrap())
}

fn catalogue(own: &Path) -> Catalogue {
    Catalogue::open(&Places { own: own.to_owned(), home: None, current: own.to_owned() }).unwrap()
}

#[test]
fn what_was_answered_is_what_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("new/.bot-bottle");
    let answers = "true\n\nANTHROPIC_TOKEN\nforge.example 192.0.2.7\nAnn \"A\" Ö: #\nann@example.com\ny\nnull\nFix: the tests # all\n";
    let (drafts, _) = interviewed(&own, answers);
    write_all(&own, &drafts.unwrap()).unwrap();
    let catalogue = catalogue(&own);
    let agent = catalogue.agent("null").unwrap();
    let settings = catalogue.bottle_for(&agent).unwrap().settings;
    assert_eq!(agent.file.agent.bottle.as_str(), "true");
    assert_eq!(agent.file.prompt, "Fix: the tests # all");
    assert_eq!(settings.agent_provider.unwrap().auth_token.unwrap().as_str(), "ANTHROPIC_TOKEN");
    let hosts: Vec<_> = settings.egress.unwrap().routes.iter().map(|route| route.host.to_string()).collect();
    assert_eq!(hosts, ["192.0.2.7", "forge.example"]);
    assert_eq!(settings.git_gate.user.name.unwrap(), "Ann \"A\" Ö: #");
    assert_eq!(settings.supervise, Some(true));
    let mode = |path: &str| fs::metadata(own.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [mode(""), mode("bottles"), mode("bottles/true.md"), mode("agents/null.md")],
        [0o700, 0o700, 0o600, 0o600]
    );
}

#[test]
fn empty_answers_make_a_pair_that_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (drafts, _) = interviewed(dir.path(), "\n\n\n\n\n\n\n\n\n");
    write_all(dir.path(), &drafts.unwrap()).unwrap();
    let catalogue = catalogue(dir.path());
    assert!(catalogue.bottle_for(&catalogue.agent("coder").unwrap()).is_ok());
}

#[test]
fn a_wrong_answer_is_asked_for_again_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bottles")).unwrap();
    fs::write(dir.path().join("bottles/dev.md"), "mine").unwrap();
    let (drafts, asked) = interviewed(dir.path(), "dev\nDev\nother\ngemini\ncodex\nmaybe\ny\na_b\n\n\n\n\n\n\n");
    assert!(drafts.unwrap()[0].text.contains("forward_host_credentials: true"));
    for reason in [
        "dev.md` is there already: `bottle-vmm edit dev` changes it",
        "`Dev` is not a name: a name is",
        "`gemini` is neither",
        "`y` or `n`",
        "`a_b` is not a host",
    ] {
        assert!(asked.contains(reason), "{reason} is not in {asked}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("bottles/dev.md")).unwrap(), "mine");
}

/// Whoever only presses Enter, again and again, gets pair after pair.
#[test]
fn names_that_are_taken_are_not_offered() {
    let dir = tempfile::tempdir().unwrap();
    for (offered, bottle) in [("[dev]", "dev"), ("[dev-2]", "dev-2"), ("[dev-3]", "dev-3")] {
        let (drafts, asked) = interviewed(dir.path(), "\n\n\n\n\n\n\n\n\n");
        assert!(asked.contains(&format!("Name of the bottle {offered}: ")), "{asked}");
        write_all(dir.path(), &drafts.unwrap()).unwrap();
        let catalogue = catalogue(dir.path());
        let agent = catalogue.agent(&bottle.replace("dev", "coder")).unwrap();
        assert_eq!(agent.file.agent.bottle.as_str(), bottle);
    }
}

#[test]
fn leaving_in_between_and_failing_to_write_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    let (drafts, _) = interviewed(&own, "dev\nclaude\n");
    assert!(drafts.is_err() && !own.exists());
    // The agent's directory cannot be made, so the bottle goes again.
    fs::create_dir(&own).unwrap();
    fs::write(own.join("agents"), "a file").unwrap();
    let (drafts, _) = interviewed(&own, "\n\n\n\n\n\n\n\n\n");
    assert!(write_all(&own, &drafts.unwrap()).is_err());
    assert_eq!(fs::read_dir(own.join("bottles")).unwrap().count(), 0);
}

#[test]
fn what_came_in_the_meantime_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (drafts, _) = interviewed(dir.path(), "\n\n\n\n\n\n\n\n\n");
    let drafts = drafts.unwrap();
    fs::create_dir(dir.path().join("agents")).unwrap();
    fs::write(&drafts[1].path, "theirs").unwrap();
    assert!(write_all(dir.path(), &drafts).is_err());
    assert_eq!(fs::read_to_string(&drafts[1].path).unwrap(), "theirs");
    assert!(!drafts[0].path.exists());
}
