use super::super::testing::{Answers, Home};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs;

fn codex_home(login: &str) -> Home {
    Home::new()
        .bottle("agent_provider: {template: codex, forward_host_credentials: true}\n")
        .with(".codex/auth.json", login)
}

fn token(claims: &str) -> String {
    format!("{}.{}.canary-signature", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn codex_gets_whose_login_it_is_and_until_when_and_the_proxy_the_token() {
    let access = token(r#"{"exp": 1790000000, "email": "canary@example.com"}"#);
    let home = codex_home(&format!(
        r#"{{"OPENAI_API_KEY": "canary-key", "last_refresh": "2026-11-01T00:00:00Z", "tokens":
            {{"id_token": "canary-id", "access_token": "{access}", "refresh_token": "canary-refresh", "account_id": "acc-7"}}}}"#
    ));
    let prepared = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    let plan = &prepared.plan.agent_provision;
    let dummy = fs::read_to_string(prepared.plan.stage_dir.join("agent/auth.json")).unwrap();
    assert!(!dummy.contains("canary"), "{dummy}");
    let dummy: serde_json::Value = serde_json::from_str(&dummy).unwrap();
    assert_eq!((&dummy["tokens"]["account_id"], &dummy["OPENAI_API_KEY"]), (&"acc-7".into(), &serde_json::Value::Null));
    let claims = dummy["tokens"]["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["exp"], 1_790_000_000);

    let secrets: Vec<_> = prepared.secrets.provisioned.iter().collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!((secrets[0].0.as_str(), secrets[0].1.expose()), ("BOT_BOTTLE_CODEX_ACCESS_TOKEN", access.as_bytes()));
    assert_eq!(prepared.plan.egress_plan.token_slots.values().collect::<Vec<_>>(), [secrets[0].0]);
    let hosts: Vec<_> = prepared.plan.egress_plan.routes.iter().map(|route| route.host.as_str()).collect();
    assert_eq!(hosts, ["chatgpt.com", "api.openai.com"]);
    assert_eq!(plan.argv, ["codex", "--dangerously-bypass-approvals-and-sandbox"]);
    let files: Vec<_> = plan.files.iter().map(|file| file.guest_path.as_str()).collect();
    assert_eq!(files, ["/home/node/.codex/config.toml", "/home/node/.codex/auth.json", "/home/node/.codex/AGENTS.md"]);
    assert_eq!(plan.dirs, ["/home/node/.codex"]);
    assert!(!serde_json::to_string(&prepared.plan).unwrap().contains("canary"));
}

#[test]
fn what_is_no_login_is_refused_without_being_shown() {
    for login in ["", "{", "[]", r#"{"OPENAI_API_KEY": "canary"}"#, r#"{"tokens": {"access_token": "canary"}}"#] {
        let home = codex_home(login);
        let error = home.prepare(home.spec(), &mut Answers::default()).err().unwrap();
        let said = format!("{error} {}", error.hint());
        assert!(said.contains("auth.json` holds no login with ChatGPT") && !said.contains("canary"), "{said}");
    }
}

#[test]
fn a_fifo_in_place_of_a_file_is_refused_and_not_waited_for() {
    let mine = Home::new().bottle("agent_provider: {template: mine}\n");
    let cases = [(codex_home(""), ".codex/auth.json"), (mine, ".bot-bottle/contrib/mine/provider.json")];
    for (home, name) in cases {
        let path = home.path(name);
        let _ours = fs::remove_file(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = home.prepare(home.spec(), &mut Answers::default()).err().unwrap();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let said = format!("{error}: {source}");
        assert!(said.contains(name) && said.contains("it is not a file"), "{said}");
    }
}

#[test]
fn claude_has_a_dummy_only_if_there_is_a_token_and_nobody_sees_it() {
    let with = Home::new().bottle("agent_provider: {auth_token: CLAUDE}\n");
    let prepared = with.prepare(with.spec(), &mut Answers::with(&[("CLAUDE", "canary")])).unwrap();
    let hidden = &prepared.plan.agent_provision.hidden_env_names;
    assert_eq!(hidden.iter().map(Variable::as_str).collect::<Vec<_>>(), ["CLAUDE_CODE_OAUTH_TOKEN"]);
    let auth = prepared.plan.egress_plan.routes[0].auth.as_ref().unwrap();
    assert_eq!((auth.scheme, auth.slot.as_str()), (Scheme::Bearer, "EGRESS_TOKEN_0"));
    let settings = fs::read(prepared.plan.stage_dir.join("agent/claude.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_slice(&settings).unwrap();
    assert_eq!(settings["projects"]["/home/node"]["hasTrustDialogAccepted"], true);

    let without = Home::new();
    let prepared = without.prepare(without.spec(), &mut Answers::default()).unwrap();
    assert!(prepared.plan.agent_provision.hidden_env_names.is_empty());
    assert!(prepared.plan.guest_env.names().all(|name| name != "CLAUDE_CODE_OAUTH_TOKEN"));
    assert_eq!(prepared.plan.egress_plan.routes[0].auth, None);
}

#[test]
fn an_empty_prompt_is_a_file_that_the_agent_is_not_told_of() {
    let runtime = claude::runtime();
    let bypass = "--dangerously-skip-permissions";
    assert_eq!(argv(&runtime, "", None), ["claude", bypass]);
    assert_eq!(argv(&runtime, "Go.", None), ["claude", bypass, "--append-system-prompt-file", GUEST_PROMPT]);
    assert_eq!(argv(&runtime, "", Some("fix it")), ["claude", "-p", bypass, "--", "fix it"]);
    let batch = ["codex", "exec", "--dangerously-bypass-approvals-and-sandbox", "--", "--version"];
    assert_eq!(argv(&codex::runtime(), "Go.", Some("--version")), batch, "a task is no option");
    let home = Home::new().with(".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\n");
    let prepared = home.prepare(home.spec(), &mut Answers::default()).unwrap();
    assert_eq!(fs::read(&prepared.plan.prompt_file).unwrap(), b"");
    assert_eq!(prepared.plan.agent_provision.argv, ["claude", bypass]);
}

fn own(description: &str) -> Home {
    Home::new().bottle("agent_provider: {template: mine}\n").with(".bot-bottle/contrib/mine/provider.json", description)
}

#[test]
fn a_provider_of_ones_own_is_a_description_and_perhaps_a_dockerfile() {
    let home = own(r#"{"command": "agent", "prompt_mode": {"arguments": ["--system"]}, "bypass_args": ["--yes"],
            "env_vars": {"AGENT_QUIET": "1"}, "egress_routes": [{"host": "api.mine.example", "token_ref": "MINE"}]}"#)
    .with(".bot-bottle/contrib/mine/Dockerfile", "FROM scratch\n");
    let prepared = home.prepare(home.spec(), &mut Answers::with(&[("MINE", "x")])).unwrap();
    let plan = &prepared.plan;
    assert_eq!(plan.agent_provision.argv, ["agent", "--yes", "--system", GUEST_PROMPT]);
    assert_eq!(plan.agent_image_ref, "bot-bottle-mine:latest");
    assert_eq!(plan.agent_dockerfile.as_deref(), Some(home.path(".bot-bottle/contrib/mine/Dockerfile").as_path()));
    assert_eq!(plan.egress_plan.token_slots["EGRESS_TOKEN_0"].as_str(), "MINE");
    assert_eq!(plan.agent_provision.egress_routes[0].host.as_str(), "api.mine.example");
}

#[test]
fn an_image_of_ones_own_provider_lies_beside_its_description_unless_it_is_built_there() {
    let image = |written: &str, dockerfile: bool| {
        let home = own(&format!(r#"{{"command": "agent", "image": "{written}"}}"#));
        let home = if dockerfile { home.with(".bot-bottle/contrib/mine/Dockerfile", "FROM scratch\n") } else { home };
        let prepared = home.look(&mut Answers::default()).unwrap();
        assert_eq!(prepared.notices.len(), usize::from(written.contains("agent.tar")), "of those it is not there");
        prepared.plan.agent_image_ref.replace(&home.0.path().display().to_string(), "HOME")
    };
    assert_eq!(image("agent.tar", false), "HOME/.bot-bottle/contrib/mine/agent.tar");
    assert_eq!(image("~/agent.tar", false), "HOME/agent.tar");
    assert_eq!(image("docker-daemon:agent", false), "docker-daemon:agent");
    assert_eq!(image("agent:latest", true), "agent:latest", "what the result is called");
}

#[test]
fn routes_are_known_without_a_login_and_are_those_of_the_plan() {
    let home = own(
        r#"{"command": "agent", "image": "docker-daemon:a", "egress_routes": [{"host": "api.mine.example", "token_ref": "MINE"}]}"#,
    );
    let provider = |template, auth_token, forward_host_credentials| AgentProvider {
        template,
        auth_token,
        forward_host_credentials,
        ..AgentProvider::default()
    };
    let told = |provider: &AgentProvider| {
        let routes = routes(provider, &home.host()).unwrap();
        let token = |route: &Route| route.auth.as_ref().map(|auth| auth.token_ref.to_string()).unwrap_or_default();
        routes.iter().map(|route| format!("{} {}", route.host, token(route))).collect::<Vec<_>>()
    };
    let token = Variable::new("CLAUDE").ok();
    assert_eq!(told(&provider(Template::Claude, token, false)), ["api.anthropic.com CLAUDE"]);
    assert_eq!(
        told(&provider(Template::Codex, None, true)),
        ["chatgpt.com BOT_BOTTLE_CODEX_ACCESS_TOKEN", "api.openai.com "]
    );
    let mine = provider(Template::Own(crate::manifest::Name::new("mine").unwrap()), None, false);
    assert_eq!(told(&mine), ["api.mine.example MINE"]);
    let prepared = home.prepare(home.spec(), &mut Answers::with(&[("MINE", "x")])).unwrap();
    assert_eq!(prepared.plan.agent_provision.egress_routes, routes(&mine, &home.host()).unwrap());
}

/// What the Dockerfiles that come with us say, against what plans are made of.
#[test]
fn the_dockerfiles_agree_with_the_plans() {
    for (runtime, package) in [(claude::runtime(), "@anthropic-ai/claude-code"), (codex::runtime(), "@openai/codex")] {
        let text = runtime.built_in_dockerfile.unwrap();
        let last = |word: &str| text.lines().filter_map(|line| line.strip_prefix(word)).next_back();
        assert_eq!(last("USER "), Some(crate::plan::GUEST_USER));
        assert_eq!(last("WORKDIR "), Some(GUEST_HOME));
        assert_eq!(last("CMD "), Some(format!("[\"{}\"]", runtime.command).as_str()));
        assert!(text.contains(&format!("npm install --global {package} ")), "{package}");
        // What plans, provisioning and the agents themselves take for granted.
        for needed in ["ca-certificates", "git", &format!("{GUEST_HOME}/.claude/skills")] {
            assert!(text.split_whitespace().any(|word| word == needed), "{needed}");
        }
        // `RUN` is as root until the user is named.
        let user = text.lines().position(|line| line.starts_with("USER ")).unwrap();
        assert!(text.lines().skip(user).all(|line| !line.starts_with("RUN ")));
    }
}

#[test]
fn a_description_that_is_wrong_says_where() {
    let said = |description: &str| {
        let home = own(description);
        let error = home.prepare(home.spec(), &mut Answers::default()).err().unwrap();
        assert!(error.hint().starts_with("README, "), "{}", error.hint());
        error.to_string().replace(&format!("{}/", home.0.path().display()), "")
    };
    let place = "`.bot-bottle/contrib/mine/provider.json`: ";
    for (description, why) in [
        ("{", "EOF while parsing an object at line 1 column 1"),
        (r#"{"command": "a"}"#, "it names no `image`, and there is no Dockerfile beside it"),
        (r#"{"command": "", "image": "i"}"#, "`command` is empty"),
        (
            r#"{"command": "a", "image": "i", "prompt_mode": {"file": "../x"}}"#,
            "`../x` is not a path in the guest's home",
        ),
        (
            r#"{"command": "a", "image": "i", "egress_routes": [{"host": "https://a"}]}"#,
            "in `egress_routes`: `https://a` is not a host name",
        ),
        (
            r#"{"command": "a", "image": "i", "env_vars": {"A=canary": "x"}}"#,
            "in `env_vars`: this is not the name of an environment variable",
        ),
    ] {
        assert_eq!(said(description), format!("{place}{why}"));
    }
    assert!(
        said(r#"{"command": "a", "imag": "i"}"#).contains("unknown field `imag`, expected one of `command`, `image`")
    );
    let home = Home::new().bottle("agent_provider: {template: mine}\n").with(".bot-bottle/contrib/mine/README", "");
    let error = home.prepare(home.spec(), &mut Answers::default()).err().unwrap();
    assert!(error.to_string().starts_with("provider `mine` has no readable description"), "{error}");
}
