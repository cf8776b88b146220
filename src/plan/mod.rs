//! From an agent's name to one frozen plan of everything that its bottle is: bot-bottle's `prepare`, for a machine of our own.
//!
//! Law: reads manifests and the host, writes the bottle's state, starts nothing, prints nothing. A plan is a value that nobody changes
//! any more; what is secret is not in it but beside it ([`Prepared::secrets`]), in memory that is wiped.
//!
//! ```text
//! spec         what was asked for
//! prepare      the story, in bot-bottle's order
//! bottle_plan  what it comes to
//! ```
//!
//! [`prepare()`] is the way in; [`resume`] has what it takes to call it for a bottle that was kept.

pub mod bottle_plan;
pub mod egress;
pub mod environment;
mod error;
pub mod git_gate;
pub mod identity;
mod image;
pub mod leftovers;
mod notice;
pub mod preflight;
mod prepare;
pub mod provider;
mod regular;
pub mod skills;
pub mod spec;
pub mod state;
pub mod supervise;
pub mod workspace;

pub use bottle_plan::BottlePlan;
pub use error::PlanError;
pub use identity::Slug;
pub use notice::Notice;
pub use preflight::Preflight;
pub use prepare::{Kept, Prepared, Secrets, prepare, resume};
pub use spec::{BottleSpec, Depth, Gateways, Host, Request};
pub use state::{State, StateRoot};

/// The user that agents run as; uid 1000 in the images that we know of.
pub const GUEST_USER: &str = "node";
/// The home of that user, read everywhere from the plan.
pub const GUEST_HOME: &str = "/home/node";

#[cfg(test)]
#[path = "golden_test.rs"]
mod golden;
#[cfg(test)]
pub(crate) mod testing;
