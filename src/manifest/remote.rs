//! Where a repository's upstream is: an SSH URL, or git's short form of one (git-clone(1), "GIT URLS").
//!
//! Law: what is parsed becomes arguments of ssh and git, so no part can be taken for an option, and none has blanks.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::host::Host;
use super::invalid::{Invalid, RemoteFault};

pub const SSH_PORT: u16 = 22;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remote {
    pub user: String,
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// 1–65535.
    pub port: u16,
    /// As written: absolute in a URL, relative to the user's home in the short form unless it begins with `/`.
    pub path: String,
}

impl Remote {
    /// # Errors
    /// [`Invalid::Remote`].
    pub fn new(text: &str) -> Result<Self, Invalid> {
        match text.split_once("://") {
            Some(("ssh" | "git+ssh" | "ssh+git", rest)) => of_url(rest),
            Some(_) => Err(RemoteFault::Scheme),
            None => of_short(text),
        }
        .map_err(Invalid::Remote)
    }
}

/// `user@host[:port]/path`
fn of_url(rest: &str) -> Result<Remote, RemoteFault> {
    let slash = rest.find('/').ok_or(RemoteFault::Path)?;
    let (authority, path) = rest.split_at(slash);
    let (user, place) = authority.rsplit_once('@').ok_or(RemoteFault::NoUser)?;
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']').ok_or(RemoteFault::Host)?;
            (host, port)
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => port_of(digits)?,
        None if port.is_empty() => SSH_PORT,
        None => return Err(RemoteFault::Host),
    };
    if path == "/" {
        return Err(RemoteFault::Path);
    }
    checked(user, host, port, path)
}

/// `user@host:path`
fn of_short(text: &str) -> Result<Remote, RemoteFault> {
    let (place, path) = match text.split_once("@[") {
        Some((user, rest)) => {
            let (host, path) = rest.split_once("]:").ok_or(RemoteFault::Form)?;
            return checked(user, host, SSH_PORT, path);
        }
        None => text.split_once(':').ok_or(RemoteFault::Form)?,
    };
    // A slash in front of the colon makes it a local path (git-clone(1)).
    if place.contains('/') {
        return Err(RemoteFault::Form);
    }
    match place.rsplit_once('@') {
        Some((user, host)) => checked(user, host, SSH_PORT, path),
        None if path.contains('@') => Err(RemoteFault::Password),
        None => Err(RemoteFault::NoUser),
    }
}

fn port_of(digits: &str) -> Result<u16, RemoteFault> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| all_digits && *port != 0);
    port.ok_or(RemoteFault::Port)
}

fn checked(user: &str, host: &str, port: u16, path: &str) -> Result<Remote, RemoteFault> {
    if user.is_empty() {
        return Err(RemoteFault::NoUser);
    }
    if user.contains(':') {
        return Err(RemoteFault::Password);
    }
    if user.starts_with('-') || !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(RemoteFault::User);
    }
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => Host::new(host).map_err(|_| RemoteFault::Host)?.as_str().to_owned(),
    };
    if path.is_empty() || path.starts_with('-') || path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(RemoteFault::Path);
    }
    Ok(Remote { user: user.to_owned(), host, port, path: path.to_owned() })
}

/// A URL that [`Remote::new`] reads as the same remote.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, path } = self;
        let host: Cow<'_, str> = if host.contains(':') { format!("[{host}]").into() } else { host.into() };
        if path.starts_with('/') {
            write!(f, "ssh://{user}@{host}:{port}{path}")
        } else {
            write!(f, "{user}@{host}:{path}")
        }
    }
}

/// In a manifest a remote is one text.
impl JsonSchema for Remote {
    fn schema_name() -> Cow<'static, str> {
        "Remote".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`ssh://git@host:22/owner/repo.git`, or `git@host:owner/repo.git`",
            "pattern": "^((ssh|git\\+ssh|ssh\\+git)://)?[A-Za-z0-9._][A-Za-z0-9._-]*@[^@\\s]+$",
        })
    }
}

#[cfg(test)]
#[path = "remote_test.rs"]
mod tests;
