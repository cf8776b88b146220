//! A plan as people read it before they say yes: aligned, within 80 columns, no colour. Names of variables, never a value; nothing that
//! only a program needs.

use crate::launch::harmless;
use crate::manifest::matches::{Match, PathRule};
use crate::manifest::{Name, Source};
use crate::plan::BottlePlan;
use crate::plan::egress::PlannedRoute;
use crate::plan::environment::Origin as ValueOrigin;
use crate::plan::git_gate::PlannedRepo;
use std::path::Path;

const WIDTH: usize = 80;
const LABEL: usize = 11;

type Rows = Vec<(&'static str, Vec<String>)>;

/// What is shown before a bottle is started.
pub fn preflight(plan: &BottlePlan) -> String {
    render(&rows(plan))
}

/// The same, and what `plan` shows besides.
pub fn whole(plan: &BottlePlan) -> String {
    let mut rows = rows(plan);
    rows.extend([
        ("image", vec![plan.agent_image_ref.clone()]),
        ("built from", plan.agent_dockerfile.iter().map(|path| dockerfile(plan, path)).collect()),
        ("command", vec![plan.agent_provision.argv.join(" ")]),
        ("in", vec![plan.workspace_plan.workdir.clone()]),
        ("machine", vec![plan.machine_name.clone()]),
        ("network", vec![format!("{}, gateways at {}", plan.bundle_subnet, plan.bundle_ip)]),
    ]);
    render(&rows)
}

/// Ours is at no path that anybody could look at.
fn dockerfile(plan: &BottlePlan, path: &Path) -> String {
    if plan.has_built_in_dockerfile() {
        return format!("built-in ({})", plan.agent_provision.runtime.template);
    }
    path.display().to_string()
}

fn rows(plan: &BottlePlan) -> Rows {
    // A dummy value of the provider's is hidden; what the bottle gives instead is not.
    let hidden = |name: &str, origin: &ValueOrigin| {
        let listed = plan.agent_provision.hidden_env_names.iter().any(|hidden| hidden.as_str() == name);
        listed && matches!(origin, ValueOrigin::Provider { .. })
    };
    let shown = plan.guest_env.iter().filter(|(name, origin)| !hidden(name.as_str(), origin));
    let env: Vec<_> = shown.map(|(name, _)| name.as_str()).collect();
    let skills: Vec<_> = plan.skills.iter().map(|skill| skill.name.as_str()).collect();
    let user = &plan.git_gate_plan.user;
    let user = [user.name.clone(), user.email.as_ref().map(|email| format!("<{email}>"))];
    let workspace = plan.workspace_plan.host_path.as_ref().map(|path| format!("a copy of {}", path.display()));
    let theirs = if plan.agent_source == Source::Repository { ", of this repository" } else { "" };
    vec![
        ("agent", vec![format!("{}{theirs}", plan.spec.agent_name)]),
        ("bottle", vec![lineage(plan)]),
        ("provider", vec![plan.agent_provision.runtime.template.clone()]),
        ("env", some(env.join(", "))),
        ("skills", some(skills.join(", "))),
        ("workspace", workspace.into_iter().collect()),
        ("git user", some(user.into_iter().flatten().collect::<Vec<_>>().join(" "))),
        ("git", plan.git_gate_plan.repos.iter().map(repo_line).collect()),
        ("egress", plan.egress_plan.routes.iter().map(route_line).collect()),
        ("supervise", vec![if plan.supervise_plan.is_some() { "yes" } else { "no" }.to_owned()]),
    ]
}

/// The root first; side by side where several were given: the line of each ends where its own name comes first, as no bottle extends itself.
fn lineage(plan: &BottlePlan) -> String {
    let mut rest = plan.bottle_lineage.as_slice();
    let mut lines = vec![];
    for end in &plan.spec.bottle_names {
        let length = rest.iter().position(|name| name == end).map_or(rest.len(), |at| at + 1);
        let (line, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        lines.push(line);
        rest = others;
    }
    lines.push(rest);
    let shown = |line: &[Name]| line.iter().map(Name::as_str).collect::<Vec<_>>().join(" → ");
    lines.into_iter().filter(|line| !line.is_empty()).map(shown).collect::<Vec<_>>().join(" + ")
}

fn some(text: String) -> Vec<String> {
    if text.is_empty() { vec![] } else { vec![text] }
}

fn repo_line(repo: &PlannedRepo) -> String {
    let pinned = if repo.forwards { "" } else { " (no host_key: nothing will be forwarded)" };
    format!("{} → {}:{}{pinned}", repo.name, repo.upstream.host, repo.upstream.port)
}

fn route_line(route: &PlannedRoute) -> String {
    let auth = route.auth.as_ref().map(|auth| format!(" [auth:{}]", auth.scheme.as_str())).unwrap_or_default();
    let matches = match route.matches.as_slice() {
        [] => String::new(),
        [only] => paths(only).unwrap_or_else(|| " 1 match rule".to_owned()),
        rules => format!(" {} match rules", rules.len()),
    };
    format!("{}{auth}{matches}", route.host)
}

/// The beginnings of paths, where a rule has nothing else.
fn paths(rule: &Match) -> Option<String> {
    let prefix = |path: &PathRule| match path {
        PathRule::Prefix(path) => Some(format!(" {path}")),
        PathRule::Exact(_) | PathRule::Regex(_) => None,
    };
    if rule.methods.is_empty() && rule.headers.is_empty() { rule.paths.iter().map(prefix).collect() } else { None }
}

/// What is empty is left out.
fn render(rows: &Rows) -> String {
    let mut text = String::new();
    for (label, items) in rows {
        let lines = items.iter().flat_map(|item| wrapped(item, WIDTH - LABEL));
        for (index, line) in lines.enumerate() {
            let label = if index == 0 { label } else { "" };
            text += format!("{label:LABEL$}{line}").trim_end();
            text.push('\n');
        }
    }
    text
}

/// Broken at blanks, and within a word only if that alone is too long for a line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let letters: Vec<char> = harmless(&word.replace(char::is_control, "\u{fffd}")).chars().collect();
        for (index, piece) in letters.chunks(width.max(1)).enumerate() {
            let piece: String = piece.iter().collect();
            match lines.last_mut() {
                Some(line) if line.is_empty() => *line = piece,
                Some(line) if index == 0 && line.chars().count() + 1 + piece.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

#[cfg(test)]
#[path = "summary_test.rs"]
mod tests;
