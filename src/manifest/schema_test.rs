//! The schema is made of the types and the parser is not, so their agreement is what is tested.

use super::super::yaml::{self, Node};
use super::super::{AgentFile, BottleFile, Fault, Found, Name, front_matter};
use super::*;
use serde_json::json;
use std::collections::BTreeSet;

fn taken_by_parser(kind: &str, front: &Value) -> bool {
    let text = format!("---\n{front}\n---\n"); // JSON is YAML
    match kind {
        "bottle" => BottleFile::parse(text.as_bytes(), &own()).is_ok(),
        _ => AgentFile::parse(text.as_bytes()).is_ok(),
    }
}

fn own() -> BTreeSet<Name> {
    BTreeSet::from([Name::new("mine").unwrap()])
}

fn taken_by_schema(kind: &str, front: &Value) -> bool {
    let schema = if kind == "bottle" { bottle() } else { agent() };
    let of_kind = jsonschema::draft202012::is_valid(schema.as_value(), front);
    assert!(
        !of_kind || jsonschema::draft202012::is_valid(any().as_value(), front),
        "either holds what one holds: {front}"
    );
    of_kind
}

fn route(more: Value) -> Value {
    let mut route = json!({"host": "a.b"});
    let Value::Object(more) = more else { panic!("a map") };
    route.as_object_mut().unwrap().extend(more);
    json!({"egress": {"routes": [route]}})
}

fn repo(more: Value) -> Value {
    let mut repo = json!({"url": "git@h:r"});
    let Value::Object(more) = more else { panic!("a map") };
    repo.as_object_mut().unwrap().extend(more);
    json!({"git-gate": {"repos": {"r": repo}}})
}

