//! Everything that can be wrong in a manifest. Law: facts in the variants, one sentence each, the way out by `hint`.

use nix::errno::Errno;

use super::error::{Mark, shown};
use super::invalid::Invalid;
use super::limits::{FILE_MAX, MAX_DEPTH, MAX_NODES};
use super::nearest::{listed, nearest, there_are};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    // The file.
    #[error("the file cannot be read: {}", .0.desc())]
    Unreadable(Errno),
    #[error("not a regular file")]
    NotAFile,
    #[error("a symbolic link that leads out of its directory is not followed")]
    LeadsOut,
    #[error("the file has {size} bytes, where {FILE_MAX} are allowed")]
    TooLarge { size: u64 },
    #[error("the text is not UTF-8 from here on")]
    NotUtf8,
    // The front matter.
    #[error("the file does not begin with front matter: its first line is not `---`")]
    NoFrontMatter,
    #[error("the front matter that begins here has no closing `---`")]
    Unclosed,
    // YAML.
    #[error("not YAML: {message}")]
    Syntax { message: String },
    #[error("anchors (`&name`) and aliases (`*name`) are not taken")]
    Alias,
    #[error("tags (`!…`) are not taken")]
    Tag,
    #[error("merge keys (`<<`) are not taken")]
    MergeKey,
    #[error("the front matter is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("the front matter holds more than {MAX_NODES} values")]
    TooManyNodes,
    #[error("a second document begins here")]
    SecondDocument,
    #[error("a key is a single word here, not a list, a map, or nothing")]
    KeyNotText,
    #[error("key `{}` stands here a second time", shown(key))]
    DuplicateKey { key: String, first: Mark },
    // Keys and types.
    #[error("unknown key `{}` in {within}", shown(key))]
    UnknownKey { key: String, within: String, allowed: &'static [&'static str] },
    #[error("key `{key}` in {within} is not taken any more")]
    RemovedKey { key: &'static str, within: String, instead: &'static str },
    #[error("{within} lacks the key `{key}`")]
    MissingKey { key: &'static str, within: String },
    #[error("{key} must be {expected}, not {found}")]
    WrongType { key: String, expected: &'static str, found: Found },
    #[error("`{}` is none of the values of {key}", shown(found))]
    NotAnOption { key: String, found: String, allowed: Vec<String> },
    #[error("{key}: {problem}")]
    Invalid { key: String, problem: Invalid },
    #[error("{within} has both `{one}` and `{other}`, where one is taken")]
    Both { within: String, one: &'static str, other: &'static str },
    #[error("{within} has none of {}", listed(keys))]
    NoneOf { within: String, keys: &'static [&'static str] },
    #[error("`{key}` is for the template `{only}`, and the template is `{template}`")]
    OtherTemplate { key: &'static str, only: &'static str, template: String },
    #[error("{key} is the name of a variable, not a reference to it")]
    NameOnly { key: String, name: String },
    #[error("`{key}` is a bottle's, and this is an agent")]
    BottleOnly { key: &'static str },
    #[error("host `{host}` has a route already")]
    SecondRoute { host: String, first: String },
    // Between files.
    #[error("the bottle extends itself")]
    ExtendsItself,
    #[error("bottles extend one another in a circle: {}", chain.join(" → "))]
    ExtendsCycle { chain: Vec<String> },
    #[error("there is no bottle `{}`", shown(name))]
    NoBottle { name: String, bottles: Vec<String> },
}

/// What stands where something else was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Bool,
    Number,
    Text,
    /// `yes`, `no`, `on`, `off`: booleans of YAML 1.1, texts of YAML 1.2.
    OldBool,
    List,
    Map,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text | Self::OldBool => "text",
            Self::List => "a list",
            Self::Map => "a map",
        })
    }
}

impl Fault {
    pub(super) fn is_circle_with(&self, bottle: &str) -> bool {
        matches!(self, Self::ExtendsCycle { chain } if chain.iter().any(|name| name == bottle))
    }

