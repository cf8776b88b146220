//! What may leave a bottle: the judgement, and the process boundary that it is made behind.
//!
//! The guest's packets end in the monitor ([`stack`]). For each flow the monitor asks the launcher ([`wire`]), whose [`broker`] judges
//! ([`policy`]), connects, and passes the connected descriptor back. Before the guest runs, the judges are asked what
//! they would answer ([`readback`]). What was refused is kept in the [`ledger`], for the bottle's owner to ask for ([`inquiry`]).

pub mod backend;
pub mod bandwidth;
pub mod broker;
pub mod inquiry;
pub mod ledger;
pub mod policy;
pub mod readback;
pub mod spec;
pub mod stack;
pub mod subnet;
pub mod wire;

mod rate;
