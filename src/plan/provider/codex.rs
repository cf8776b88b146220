//! OpenAI's Codex.

use std::io::{self, Read as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bottle_protocol::SecretBytes;
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Parts, PromptMode, ProviderError, ProviderRuntime, route, variables, words};
use crate::manifest::Variable;
use crate::manifest::egress::Route;
use crate::plan::environment::CERTIFICATES;
use crate::plan::regular;
use crate::plan::spec::Host;
use crate::plan::workspace::WorkspacePlan;

/// Where its models are: with an API key, and with a login.
const API: &str = "api.openai.com";
const LOGIN_API: &str = "chatgpt.com";
/// What the proxy gets the login's token as.
const TOKEN: &str = "BOT_BOTTLE_CODEX_ACCESS_TOKEN";
/// Longer than this, it is no login.
const LOGIN_MAX: u64 = 1 << 20;
/// Where a token says whose it is.
const CLAIM: &str = "https://api.openai.com/auth";

pub(super) fn runtime() -> ProviderRuntime {
    ProviderRuntime {
        template: "codex".to_owned(),
        command: "codex".to_owned(),
        image: "bot-bottle-codex:latest".to_owned(),
        dockerfile: None,
        built_in_dockerfile: Some(include_str!("Dockerfile.codex")),
        // It reads instructions for all projects from there.
        prompt_mode: PromptMode::File(".codex/AGENTS.md".to_owned()),
        bypass_args: words(&["--dangerously-bypass-approvals-and-sandbox"]),
        resume_args: words(&["resume", "--last"]),
        headless_args: words(&["exec"]),
        ends_options: true,
    }
}

pub(super) fn parts(login: Option<Login>, workspace: &WorkspacePlan) -> Parts {
    let mut parts = Parts {
        // Its TLS library does not look where others do.
        env_vars: variables(&[("CODEX_CA_CERTIFICATE", CERTIFICATES)]),
        files: vec![("config.toml", ".codex/config.toml", trust(workspace))],
        routes: routes(login.is_some()),
        ..Parts::default()
    };
    if let Some(login) = login {
        parts.files.push(("auth.json", ".codex/auth.json", login.dummy));
        if let Ok(name) = Variable::new(TOKEN) {
            parts.secrets.insert(name, login.token);
        }
    }
    parts
}

pub(super) fn routes(login: bool) -> Vec<Route> {
    let login = Variable::new(TOKEN).ok().filter(|_| login).and_then(|name| route(LOGIN_API, Some(name)));
    login.into_iter().chain(route(API, None)).collect()
}

/// A path in a basic string of TOML, whose escapes are JSON's.
fn trust(workspace: &WorkspacePlan) -> String {
    format!("[projects.{}]\ntrust_level = \"trusted\"\n", Value::from(workspace.trusted_path.as_str()))
}

/// A login of the host in two halves.
pub(super) struct Login {
    /// For the proxy.
    token: SecretBytes,
    /// For the agent: whose login it is and until when, and nothing that opens anything.
    dummy: String,
}

/// Looked for before anything is asked or written.
pub(super) fn read_login(host: &Host) -> Result<Login, ProviderError> {
    let path = host.codex_home.clone().unwrap_or_else(|| PathBuf::from("/")).join("auth.json");
    let unreadable = |source: io::Error| ProviderError::NoLogin { path: path.clone(), source };
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(LOGIN_MAX).unwrap_or_default()));
    regular::open(&path).and_then(|file| file.take(LOGIN_MAX).read_to_string(&mut text)).map_err(unreadable)?;
    let mut login: Value = serde_json::from_str(&text).unwrap_or_default();
    let parted = part(&login);
    wipe(&mut login);
    parted.ok_or(ProviderError::OtherLogin { path })
}

fn part(login: &Value) -> Option<Login> {
    let tokens = login.get("tokens")?;
    let access = tokens.get("access_token")?.as_str().filter(|token| !token.is_empty())?;
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(access.split('.').nth(1)?).ok()?);
    let mut claims: Value = serde_json::from_slice(&claims).ok()?;
    let expires = claims.get("exp").and_then(Value::as_i64);
    wipe(&mut claims);
    let account = tokens.get("account_id").and_then(Value::as_str).unwrap_or_default();
    let dummy = dummy_token(expires?, account);
    let dummy = json!({
        "OPENAI_API_KEY": null,
        "tokens": {"id_token": dummy, "access_token": dummy, "refresh_token": "placeholder", "account_id": account},
        "last_refresh": login.get("last_refresh").and_then(Value::as_str),
    });
    let mut token = SecretBytes::with_capacity(access.len());
    token.extend_from_slice(access.as_bytes());
    Some(Login { token, dummy: format!("{dummy:#}\n") })
}

/// A token that says who and until when, and that nobody has signed (RFC 7519 §6).
fn dummy_token(expires: i64, account: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"exp": expires, CLAIM: {"chatgpt_account_id": account}});
    format!("{}.{}.{}", part(json!({"alg": "none", "typ": "JWT"})), part(claims), URL_SAFE_NO_PAD.encode("placeholder"))
}

/// All texts of a value that held secrets.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
