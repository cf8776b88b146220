//! What may leave a bottle: the judgement, and the process boundary that it is made behind.
//!
//! The guest's packets end in the monitor. For each flow the monitor asks the launcher ([`wire`]), which judges ([`policy`]), connects,
//! and passes the connected descriptor back.

pub mod backend;
pub mod bandwidth;
pub mod policy;
pub mod readback;
pub mod spec;
pub mod stack;
pub mod wire;