#[test]
fn schemas_are_schemas() {
    for schema in [bottle(), agent(), any()] {
        assert!(jsonschema::meta::is_valid(schema.as_value()));
        assert_eq!(schema.get("$schema").unwrap(), "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn both_take_what_is_right() {
    let bottles = [
        json!({}),
        json!({"extends": "base", "env": {"A": "x", "B": "${B}", "C": "?C please"}, "supervise": true}),
        json!({"env": null, "git-gate": null, "egress": null, "agent_provider": null}),
        json!({"agent_provider": {"template": "claude", "dockerfile": "~/D", "auth_token": "T"}}),
        json!({"agent_provider": {"auth_token": "T"}}),
        json!({"agent_provider": {"template": "codex", "forward_host_credentials": true}}),
        json!({"agent_provider": {"template": "mine"}}),
        json!({"git-gate": {"user": {"name": "A", "email": "a@b"}, "repos": {}}}),
        repo(json!({"identity": "~/.ssh/id", "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"})),
        repo(json!({"provisioned_key": {"provider": "gitea", "token_env": "T"}})),
        repo(json!({"key": {"provider": "static", "path": "k"}})),
        repo(json!({"key": {"provider": "gitea", "provisioner_token": "T"}})),
        json!({"egress": {"routes": [], "log": 2}}),
        route(json!({"path_allowlist": ["/a"], "auth": {"scheme": "Bearer", "token_ref": "T"}})),
        route(json!({"pipelock": {"tls_passthrough": true, "ssrf_ip_allowlist": ["10.0.0.0/8"]}})),
        route(
            json!({"dlp": {"outbound_detectors": ["token_patterns"], "inbound_detectors": false, "outbound_on_match": "redact"}}),
        ),
        route(json!({"matches": [{"paths": [{"type": "regex", "value": "^/a"}], "methods": ["get"],
                                  "headers": [{"name": "X-A", "value": "b"}, {"type": "regex", "name": "X", "value": "."}]}]})),
    ];
    let agents = [
        json!({"bottle": "dev"}),
        json!({"bottle": "dev", "skills": ["a"], "git-gate": {"user": {"name": "A"}}, "name": "x", "description": "d",
               "model": ["any"], "color": 1, "memory": {}}),
    ];
    let all = bottles.iter().map(|front| ("bottle", front)).chain(agents.iter().map(|front| ("agent", front)));
    for (kind, front) in all {
        assert!(taken_by_parser(kind, front), "the parser refuses {front}");
        assert!(taken_by_schema(kind, front), "the schema refuses {front}");
    }
}

#[test]
fn both_refuse_what_is_wrong() {
    let bottles = [
        json!([]),
        json!({"evn": {}}),
        json!({"extends": ["a"]}),
        json!({"extends": "A"}),
        json!({"extends": null}),
        json!({"supervise": null}),
        json!({"agent_provider": {"template": null}}),
        json!({"agent_provider": {"dockerfile": null}}),
        json!({"agent_provider": {"auth_token": null}}),
        repo(json!({"identity": "k", "host_key": null})),
        route(json!({"auth": null})),
        route(json!({"dlp": {"outbound_on_match": null}})),
        json!({"env": {"A": 1}}),
        json!({"env": {"A-B": "x"}}),
        json!({"env": {"A": "${A}b"}}),
        json!({"env": {"A": "?"}}),
        json!({"supervise": "yes"}),
        json!({"agent_provider": {"template": "codex", "auth_token": "T"}}),
        json!({"agent_provider": {"forward_host_credentials": true}}),
        json!({"agent_provider": {"auth_token": "a-b"}}),
        json!({"git-gate": {"user": {"mail": "x"}}}),
        json!({"git-gate": {"repos": {"../r": {"url": "git@h:r", "identity": "k"}}}}),
        json!({"git-gate": {"repos": {"r": {"identity": "k"}}}}),
        repo(json!({})),
        repo(json!({"identity": "k", "provisioned_key": {"provider": "gitea", "token_env": "T"}})),
        repo(json!({"identity": "k", "more": 1})),
        repo(json!({"url": "https://h/r", "identity": "k"})),
        repo(json!({"provisioned_key": {"provider": "gitea", "token": "T"}})),
        repo(json!({"key": {"provider": "static", "provisioner_token": "T"}})),
        json!({"egress": {"routes": [{}]}}),
        json!({"egress": {"log": 3}}),
        json!({"egress": {"log": "full"}}),
        route(json!({"host": "https://a"})),
        route(json!({"role": "x"})),
        route(json!({"path_allowlist": ["a"]})),
        route(json!({"path_allowlist": ["/a"], "matches": []})),
        route(json!({"auth": {"scheme": "Basic", "token_ref": "T"}})),
        route(json!({"auth": {"scheme": "Bearer"}})),
        route(json!({"pipelock": {"ssrf_ip_allowlist": ["10.0.0.1"]}})),
        route(json!({"dlp": {"outbound_detectors": ["x"]}})),
        route(json!({"dlp": {"inbound_detectors": true}})),
        route(json!({"matches": [{"paths": [{"type": "glob", "value": "/"}]}]})),
        route(json!({"matches": [{"paths": [{"type": "exact", "value": "/", "x": 1}]}]})),
    ];
    let agents = [
        json!({}),
        json!({"bottle": "dev", "tools": "x"}),
        json!({"bottle": "dev", "env": {}}),
        json!({"bottle": "dev", "skills": ["../x"]}),
        json!({"bottle": "dev", "git-gate": {"repos": {}}}),
    ];
    let all = bottles.iter().map(|front| ("bottle", front)).chain(agents.iter().map(|front| ("agent", front)));
    for (kind, front) in all {
        assert!(!taken_by_parser(kind, front), "the parser takes {front}");
        assert!(!taken_by_schema(kind, front), "the schema takes {front}");
    }
}

/// The keys that the parser offers for an unknown one, at the top of both kinds, are those of the schema.
#[test]
fn both_know_the_same_keys() {
    for (kind, schema) in [("bottle", bottle()), ("agent", agent())] {
        let text = b"---\nzzz: 1\n---\n";
        let error = if kind == "bottle" { BottleFile::parse(text, &own()).err() } else { AgentFile::parse(text).err() };
        let Some(Fault::UnknownKey { allowed, .. }) = error.map(|error| error.fault) else {
            panic!("{kind} takes any key")
        };
        let properties = schema.get("properties").and_then(Value::as_object).unwrap();
        let known: BTreeSet<_> = properties.keys().map(String::as_str).collect();
        assert_eq!(known, allowed.iter().copied().collect(), "{kind}");
    }
}

fn to_json(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Scalar { text, .. } => match node.found() {
            Found::Nothing => Value::Null,
            Found::Bool | Found::Number => serde_json::from_str(text).unwrap(),
            _ => text.clone().into(),
        },
        yaml::Value::List(items) => items.iter().map(to_json).collect(),
        yaml::Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), to_json(node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[test]
fn the_schema_takes_the_manifests_of_the_readme() {
    let readme = include_str!("../../README.md");
    let fences = readme.split("```markdown\n").skip(1).filter_map(|rest| rest.split("```").next());
    let fronts: Vec<_> =
        fences.map(|text| to_json(&yaml::read(front_matter::split(text.as_bytes()).unwrap().yaml).unwrap())).collect();
    assert_eq!(fronts.len(), 3);
    assert!(fronts.iter().zip(["bottle", "bottle", "agent"]).all(|(front, kind)| taken_by_schema(kind, front)));
}
