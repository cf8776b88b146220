//! The plan: everything that a bottle is, before any of it is. Law: a value; the names of its fields are bot-bottle's. What is secret
//! is named here, and nowhere more than named.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::egress::EgressPlan;
use super::environment::GuestEnv;
use super::git_gate::GitGatePlan;
use super::identity::Slug;
use super::prepare::token_of;
use super::provider::ProvisionPlan;
use super::skills::Skill;
use super::spec::BottleSpec;
use super::supervise::SupervisePlan;
use super::workspace::WorkspacePlan;
use crate::manifest::{Name, Source, Variable};

#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct BottlePlan {
    pub spec: BottleSpec,
    /// Whose the agent is: its prompt may have come with a repository.
    pub agent_source: Source,
    /// The bottle with all that it extends, the root first.
    pub bottle_lineage: Vec<Name>,
    pub slug: Slug,
    /// The bottle's state; whatever is staged for it lies there, and goes with it.
    pub stage_dir: PathBuf,
    /// `bot-bottle-SLUG`: its name, and its host name.
    pub machine_name: String,
    pub bundle_subnet: Ipv4Net,
    pub bundle_gateway: Ipv4Addr,
    /// Where the guest finds the gateways.
    pub bundle_ip: IpAddr,
    pub guest_home: &'static str,
    pub guest_user: &'static str,
    pub workspace_plan: WorkspacePlan,
    /// By name: values of the bottle's own are not shown.
    pub guest_env: GuestEnv,
    /// Always there, empty if there is no prompt.
    pub prompt_file: PathBuf,
    pub skills: Vec<Skill>,
    pub agent_image_ref: String,
    /// What the image is built from, if it is.
    pub agent_dockerfile: Option<PathBuf>,
    pub agent_provision: ProvisionPlan,
    pub git_gate_plan: GitGatePlan,
    pub egress_plan: EgressPlan,
    pub supervise_plan: Option<SupervisePlan>,
}

impl BottlePlan {
    /// Whether the image is built from a Dockerfile of ours: it is written into the state, and goes with it.
    #[must_use]
    pub fn has_built_in_dockerfile(&self) -> bool {
        self.agent_dockerfile.as_ref().is_some_and(|path| path.starts_with(&self.stage_dir))
    }

    /// Variables of the host that hold tokens for gateways: neither the guest nor a program that builds an image is to have them.
    pub fn tokens(&self) -> impl Iterator<Item = &Variable> {
        self.egress_plan.token_slots.values().chain(self.git_gate_plan.repos.iter().filter_map(token_of))
    }
}
