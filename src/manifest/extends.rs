//! How a bottle's settings and its parent's become one. Law: pure and associative, so a lineage can be folded from either end; the
//! child wins.
//!
//! `env` goes by variable and `git-gate.user` by field. `agent_provider`, `git-gate.repos`, `egress` and `supervise` are replaced
//! whole where the child declares them: a child's list of routes is then all there is to read, and an empty one closes everything.

use super::bottle::Bottle;
use super::egress::{Egress, Route};
use super::git_gate::{GitGate, GitUser};

/// `parent` as `child` changes it. What the result extends is what the parent does.
#[must_use]
pub fn merge(parent: Bottle, child: Bottle) -> Bottle {
    let mut env = parent.env;
    env.extend(child.env);
    Bottle {
        extends: parent.extends,
        env,
        agent_provider: child.agent_provider.or(parent.agent_provider),
        git_gate: GitGate {
            user: overlay(parent.git_gate.user, child.git_gate.user),
            repos: child.git_gate.repos.or(parent.git_gate.repos),
        },
        egress: child.egress.or(parent.egress),
        supervise: child.supervise.or(parent.supervise),
    }
}

/// Bottles that are given side by side: as [`merge`], but repositories go by name and routes by host, as none was written with the
/// others in mind.
#[must_use]
pub fn combine(earlier: Bottle, later: Bottle) -> Bottle {
    let repos = match (earlier.git_gate.repos.clone(), later.git_gate.repos.clone()) {
        (Some(mut repos), Some(more)) => {
            repos.extend(more);
            Some(repos)
        }
        (one, other) => one.or(other),
    };
    let egress = match (earlier.egress.clone(), later.egress.clone()) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    };
    let merged = merge(earlier, later);
    Bottle { egress, git_gate: GitGate { repos, ..merged.git_gate }, ..merged }
}

fn both(earlier: Egress, later: Egress) -> Egress {
    let replaced = |route: &Route| later.routes.iter().any(|other| other.host == route.host);
    let mut routes: Vec<_> = earlier.routes.into_iter().filter(|route| !replaced(route)).collect();
    routes.extend(later.routes);
    Egress { routes, log: earlier.log.max(later.log) }
}

/// Field by field; an agent's over its bottle's goes the same way.
#[must_use]
pub fn overlay(under: GitUser, over: GitUser) -> GitUser {
    GitUser { name: over.name.or(under.name), email: over.email.or(under.email) }
}

#[cfg(test)]
#[path = "extends_test.rs"]
mod tests;
