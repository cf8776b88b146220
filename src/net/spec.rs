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
    /// Where the gateways of the bundle answer, if there is one: the virtual host in this network, or a host that is there already.
    pub bundle: Option<Ipv4Addr>,
    /// Whether the plan allows anything beyond the bundle: then the guest gets a default route.
    pub beyond: bool,
    /// Bytes of IP packets per second in each direction, headers included, all flows together.
    pub bandwidth: Option<u64>,
}

impl NetSpec {
    /// The /24 that begins with `first`, everybody in the usual places, without a bundle and without limits.
    #[must_use]
    pub fn in_network(first: Ipv4Addr) -> Self {
        let [a, b, c, _] = first.octets();
        let at = |host| Ipv4Addr::new(a, b, c, host);
        Self { gateway: at(1), guest: at(3), prefix_length: 24, bundle: None, beyond: true, bandwidth: None }
    }

    /// What the guest is told to make of it.
    #[must_use]
    pub fn for_guest(&self) -> Network {
        let Self { guest: address, gateway, bundle, beyond, .. } = *self;
        Network { address, gateway, bundle, beyond, mtu: MTU }
    }
}
