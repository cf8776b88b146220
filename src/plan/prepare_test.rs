use super::super::testing::{Answers, Home, unfit};
use super::*;
use std::collections::BTreeSet;
use std::error::Error as _;

/// What a person would read, with the home taken out.
fn said(home: &Home, error: &PlanError) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}\n> {}", error.hint()).replace(&home.0.path().display().to_string(), "HOME")
}

fn refusal(home: &Home, values: &mut Answers) -> String {
    let before = home.listing();
    let error = home.prepare(home.spec(), values).err().expect("it is refused");
    assert_eq!(home.listing(), before, "a bottle that came to nothing leaves nothing");
    said(home, &error)
}

#[test]
fn whatever_is_missing_is_said_with_a_way_out_and_nothing_is_left() {
    let none = &mut Answers::default();
    let agent =
        |front: &str| Home::new().with(".bot-bottle/agents/coder.md", &format!("---\nbottle: dev\n{front}---\n"));
    assert_eq!(
        refusal(&agent("skills: [review]\n"), none),
        "agent `coder` has the skill `review`, and `HOME/.claude/skills/review` is no directory\n\
         > put it there, or take it out of the agent's `skills`"
    );
    assert_eq!(
        refusal(&Home::new().bottle("env: {A: \"${B}\", C: \"${D}\", E: ?word}\n"), none),
        "`B` and `D` are not set in this environment\n> `export B=…` first; `HOME/.bot-bottle/bottles/dev.md:2` asks for it"
    );
    assert_eq!(
        refusal(&Home::new().bottle("env: {A: ?word}\n"), none),
        "cannot ask for the value of `A`: nobody is there\n\
         > start it from a terminal and without `--headless`, or let the entry be `${NAME}` and set that"
    );
    let repo = "git-gate: {repos: {app: {url: git@h.example:a.git, identity: ~/.ssh/key}}}\n";
    assert_eq!(
        refusal(&Home::new().bottle(repo), none),
        "the key of repository `app`, `HOME/.ssh/key`, cannot be read: No such file or directory (os error 2)\n\
         > `identity` is a path of this host: `~` is your home, a relative one begins where the command is run"
    );
    let route = "egress: {routes: [{host: h.example, auth: {scheme: token, token_ref: T}}]}\n";
    let home = Home::new().bottle(route);
    assert!(home.prepare(home.spec(), none).is_ok(), "a bundle has its own tokens");
    let repo = |name: &str, token: &str| {
        format!("{name}: {{url: git@h.example:a.git, provisioned_key: {{provider: gitea, token_env: {token}}}}}")
    };
    let thrice = [repo("a", "T1"), repo("b", "T2"), repo("c", "T1")].join(", ");
    let error = Home::new().bottle(&format!("git-gate: {{repos: {{{thrice}}}}}\n")).look(none).err().unwrap();
    assert_eq!(error.to_string(), "`T1` and `T2`, which hold each a token, are not set in this environment");
    let error = home.look(none).err().expect("it is refused");
    assert_eq!(
        said(&home, &error),
        "`T`, which holds a token, is not set in this environment\n\
         > `export T=…` first; `HOME/.bot-bottle/bottles/dev.md:2` names it; the gateways put it into requests, the agent never sees it"
    );
    assert_eq!(
        refusal(&Home::new().bottle("agent_provider: {template: codex, forward_host_credentials: true}\n"), none),
        "the login of this host's codex, `HOME/.codex/auth.json`, cannot be read: No such file or directory (os error 2)\n\
         > log in on this host with `codex login`, or take `forward_host_credentials` out of the bottle"
    );
    assert!(refusal(&agent("").with(".bot-bottle/agents/coder.md", "---\nbottle: nope\n---\n"), none).contains(":2:9"));
}

