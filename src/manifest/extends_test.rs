use super::super::bottle::BottleFile;
use super::*;
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn bottle(yaml: &str) -> Bottle {
    BottleFile::parse(format!("---\n{yaml}\n---\n").as_bytes(), &BTreeSet::new()).unwrap().bottle
}

/// Every key absent, explicitly empty, and set in a few ways.
fn bottles() -> impl Strategy<Value = Bottle> {
    let env = proptest::collection::btree_map("[AB]", "[a-z]", 0..3);
    let user = (option::of("[a-b]?"), option::of("[a-b]?"));
    let repos = option::of(proptest::collection::btree_set("[rs]", 0..2));
    let routes = option::of(proptest::collection::btree_set("[hi]", 0..2));
    let provider = option::of(prop_oneof![Just("claude"), Just("codex")]);
    (env, user, repos, routes, provider, option::of(any::<bool>()), "[k-m]").prop_map(
        |(env, (name, email), repos, routes, provider, supervise, key)| {
            let repo = |name| (name, serde_json::json!({"url": "git@h:r", "identity": key}));
            let route = |host| serde_json::json!({"host": host, "path_allowlist": [format!("/{key}")]});
            let mut front = serde_json::json!({"env": env, "git-gate": {"user": {}}});
            let user = &mut front["git-gate"]["user"];
            name.into_iter().for_each(|name| user["name"] = name.into());
            email.into_iter().for_each(|email| user["email"] = email.into());
            if let Some(repos) = repos {
                front["git-gate"]["repos"] = repos.into_iter().map(repo).collect::<serde_json::Map<_, _>>().into();
            }
            if let Some(routes) = routes {
                front["egress"] = serde_json::json!({"routes": routes.into_iter().map(route).collect::<Vec<_>>()});
            }
            provider
                .into_iter()
                .for_each(|template| front["agent_provider"] = serde_json::json!({ "template": template }));
            supervise.into_iter().for_each(|supervise| front["supervise"] = supervise.into());
            bottle(&front.to_string()) // JSON is YAML
        },
    )
}

proptest! {
    #[test]
    fn merging_is_associative_and_an_empty_bottle_changes_nothing(a in bottles(), b in bottles(), c in bottles()) {
        let left = merge(merge(a.clone(), b.clone()), c.clone());
        let right = merge(a.clone(), merge(b, c));
        prop_assert_eq!(left, right);
        prop_assert_eq!(&merge(a.clone(), Bottle::default()), &a);
        prop_assert_eq!(merge(Bottle::default(), a.clone()), a);
    }

    /// Routes come in the order of the bottles, with those that are replaced left out: it is no matter how they are put together.
    #[test]
    fn side_by_side_bottles_are_united_and_the_later_wins(a in bottles(), b in bottles(), c in bottles()) {
        let left = combine(combine(a.clone(), b.clone()), c.clone());
        prop_assert_eq!(left, combine(a.clone(), combine(b.clone(), c)));
        prop_assert_eq!(&combine(a.clone(), Bottle::default()), &a);
        prop_assert_eq!(&combine(Bottle::default(), a.clone()), &a);
        let both = combine(a.clone(), b.clone());
        let [repos, of_a, of_b] = [&both, &a, &b].map(|it| it.git_gate.repos.clone().unwrap_or_default());
        let names: BTreeSet<_> = of_a.keys().chain(of_b.keys()).cloned().collect();
        prop_assert_eq!(repos.keys().cloned().collect::<BTreeSet<_>>(), names);
        for (name, repo) in &repos {
            prop_assert_eq!(Some(repo), of_b.get(name).or_else(|| of_a.get(name)));
        }
        let [routes, of_a, of_b] = [&both, &a, &b].map(|it| it.egress.clone().unwrap_or_default().routes);
        for route in &routes {
            let of = |routes: &[Route]| routes.iter().find(|it| it.host == route.host).cloned();
            prop_assert_eq!(Some(route.clone()), of(&of_b).or_else(|| of(&of_a)));
        }
        let hosts = |routes: &[Route]| routes.iter().map(|route| route.host.to_string()).collect::<BTreeSet<_>>();
        prop_assert_eq!(hosts(&routes), &hosts(&of_a) | &hosts(&of_b));
        prop_assert_eq!(both.supervise, b.supervise.or(a.supervise));
    }

    #[test]
    fn the_child_wins(parent in bottles(), child in bottles()) {
        let merged = merge(parent.clone(), child.clone());
        for (name, entry) in &merged.env {
            prop_assert_eq!(Some(entry), child.env.get(name).or_else(|| parent.env.get(name)));
        }
        prop_assert_eq!(merged.env.len(), parent.env.keys().chain(child.env.keys()).collect::<BTreeSet<_>>().len());
        prop_assert_eq!(&merged.egress, if child.egress.is_some() { &child.egress } else { &parent.egress });
        let repos = if child.git_gate.repos.is_some() { &child.git_gate.repos } else { &parent.git_gate.repos };
        prop_assert_eq!(&merged.git_gate.repos, repos);
        prop_assert_eq!(merged.supervise, child.supervise.or(parent.supervise));
        let name = child.git_gate.user.name.or(parent.git_gate.user.name);
        prop_assert_eq!(merged.git_gate.user.name, name);
    }
}

#[test]
fn an_explicit_empty_value_clears_and_an_empty_name_does_not() {
    let parent = bottle(
        "env: {A: x}\ngit-gate:\n  user: {name: Ann, email: a@b}\n  repos: {r: {url: 'git@h:r', identity: k}}\n\
         egress: {routes: [{host: h}]}\nsupervise: true",
    );
    for empty in ["", "{}", "{routes: []}", "{routes: }"] {
        let merged = merge(parent.clone(), bottle(&format!("egress: {empty}")));
        assert_eq!(merged.egress.unwrap().routes, [], "{empty}");
    }
    let merged =
        merge(parent.clone(), bottle("env: {}\ngit-gate: {repos: {}, user: {name: '', email: c@d}}\nsupervise: false"));
    assert_eq!(merged.env, parent.env);
    assert_eq!(merged.git_gate.repos.unwrap().len(), 0);
    assert_eq!(merged.git_gate.user, GitUser { name: Some("Ann".into()), email: Some("c@d".into()) });
    assert_eq!(merged.supervise, Some(false));
}
