//! A home and a host of the tests' own.

#[path = "../../tests/home/mod.rs"]
mod home;

use super::preflight::Preflight;
use super::state::StateRoot;
use super::{BottleSpec, Depth, Gateways, Host, Kept, PlanError, Prepared, Request, Slug, prepare, resume};
use crate::host::kvm::KvmUnusable;
use crate::manifest::resolve::Values;
use crate::manifest::{Catalogue, Places, Variable};
use crate::net::subnet::turns::{Shared, shared};
use bottle_protocol::SecretBytes;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use tempfile::TempDir;

/// A home with one bottle and one agent.
pub(crate) struct Home(pub(crate) TempDir, Shared);

/// Variables of the host, and answers by variable.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) answers: BTreeMap<String, String>,
    pub(crate) asked: Vec<String>,
}

/// What a machine without KVM has to say.
pub(crate) fn unfit() -> Preflight {
    Preflight::from(&KvmUnusable::Missing)
}

pub(crate) fn secret(text: &str) -> SecretBytes {
    let mut bytes = SecretBytes::new();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl Values for Answers {
    fn variable(&mut self, name: &Variable) -> Option<SecretBytes> {
        self.variables.get(name.as_str()).map(|value| secret(value))
    }

    fn ask(&mut self, variable: &Variable, prompt: &str) -> io::Result<SecretBytes> {
        self.asked.push(format!("{variable}: {prompt}"));
        let answer = self.answers.get(variable.as_str()).ok_or_else(|| io::Error::other("nobody is there"))?;
        Ok(secret(answer))
    }
}

impl Answers {
    pub(crate) fn with(pairs: &[(&str, &str)]) -> Self {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { variables, ..Self::default() }
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap(), shared());
        fs::create_dir(home.path("repo")).unwrap();
        home.with(".bot-bottle/bottles/dev.md", "---\n---\n")
            .with(".bot-bottle/agents/coder.md", "---\nbottle: dev\n---\nGo.\n")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn with(self, path: &str, text: &str) -> Self {
        home::write(self.0.path(), path, text);
        self
    }

    pub(crate) fn bottle(self, front: &str) -> Self {
        self.with(".bot-bottle/bottles/dev.md", &format!("---\n{front}---\n"))
    }

    pub(crate) fn host(&self) -> Host {
        Host {
            own: self.path(".bot-bottle"),
            home: Some(self.0.path().to_owned()),
            current: self.path("repo"),
            image: None,
            codex_home: Some(self.path(".codex")),
        }
    }

    pub(crate) fn spec(&self) -> BottleSpec {
        BottleSpec {
            agent_name: "coder".to_owned(),
            bottle_names: vec![],
            copy_cwd: false,
            user_cwd: self.path("repo"),
            identity: String::new(),
            label: String::new(),
        }
    }

    pub(crate) fn root(&self) -> StateRoot {
        StateRoot::new(&self.path(".bot-bottle"))
    }

    pub(crate) fn prepare(&self, spec: BottleSpec, values: &mut Answers) -> Result<Prepared, PlanError> {
        self.prepare_on(&self.host(), spec, Depth::Start, Ok(()), values)
    }

    pub(crate) fn look(&self, values: &mut Answers) -> Result<Prepared, PlanError> {
        self.prepare_on(&self.host(), self.spec(), Depth::Look, Err(unfit()), values)
    }

    pub(crate) fn prepare_beside(&self, gateways: Gateways, values: &mut Answers) -> Result<Prepared, PlanError> {
        let (host, spec) = (self.host(), self.spec());
        let places = Places { own: host.own.clone(), home: host.home.clone(), current: host.current.clone() };
        let request =
            Request { spec, task: None, depth: Depth::Start, gateways, machine: Ok(()), agent_of_home: false };
        prepare(&Catalogue::open(&places).unwrap(), &host, request, values)
    }

    pub(crate) fn prepare_on(
        &self,
        host: &Host,
        spec: BottleSpec,
        depth: Depth,
        machine: Result<(), Preflight>,
        values: &mut Answers,
    ) -> Result<Prepared, PlanError> {
        let places = Places { own: host.own.clone(), home: host.home.clone(), current: host.current.clone() };
        let catalogue = Catalogue::open(&places).unwrap();
        let gateways = if depth == Depth::Look { Gateways::None } else { Gateways::Sockets };
        let request = Request { spec, task: None, depth, gateways, machine, agent_of_home: false };
        prepare(&catalogue, host, request, values)
    }

    /// Goes on with a bottle that was kept, from a directory of the home.
    pub(crate) fn resume(&self, slug: &Slug, from: &str, values: &mut Answers) -> Result<Prepared, PlanError> {
        let host = Host { current: self.path(from), ..self.host() };
        let Kept { spec, current, agent_of_home } = resume(&host, slug)?;
        let host = Host { current, ..host };
        let places = Places { own: host.own.clone(), home: host.home.clone(), current: host.current.clone() };
        let (depth, gateways, machine) = (Depth::Start, Gateways::Sockets, Ok(()));
        let request = Request { spec, task: None, depth, gateways, machine, agent_of_home };
        prepare(&Catalogue::open(&places).unwrap(), &host, request, values)
    }

    pub(crate) fn listing(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        home::listing(self.0.path())
    }
}