#[test]
fn the_order_is_agent_then_skills_then_keys_then_machine_then_values() {
    let home = Home::new().bottle("env: {A: \"${B}\"}\n");
    let host = home.host();
    let unfit = || Err(unfit());
    let values = &mut Answers::default();
    let start = |spec| home.prepare_on(&host, spec, Depth::Start, unfit(), &mut Answers::default()).err().unwrap();
    assert!(matches!(start(home.spec()), PlanError::Preflight(_)));
    let nobody = BottleSpec { agent_name: "nobody".to_owned(), ..home.spec() };
    assert!(matches!(start(nobody), PlanError::Catalogue(_)));
    assert!(matches!(home.prepare(home.spec(), values).err().unwrap(), PlanError::Resolve(_)));
    let look = home.look(&mut Answers::with(&[("B", "x")])).unwrap();
    assert!(look.unfit.is_some(), "a look does not mind");
}

#[test]
fn what_goes_through_a_gateway_needs_one_before_anything_is_asked() {
    let lacking = |front: &str| {
        let home = Home::new().bottle(front).with(".ssh/key", "");
        let mut values = Answers::default();
        let error = home.prepare_beside(Gateways::None, &mut values).err().map(|error| said(&home, &error));
        assert!(values.asked.is_empty() && !home.path(".bot-bottle/state").exists());
        error
    };
    let hint = "\n> start a bundle (bot-bottle's), and say where it is: `--bundle external=ADDRESS`, or `--bundle sockets=DIR`";
    assert_eq!(
        lacking("env: {A: ?word}\n").unwrap(),
        format!("agent `coder` needs the gateway `egress`, which this version does not bring{hint}")
    );
    let all = "git-gate: {repos: {app: {url: git@h.example:a.git, identity: ~/.ssh/key}}}\nsupervise: true\n";
    assert_eq!(
        lacking(all).unwrap(),
        format!(
            "agent `coder` needs the gateways `egress`, `git-gate` and `supervise`, which this version does not bring{hint}"
        )
    );
    let home = Home::new()
        .bottle("agent_provider: {template: mine}\n")
        .with(".bot-bottle/contrib/mine/provider.json", r#"{"command": "agent", "image": "agent.tar"}"#)
        .with(".bot-bottle/contrib/mine/agent.tar", "");
    assert!(home.prepare_beside(Gateways::None, &mut Answers::default()).is_ok(), "nothing leaves it");
}

#[test]
fn a_bundle_at_an_address_is_where_the_guest_finds_it_and_its_network_is_passed_over() {
    let home = Home::new();
    let own = home.prepare_beside(Gateways::Sockets, &mut Answers::default()).unwrap();
    assert_eq!(own.plan.bundle_ip, std::net::IpAddr::from(own.subnet.bundle()));
    let address = own.plan.bundle_ip;
    let beside = home.prepare_beside(Gateways::External(address), &mut Answers::default()).unwrap();
    assert_eq!(beside.plan.bundle_ip, address);
    assert!(!beside.plan.bundle_subnet.contains(&own.subnet.bundle()));
}

#[test]
fn secrets_are_asked_for_at_a_start_and_not_at_a_look_and_are_in_no_file() {
    let home = Home::new().bottle(
        "env: {A: ?Your word, B: \"${HOST_B}\", NO_PROXY: \"${HOST_B}\"}\n\
         egress: {routes: [{host: h.example, auth: {scheme: token, token_ref: T}}]}\n",
    );
    let mut values = Answers::with(&[("HOST_B", "canary-host"), ("T", "canary-token")]);
    values.answers.insert("A".to_owned(), "canary-typed".to_owned());
    let look = home.look(&mut values).unwrap();
    assert_eq!((values.asked.len(), look.secrets.env.forwarded.len()), (0, 1));
    drop(look);

    let prepared = home.prepare(home.spec(), &mut values).unwrap();
    assert_eq!(values.asked, ["A: Your word"]);
    let forwarded: Vec<_> =
        prepared.secrets.env.forwarded.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(forwarded, [("A", b"canary-typed".as_slice()), ("B", b"canary-host")], "what is fixed is given up");
    let json = serde_json::to_string(&prepared.plan).unwrap();
    for (path, (_, bytes)) in home.listing() {
        assert!(!String::from_utf8_lossy(&bytes).contains("canary"), "{}", path.display());
    }
    assert!(!json.contains("canary"), "{json}");
}

#[test]
fn ten_at_once_share_neither_slug_nor_network() {
    let home = Home::new();
    let plans: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..10).map(|_| scope.spawn(|| home.prepare(home.spec(), &mut Answers::default()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let slugs: BTreeSet<_> = plans.iter().map(|prepared| prepared.plan.slug.clone()).collect();
    let subnets: BTreeSet<_> = plans.iter().map(|prepared| prepared.plan.bundle_subnet).collect();
    assert_eq!((slugs.len(), subnets.len()), (10, 10));
    assert_eq!(home.root().all().unwrap().iter().filter(|found| found.held).count(), 10);
    drop(plans);
    assert!(!home.path(".bot-bottle/state").exists(), "the last one takes the directory with it");
}

#[test]
fn one_label_is_ten_identities() {
    let home = Home::new();
    let spec = BottleSpec { label: "fix".to_owned(), ..home.spec() };
    let plans: Vec<_> = std::thread::scope(|scope| {
        let start = || home.prepare(spec.clone(), &mut Answers::default()).unwrap();
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let slugs: BTreeSet<_> = plans.iter().map(|prepared| prepared.plan.slug.to_string()).collect();
    let expected = (2..=10).map(|number| format!("fix-{number}")).chain(["fix".to_owned()]);
    assert_eq!(slugs, expected.collect());
    drop(plans);
    let upper = home.prepare(BottleSpec { label: "Fix-Login".to_owned(), ..home.spec() }, &mut Answers::default());
    assert_eq!(upper.unwrap().plan.slug.as_str(), "fix-login");
    let wrong = BottleSpec { label: "Fix it".to_owned(), ..home.spec() };
    let error = home.prepare(wrong, &mut Answers::default()).err().unwrap();
    assert_eq!(
        said(&home, &error),
        "`Fix it` is not the identity of a bottle\n\
         > 1 to 52 lower-case letters, digits and `-`, beginning with a letter or digit, as in `coder-4f2k9`"
    );
}

#[test]
fn the_record_has_bot_bottles_seven_fields_and_brings_the_bottle_back() {
    let home = Home::new().bottle("env: {A: ?word}\n");
    let mut values = Answers::default();
    values.answers.insert("A".to_owned(), "x".to_owned());
    let spec = BottleSpec { copy_cwd: true, ..home.spec() };
    let mut prepared = home.prepare(spec, &mut values).unwrap();
    prepared.state.keep();
    let plan = prepared.plan.clone();
    drop(prepared);

    let text = std::fs::read_to_string(plan.stage_dir.join("metadata.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let fields: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        ["agent_name", "backend", "compose_project", "copy_cwd", "cwd", "identity", "started_at"],
        "and no others"
    );
    assert_eq!(record["backend"], "bottle-vmm");
    assert_eq!(record["cwd"], home.path("repo").to_str().unwrap());
    assert!(humantime::parse_rfc3339(record["started_at"].as_str().unwrap()).is_ok());

    let again = home.resume(&plan.slug, "repo", &mut values).unwrap();
    assert_eq!(values.asked.len(), 2, "what is kept nowhere is asked for again");
    assert_eq!((&again.plan.slug, again.plan.bundle_subnet), (&plan.slug, plan.bundle_subnet));
    assert_eq!(again.plan.workspace_plan, plan.workspace_plan);
    let error = resume(&home.host(), &plan.slug).err().unwrap();
    assert!(said(&home, &error).starts_with(&format!("bottle `{}` is running\n> ", plan.slug)));
    drop(again);
    assert!(plan.stage_dir.is_dir(), "what was kept stays when it was not started after all");
}

/// By name it would be in another network as soon as the one that was in its way has ended, or another has come.
#[test]
fn a_bottle_comes_back_in_the_network_that_it_had_whoever_was_there_before_it() {
    let home = Home::new();
    let spec = BottleSpec { label: "moved".to_owned(), ..home.spec() };
    let first = Subnet::allocate("bot-bottle-moved", None, &[]).unwrap();
    let mut prepared = home.prepare(spec, &mut Answers::default()).unwrap();
    let (slug, had) = (prepared.plan.slug.clone(), prepared.plan.bundle_subnet);
    assert!(!had.contains(&first.gateway()));
    prepared.state.keep();
    drop((prepared, first));

    let again = home.resume(&slug, "repo", &mut Answers::default()).unwrap();
    assert_eq!((again.plan.bundle_subnet, again.notices.len()), (had, 0));
    drop(again);
    let other = Subnet::allocate("other", Some(had.network()), &[]).unwrap();
    assert!(had.contains(&other.gateway()));
    let moved = home.resume(&slug, "repo", &mut Answers::default()).unwrap();
    let is = moved.plan.bundle_subnet;
    let said: Vec<_> = moved.notices.iter().map(ToString::to_string).collect();
    assert_ne!(is, had);
    assert_eq!(
        said,
        [format!("its network was {had}, which another bottle or a route of this host has by now: it is {is}")]
    );
}

#[test]
fn what_cannot_be_resumed_says_why() {
    let record = |backend: &str, cwd: &str| {
        format!(
            r#"{{"identity": "old-1", "agent_name": "coder", "cwd": "{cwd}", "copy_cwd": {}, "started_at": "2026-06-03T21:38:00+00:00",
                "compose_project": "", "backend": "{backend}", "of_a_later_version": 1}}"#,
            !cwd.is_empty()
        )
    };
    let answer = |record: &str| {
        let home = Home::new().with(".bot-bottle/state/old-1/metadata.json", record);
        let before = home.listing();
        let resumed = resume(&home.host(), &Slug::new("old-1").unwrap());
        let theirs = resumed.as_ref().is_err_and(|error| said(&home, error).contains("of bot-bottle"));
        assert!(!theirs || home.listing() == before, "what is bot-bottle's is not written beside");
        match resumed {
            Ok(Kept { spec, .. }) => format!("{} in {}", spec.agent_name, spec.user_cwd.file_name().unwrap().display()),
            Err(error) => said(&home, &error),
        }
    };
    assert_eq!(answer(&record("bottle-vmm", "")), "coder in repo");
    assert_eq!(
        answer(&record("smolmachines", "")),
        "bottle `old-1` was made by the backend `smolmachines` of bot-bottle\n> go on with it there: `bot-bottle resume`"
    );
    assert!(answer(&record("", "")).contains("the backend `docker`"), "what bot-bottle means by nothing");
    assert_eq!(
        answer(&record("bottle-vmm", "/gone")),
        "the directory that bottle `old-1` has a copy of, `/gone`, is not there any more\n> put it back, or `start` a new bottle"
    );
    assert!(answer(&record("bottle-vmm", ".")).contains("is not the record of a bottle: `.` is no absolute path"));
    let broken = answer("{");
    assert!(
        broken.starts_with("`HOME/.bot-bottle/state/old-1/metadata.json` is not the record of a bottle: EOF"),
        "{broken}"
    );
    assert!(
        broken.ends_with("\n> write it anew, or give the bottle up: `rm -r HOME/.bot-bottle/state/old-1`"),
        "{broken}"
    );
    assert!(answer(&record("bottle-vmm", "").replace("old-1", "new-1")).contains("it is the record of `new-1`"));
    let home = Home::new().with(".bot-bottle/state/old-1/metadata.json", &record("bottle-vmm", ""));
    let error = resume(&home.host(), &Slug::new("old-2").unwrap()).err().unwrap();
    assert_eq!(said(&home, &error), "no bottle `old-2` was kept\n> there is only `old-1`");
    let home = home.with(".bot-bottle/state/old-1/metadata.json", &record("docker", ""));
    let error = resume(&home.host(), &Slug::new("old-2").unwrap()).err().unwrap();
    assert!(said(&home, &error).ends_with("`start` makes a new one"), "bot-bottle's is not offered");
}

/// Paths of an earlier version's records, started where there was no directory any more.
#[test]
fn an_origin_that_depends_on_where_it_is_resumed_is_refused() {
    let home = Home::new();
    let slug = kept(&home, "coder");
    let home =
        home.with(&format!(".bot-bottle/state/{slug}/origin.json"), r#"{"directory": ".", "agent_source": "home"}"#);
    let said = said(&home, &resume(&home.host(), &slug).err().unwrap());
    assert!(said.contains("/origin.json` is not the record of a bottle: `.` is no absolute path\n> "), "{said}");
}

/// Starts an agent in `repo`, and keeps the bottle.
fn kept(home: &Home, agent: &str) -> Slug {
    let spec = BottleSpec { agent_name: agent.to_owned(), ..home.spec() };
    let mut prepared = home.prepare(spec, &mut Answers::default()).unwrap();
    prepared.state.keep();
    prepared.plan.slug.clone()
}

#[test]
fn what_is_resumed_elsewhere_has_the_agent_that_it_was_started_with_and_never_another_repositorys() {
    let agent = |prompt: &str| format!("---\nbottle: dev\n---\n{prompt}\n");
    let home = Home::new()
        .bottle("agent_provider: {template: codex, dockerfile: agent/D}\n")
        .with("repo/.bot-bottle/agents/theirs.md", &agent("Of the first."))
        .with("other/.bot-bottle/agents/theirs.md", &agent("Of the other."))
        .with("other/.bot-bottle/agents/coder.md", &agent("Of the other."))
        .with("repo/agent/D", "FROM first\n")
        .with("other/agent/D", "FROM other\n");
    let prompt = |prepared: &Prepared| std::fs::read_to_string(&prepared.plan.prompt_file).unwrap();
    let values = &mut Answers::default();
    let (theirs, own) = (kept(&home, "theirs"), kept(&home, "coder"));
    for (slug, said) in [(&theirs, "Of the first."), (&own, "Go.")] {
        let again = home.resume(slug, "other", values).unwrap();
        assert_eq!(prompt(&again).trim_end(), said);
        assert_eq!(again.plan.agent_dockerfile.as_deref(), Some(home.path("repo/agent/D").as_path()));
    }
    let refused = |slug| home.resume(slug, "other", &mut Answers::default()).map(|_| ()).unwrap_err();

    // One of the user's own that has gone is not made up for by one that a repository has, wherever it is resumed.
    std::fs::remove_file(home.path(".bot-bottle/agents/coder.md")).unwrap();
    assert!(matches!(refused(&own), PlanError::Catalogue(_)));
    let home = home.with("repo/.bot-bottle/agents/coder.md", &agent("Slipped in."));
    let refused = |slug| home.resume(slug, "other", &mut Answers::default()).map(|_| ()).unwrap_err();
    let said = said(&home, &refused(&own));
    assert!(
        said.starts_with(&format!("bottle `{own}` has an agent `coder` of your own, which is not there any more")),
        "{said}"
    );

    std::fs::remove_dir_all(home.path("repo")).unwrap();
    assert!(matches!(refused(&theirs), PlanError::NoRepository { .. }));
}

#[test]
fn a_bottle_of_before_such_records_is_the_users_own_agents() {
    let home = Home::new().with("repo/.bot-bottle/agents/theirs.md", "---\nbottle: dev\n---\nOf the first.\n");
    let (theirs, own) = (kept(&home, "theirs"), kept(&home, "coder"));
    for slug in [&theirs, &own] {
        std::fs::remove_file(home.root().directory(slug).join("origin.json")).unwrap();
    }
    assert!(home.resume(&own, "repo", &mut Answers::default()).is_ok());
    let error = home.resume(&theirs, "repo", &mut Answers::default()).err().unwrap();
    assert!(matches!(error, PlanError::OtherAgent { .. }));
}

#[test]
fn the_image_is_the_hosts_word_then_the_bottles_then_the_providers() {
    let image = |home: &Home, host: &Host| {
        let prepared = home.prepare_on(host, home.spec(), Depth::Start, Ok(()), &mut Answers::default()).unwrap();
        let slug = prepared.plan.slug.to_string();
        let path = prepared.plan.agent_dockerfile.map(|path| path.display().to_string().replace(&slug, "SLUG"));
        let path = path.map(|path| path.replace(&home.0.path().display().to_string(), "HOME"));
        (prepared.plan.agent_image_ref.replace(&slug, "SLUG"), path.unwrap_or_default())
    };
    let pair = |reference: &str, dockerfile: &str| (reference.to_owned(), dockerfile.to_owned());
    let home = Home::new();
    assert_eq!(
        image(&home, &home.host()),
        pair("bot-bottle-claude:latest", "HOME/.bot-bottle/state/SLUG/image/Dockerfile")
    );
    let absolute = home.path("abs/D").display().to_string();
    for (written, path) in [("~/D", "HOME/D"), ("agent/D", "HOME/repo/agent/D"), (absolute.as_str(), "/D")] {
        let home = Home::new().bottle(&format!("agent_provider: {{template: codex, dockerfile: {written}}}\n"));
        let told = Host { image: Some("docker-daemon:agent".to_owned()), ..home.host() };
        assert_eq!(image(&home, &told), pair("docker-daemon:agent", ""), "whether or not there is a Dockerfile");
        let refused = home.prepare(home.spec(), &mut Answers::default()).err().unwrap();
        assert!(matches!(refused, PlanError::NoDockerfile { .. }), "before anything is asked");
        let look = home.prepare_on(&home.host(), home.spec(), Depth::Look, Ok(()), &mut Answers::default()).unwrap();
        assert!(matches!(look.notices.first(), Some(Notice::NoImage(PlanError::NoDockerfile { .. }))));
        if path == "/D" {
            continue;
        }
        let home = home.with(&path.replace("HOME/", ""), "FROM scratch\n");
        assert_eq!(image(&home, &home.host()), pair("bot-bottle-codex:SLUG", path));
    }
}

/// A plan may be for another machine; a start is on this one, and begins nothing.
#[test]
fn an_image_that_is_not_there_is_told_of_a_plan_and_ends_a_start() {
    let home = Home::new().bottle("env: {A: ?word}\n");
    let told = Host { image: Some(home.path("agent.tar").display().to_string()), ..home.host() };
    let prepare = |depth| home.prepare_on(&told, home.spec(), depth, Ok(()), &mut Answers::default());
    let notices = |prepared: &Prepared| prepared.notices.iter().map(ToString::to_string).collect::<Vec<_>>();
    let missing =
        format!("the image that BOT_BOTTLE_IMAGE names, `{}`, is not there", home.path("agent.tar").display());
    let look = prepare(Depth::Look).unwrap();
    assert_eq!(notices(&look), [format!("it could not start on this machine: {missing}"), GATEWAYS.to_owned()]);
    drop(look);
    let before = home.listing();
    assert_eq!(prepare(Depth::Start).err().unwrap().to_string(), missing);
    assert_eq!(home.listing(), before);
    let home = home.with("agent.tar", "");
    let there = home.prepare_on(&told, home.spec(), Depth::Look, Ok(()), &mut Answers::default()).unwrap();
    assert_eq!(notices(&there), [GATEWAYS]);
}

/// Every agent of a built-in provider needs the first.
const GATEWAYS: &str = "it needs `egress` from a bundle: a start takes `--bundle external=ADDRESS`";

#[test]
fn a_worktrees_repository_is_not_in_the_copy_and_that_is_said() {
    let notices = |home: &Home, copy_cwd| {
        let prepared = home.prepare(BottleSpec { copy_cwd, ..home.spec() }, &mut Answers::default()).unwrap();
        prepared.notices.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let worktree = Home::new().with("repo/.git", "gitdir: /elsewhere/.git/worktrees/repo\n");
    let said = notices(&worktree, true);
    assert!(said.len() == 1 && said[0].contains("/repo/.git` is a file, as in a worktree or a submodule"), "{said:?}");
    assert_eq!(notices(&worktree, false), [""; 0]);
    assert_eq!(notices(&Home::new().with("repo/.git/HEAD", ""), true), [""; 0]);
}

#[test]
fn a_variable_of_the_bottles_that_is_ours_is_named() {
    let home = Home::new().bottle("env: {NO_PROXY: canary, HTTP_PROXY: canary, MINE: x}\n");
    let look = home.look(&mut Answers::default()).unwrap();
    let said: Vec<_> = look.notices.iter().map(ToString::to_string).collect();
    assert_eq!(said, [GATEWAYS, "`NO_PROXY` is set by us: the value is not used that the bottle's `env` has"]);
    drop(look);
    let start = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let said: Vec<_> = start.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["`HTTP_PROXY` and `NO_PROXY` are set by us: the values are not used that the bottle's `env` has"]
    );
}

#[test]
fn an_image_is_a_name_that_a_program_knows_or_a_path_from_where_it_is_written() {
    let home = Home::new();
    let host = home.host();
    let plain = |text: String| text.replace(&home.0.path().display().to_string(), "HOME");
    let from = |written: &str| plain(host.image(written, &host.current).unwrap());
    for (written, image) in [
        ("-", "-"),
        ("docker-daemon:debian:12", "docker-daemon:debian:12"),
        ("containers-storage:localhost/agent", "containers-storage:localhost/agent"),
        ("agent.tar", "HOME/repo/agent.tar"),
        ("./docker-daemon:x", "HOME/repo/./docker-daemon:x"),
        ("~/agent.tar", "HOME/agent.tar"),
        ("~other/agent.tar", "HOME/repo/~other/agent.tar"),
        ("/images/agent.tar", "/images/agent.tar"),
    ] {
        assert_eq!(from(written), image);
    }
    let nobody = Host { home: None, ..home.host() };
    assert!(matches!(nobody.image("~/agent.tar", &nobody.current), Err(PlanError::NoHome { .. })));
}

#[test]
fn a_login_or_dockerfile_that_is_not_there_is_said_before_anything_is_asked_or_written() {
    for provider in ["{template: codex, forward_host_credentials: true}", "{template: claude, dockerfile: nowhere}"] {
        let home = Home::new().bottle(&format!("agent_provider: {provider}\nenv: {{A: ?word}}\n"));
        let mut values = Answers::default();
        assert!(home.prepare(home.spec(), &mut values).is_err());
        assert!(values.asked.is_empty() && !home.path(".bot-bottle/state").exists(), "{provider}");
    }
}

#[test]
fn bottles_side_by_side_are_united_and_the_later_one_wins() {
    let home = Home::new()
        .bottle(
            "env: {A: one, B: one}\negress: {routes: [{host: a.example}, {host: b.example, path_allowlist: [/x]}]}\n",
        )
        .with(
            ".bot-bottle/bottles/docs.md",
            "---\nenv: {B: two}\negress: {routes: [{host: b.example}, {host: c.example}]}\nsupervise: true\n---\n",
        );
    let names = ["dev", "docs"].map(|name| Name::new(name).unwrap()).to_vec();
    let spec = BottleSpec { bottle_names: names.clone(), ..home.spec() };
    let mut prepared = home.prepare(spec, &mut Answers::default()).unwrap();
    let routes = prepared.plan.egress_plan.routes.iter().skip(1); // the provider's
    let routes: Vec<_> = routes.map(|route| (route.host.as_str(), route.matches.len())).collect();
    assert_eq!(routes, [("a.example", 0), ("b.example", 0), ("c.example", 0)]);
    assert_eq!(prepared.secrets.env.literals.values().map(String::as_str).collect::<Vec<_>>(), ["one", "two"]);
    assert!(prepared.plan.supervise_plan.is_some());
    prepared.state.keep();
    let slug = prepared.plan.slug.clone();
    drop(prepared);
    assert_eq!(resume(&home.host(), &slug).unwrap().spec.bottle_names, names);
}
