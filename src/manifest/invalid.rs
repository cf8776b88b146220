//! What a single value can have wrong with it. Law: nothing is repeated that somebody may have written instead of its name: values of
//! variables, tokens, passwords in URLs.

use super::error::shown;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("there is nothing in it")]
    Empty,
    #[error("it holds a control character")]
    ControlCharacter,
    #[error("`{}` is not a name", shown(found))]
    Name { found: String },
    #[error("`{}` is not the name of a directory", shown(found))]
    Component { found: String },
    #[error("this is not the name of an environment variable")]
    Variable,
    #[error("the value has `${{` in it, and is not `${{NAME}}` as a whole")]
    PartlyInterpolated,
    #[error("the prompt behind `?` is empty")]
    NoPrompt,
    #[error("`{}` is not a host name", shown(found))]
    Host { found: String },
    #[error("`{}` is not a network in CIDR notation", shown(found))]
    Cidr { found: String },
    #[error("`{found}` has bits set behind its prefix")]
    HostBits { found: String, network: String },
    #[error("`{}` is not the beginning of a path", shown(found))]
    Path { found: String },
    #[error("`{}` is not a regular expression", shown(found))]
    Regex { found: String },
    #[error("`{}` is not an HTTP method", shown(found))]
    Method { found: String },
    #[error("`{}` is not the name of an HTTP header", shown(found))]
    Header { found: String },
    #[error("this is not an SSH URL: {0}")]
    Remote(RemoteFault),
    #[error("this is not a host key")]
    HostKey,
    #[error("roles are no more: `{}` is not taken", shown(found))]
    Role { found: String },
    #[error("there is no provider `{}`", shown(found))]
    Provider { found: String, providers: Vec<String> },
}

/// What of an SSH URL is wrong; the URL is not repeated, as it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteFault {
    #[error("it is neither `ssh://…` nor `user@host:path`")]
    Form,
    #[error("the gate does not speak its scheme")]
    Scheme,
    #[error("it names no user")]
    NoUser,
    #[error("there is a password in it")]
    Password,
    #[error("its user has other characters than letters, digits, `.`, `_` and `-`, or begins with `-`")]
    User,
    #[error("its host is not a host name or an address")]
    Host,
    #[error("its port is not a number from 1 to 65535")]
    Port,
    #[error("its path is empty, begins with `-`, or has blanks or control characters in it")]
    Path,
}

impl Invalid {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
                Self::Name { .. } => "a name is a lower-case letter, then lower-case letters, digits and `-`",
                Self::Component { .. } => "letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
                Self::Variable => {
                    "write the variable's *name* (letters, digits and `_`), not its value; `export NAME=…` sets it on the host"
                }
                Self::PartlyInterpolated => {
                    "only a whole value is taken from the host: join the parts in a variable of the host, and name that one"
                }
                Self::NoPrompt => "say what is asked for: `?Token for the forge`",
                Self::Host { .. } => {
                    "a name such as `api.example.com` or an IPv4 address: no scheme, port, path or `*`, and non-ASCII names \
                     in their `xn--` form"
                }
                Self::Cidr { .. } => "an address and a prefix length: `10.0.0.0/8`, `192.0.2.7/32`, `fd00::/8`",
                Self::HostBits { network, .. } => return format!("did you mean `{network}`?"),
                Self::Path { .. } => "it begins with `/`, and has no `.` or `..` component, `?`, `#` or control character in it",
                Self::Regex { .. } => "the syntax is that of Rust's `regex`: no look-around, no back-references",
                Self::Method { .. } => "letters, as in `GET`",
                Self::Header { .. } => "letters, digits and `-`, as in `X-Api-Version`",
                Self::Remote(fault) => return fault.hint().to_owned(),
                Self::HostKey => {
                    "a line as `ssh-keyscan` prints it, without the host: `ssh-ed25519 AAAA…`; compare it with what the forge publishes"
                }
                Self::Role { .. } => "remove the key: what the provider needs, `agent_provider` sets up",
                Self::Provider { found, providers } => {
                    let near = super::nearest::nearest(found, providers);
                    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                    let there_are = super::nearest::there_are(providers);
                    return format!("{near}{there_are}; one of your own is a directory under `contrib`");
                }
                Self::ControlCharacter => "write it in printable characters",
                Self::Empty => "write something, or remove the key",
            }
            .to_owned()
    }
}

impl RemoteFault {
    fn hint(self) -> &'static str {
        match self {
            Self::Password => "remove it: the gate logs in with a key",
            Self::NoUser => "write it in front, as in `git@host`",
            _ => "`ssh://git@host:22/owner/repo.git`, or `git@host:owner/repo.git`",
        }
    }
}
