//! What the monitor is told about a bottle's network. No rule of the policy is among it: the monitor asks.

use super::stack::MTU;
use bottle_protocol::Network;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The bottle's side of its network, and the limits that are enforced where the bytes flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSpec {
    /// The stack's own address, the guest's router.
    pub gateway: Ipv4Addr,
    pub guest: Ipv4Addr,
    /// Of the network that both are in: 24.
    pub prefix_length: u8,
    /// The virtual host that the gateways of the bundle answer at, if there is one.
    pub bundle: Option<Ipv4Addr>,
    /// Whether the plan allows anything beyond the bundle: then the guest gets a default route.
    pub beyond: bool,
    /// Whether the plan allows any IPv6 address; else the guest has none.
    pub ipv6: bool,
    /// Bytes of payload per second in each direction, all flows together.
    pub bandwidth: Option<u64>,
}

impl NetSpec {
    /// What the guest is told to make of it.
    #[must_use]
    pub fn for_guest(&self) -> Network {
        let Self { guest: address, gateway, bundle, beyond, .. } = *self;
        Network { address, gateway, bundle, beyond, mtu: MTU }
    }
}
