//! Claude Code.

use serde_json::json;

use super::{Parts, PromptMode, ProviderRuntime, route, variables, words};
use crate::manifest::Variable;
use crate::manifest::egress::Route;
use crate::plan::GUEST_HOME;
use crate::plan::workspace::WorkspacePlan;

/// Where its model is.
const API: &str = "api.anthropic.com";
/// It starts only with a token; which, the proxy decides.
const TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
const DUMMY: &str = "placeholder-the-real-token-is-outside-the-bottle";

pub(super) fn runtime() -> ProviderRuntime {
    ProviderRuntime {
        template: "claude".to_owned(),
        command: "claude".to_owned(),
        image: "bot-bottle-claude:latest".to_owned(),
        dockerfile: None,
        built_in_dockerfile: Some(include_str!("Dockerfile.claude")),
        prompt_mode: PromptMode::Arguments(words(&["--append-system-prompt-file"])),
        bypass_args: words(&["--dangerously-skip-permissions"]),
        resume_args: words(&["--continue"]),
        headless_args: words(&["-p"]),
        ends_options: true,
    }
}

pub(super) fn parts(auth_token: Option<Variable>, workspace: &WorkspacePlan) -> Parts {
    let mut env_vars =
        variables(&[("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_ERROR_REPORTING", "1")]);
    let dummies = variables(if auth_token.is_some() { &[(TOKEN, DUMMY)] } else { &[] });
    let hidden = dummies.keys().cloned().collect();
    env_vars.extend(dummies);
    Parts {
        env_vars,
        hidden,
        routes: routes(auth_token),
        files: vec![("claude.json", ".claude.json", settings(workspace))],
        ..Parts::default()
    }
}

pub(super) fn routes(auth_token: Option<Variable>) -> Vec<Route> {
    route(API, auth_token).into_iter().collect()
}

/// What it would ask at its first start: whether it may work here, and act without asking.
fn settings(workspace: &WorkspacePlan) -> String {
    let trusted = json!({"hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true});
    let mut projects = serde_json::Map::new();
    for path in [GUEST_HOME, &workspace.trusted_path] {
        projects.insert(path.to_owned(), trusted.clone());
    }
    let settings = json!({"hasCompletedOnboarding": true, "bypassPermissionsModeAccepted": true, "projects": projects});
    format!("{settings:#}\n")
}
