use super::*;
use crate::plan::testing::{Answers, Home};

fn shown(front: &str, variables: &[(&str, &str)], whole_plan: bool) -> String {
    let home = Home::new().bottle(front);
    let prepared = home.look(&mut Answers::with(variables)).unwrap();
    let text = if whole_plan { whole(&prepared.plan) } else { preflight(&prepared.plan) };
    text.replace(prepared.plan.slug.as_str(), "SLUG").replace(&home.0.path().display().to_string(), "HOME")
}

#[test]
fn the_smallest_bottle() {
    assert_eq!(
        shown("", &[], false),
        "\
agent      coder
bottle     dev
provider   claude
env        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC, DISABLE_ERROR_REPORTING,
           NODE_EXTRA_CA_CERTS, NO_PROXY, REQUESTS_CA_BUNDLE, SSL_CERT_FILE
egress     api.anthropic.com
supervise  no
"
    );
}

#[test]
fn names_schemes_and_places_are_shown_and_neither_values_nor_dummies() {
    let long = "a".repeat(63);
    let text = shown(
        &format!(
            "agent_provider: {{auth_token: CLAUDE}}\n\
             env: {{TOKEN: \"${{TOKEN}}\", WORD: ?word, PLAIN: canary}}\n\
             git-gate:\n  user: {{name: Ann, email: ann@example.com}}\n  repos:\n\
             \x20   app: {{url: \"ssh://git@forge.example:2222/a.git\", key: {{provider: gitea, provisioner_token: TOKEN}}}}\n\
             egress:\n  routes:\n    - {{host: h.example, path_allowlist: [/v1/], auth: {{scheme: token, token_ref: TOKEN}}}}\n\
             \x20   - host: {long}.{long}.example\n    - {{host: m.example, matches: [{{methods: [GET]}}]}}\nsupervise: true\n"
        ),
        &[("CLAUDE", "canary"), ("TOKEN", "canary")],
        false,
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for line in [
        "           NODE_EXTRA_CA_CERTS, NO_PROXY, PLAIN, REQUESTS_CA_BUNDLE,\n           SSL_CERT_FILE, TOKEN, WORD\n",
        "git user   Ann <ann@example.com>\n",
        "git        app → forge.example:2222 (no host_key: nothing will be forwarded)\n",
        "egress     api.anthropic.com [auth:Bearer]\n           h.example [auth:token] /v1/\n",
        "           m.example 1 match rule\n",
        "supervise  yes\n",
    ] {
        assert!(text.contains(line), "{line}is not in\n{text}");
    }
    assert!(!text.contains("canary") && !text.contains("OAUTH"), "{text}");
    assert!(!text.contains("192.168.") && !text.contains("HOME/"), "no inner detail: {text}");
}

/// Also where one of them is what another extends.
#[test]
fn bottles_side_by_side_are_shown_each_with_what_it_extends() {
    let home = Home::new()
        .bottle("extends: root\n")
        .with(".bot-bottle/bottles/root.md", "---\n---\n")
        .with(".bot-bottle/bottles/docs.md", "---\nextends: root\n---\n");
    let shown = |names: &[&str]| {
        let bottle_names = names.iter().map(|name| Name::new(name).unwrap()).collect();
        let spec = crate::plan::BottleSpec { bottle_names, ..home.spec() };
        let prepared = home.prepare(spec, &mut Answers::default()).unwrap();
        lineage(&prepared.plan)
    };
    assert_eq!(shown(&[]), "root → dev");
    assert_eq!(shown(&["dev", "root"]), "root → dev + root");
    assert_eq!(shown(&["root", "dev", "dev"]), "root + root → dev + root → dev");
    assert_eq!(shown(&["docs", "root", "dev"]), "root → docs + root + root → dev");
}

#[test]
fn an_agent_that_came_with_a_repository_is_told_as_such() {
    let home = Home::new().with("repo/.bot-bottle/agents/theirs.md", "---\nbottle: dev\n---\nGo.\n");
    let spec = crate::plan::BottleSpec { agent_name: "theirs".to_owned(), ..home.spec() };
    let prepared = home.prepare(spec, &mut Answers::default()).unwrap();
    assert!(preflight(&prepared.plan).starts_with("agent      theirs, of this repository\n"));
}

#[test]
fn plan_shows_the_rest_too() {
    let text = shown("agent_provider: {dockerfile: ~/agent/Dockerfile}\n", &[], true);
    let rest = text.split_once("supervise  no\n").unwrap().1;
    let (before, network) = rest.split_once("network    192.168.").unwrap();
    assert_eq!(
        before,
        "\
image      bot-bottle-claude:SLUG
built from HOME/agent/Dockerfile
command    claude --dangerously-skip-permissions --append-system-prompt-file
           /home/node/.bot-bottle-prompt.txt
in         /home/node
machine    bot-bottle-SLUG
"
    );
    assert!(network.contains(".0/24, gateways at 192.168."), "{network}");
}

#[test]
fn lines_break_at_blanks_and_within_a_word_only_if_they_must() {
    assert_eq!(wrapped("ab cd efghij k", 5), ["ab cd", "efghi", "j k"]);
    assert_eq!(wrapped("", 5), [""]);
    assert_eq!(wrapped("a\u{1b}[31m", 80), ["a\u{fffd}[31m"]);
}