    /// The way out.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownKey { key, allowed, .. } => choice(key, allowed),
            Self::NotAnOption { found, allowed, .. } => choice(found, allowed),
            Self::NoBottle { name, bottles } if bottles.is_empty() => {
                format!("there are no bottles yet: write `{name}.md` in the directory `bottles`")
            }
            Self::NoBottle { name, bottles } => choice(name, bottles),
            Self::DuplicateKey { first, .. } => format!("it stands at {first} too: keep one of them"),
            Self::SecondRoute { first, .. } => format!("one host, one route: add what differs to {first}"),
            Self::Invalid { problem, .. } => problem.hint(),
            Self::OtherTemplate { only, .. } => format!("remove it, or set `template: {only}`"),
            Self::NameOnly { name, .. } => format!("write `{name}`"),
            Self::MissingKey { key, .. } => format!("add `{key}: …`"),
            other => other.plain_hint().to_owned(),
        }
    }

    /// Of those with nothing to put in.
    fn plain_hint(&self) -> &'static str {
        match self {
            Self::RemovedKey { instead, .. } => instead,
            Self::WrongType { found, expected, .. } => wrong_type_hint(*found, expected),
            Self::Unreadable(Errno::EACCES) => "make it readable for yourself: `chmod u+r`",
            Self::Unreadable(_) => "a manifest is a file that you can read: does `cat` print it?",
            Self::LeadsOut => {
                "copy the file there, or keep the link's target in the same directory: what is outside may be somebody \
                 else's to write, or none of the agent's business to read"
            }
            Self::NotAFile => "a manifest is a text file: move it away, or rename it",
            Self::TooLarge { .. } => "is it really a manifest? move it away, or shorten its text",
            Self::NotUtf8 => "save the file as UTF-8",
            Self::NoFrontMatter => {
                "write the settings first, between two lines `---`, and the text below them (`bottle-vmm init` makes examples)"
            }
            Self::Unclosed => "add a line `---` behind the last setting",
            Self::Syntax { .. } => {
                "values that hold `: `, ` #`, or begin with one of `? & * ! | > ' \" % @ [ {` stand in quotes; blanks, \
                 not tabs, indent"
            }
            Self::Alias | Self::Tag => "write the value out; if it is text that begins so, quote it",
            Self::MergeKey => "write the keys out, or let the bottle extend another: `extends: NAME`",
            Self::SecondDocument => "remove the line `...`",
            Self::Both { .. } => "keep one of the two",
            Self::NoneOf { .. } => "add one of them",
            Self::BottleOnly { .. } => {
                "agents may come with a repository, so what holds credentials, hosts and limits is in bottles only: move it \
                 into the bottle"
            }
            Self::KeyNotText => "write `key: value`",
            Self::TooDeep | Self::TooManyNodes => "no manifest needs as many: is it one?",
            Self::ExtendsItself | Self::ExtendsCycle { .. } => "let the last one of them extend nothing",
            Self::UnknownKey { .. }
            | Self::NotAnOption { .. }
            | Self::NoBottle { .. }
            | Self::DuplicateKey { .. }
            | Self::SecondRoute { .. }
            | Self::Invalid { .. }
            | Self::OtherTemplate { .. }
            | Self::NameOnly { .. }
            | Self::MissingKey { .. } => "", // `hint` has theirs
        }
    }
}

fn wrong_type_hint(found: Found, expected: &str) -> &'static str {
    match (found, expected) {
        (Found::OldBool, "true or false") => "write `true` or `false`; `yes`, `no`, `on` and `off` are texts",
        (Found::Text, "true or false") => "write `true` or `false`, without quotes",
        (Found::Bool | Found::Number, "text") => "put it in quotes",
        (Found::Nothing, "text") => "write the value behind the colon; an empty text is `\"\"`",
        (_, "text") => "write a single text",
        (_, "a list") => "write it as `[…]`, or as lines that begin with `- `",
        (_, "a map") => "write its keys below it, indented, each as `key: value`",
        _ => "write `true` or `false`",
    }
}

fn choice<T: AsRef<str>>(found: &str, allowed: &[T]) -> String {
    match nearest(found, allowed) {
        Some(near) => format!("did you mean `{near}`? {}", there_are(allowed)),
        None => there_are(allowed),
    }
}
