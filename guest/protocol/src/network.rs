//! The network that a guest is told it is on.

use std::net::Ipv4Addr;

use crate::error::ProtocolError;
use crate::wire::{Reader, Sink};

/// What the one network interface is to be. It is configured by hand: there is nobody on the wire who could be asked.
///
/// The address is the guest's alone, without a network around it: what is not named here and not behind the default route is
/// unreachable at once, instead of after a search for who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    /// The next hop of the default route; reached directly, as is `bundle`.
    pub gateway: Ipv4Addr,
    pub bundle: Option<Ipv4Addr>,
    /// Whether there is a default route: whether anything beyond the bundle is allowed.
    pub beyond: bool,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
}

impl Network {
    /// As in `Setup`: a flag whether there is a network, then its fields; an absent address is all zeros.
    pub(crate) fn put(network: Option<&Self>, out: &mut impl Sink) {
        out.put(&[u8::from(network.is_some())]);
        let Some(network) = network else { return };
        let bundle = network.bundle.unwrap_or(Ipv4Addr::UNSPECIFIED);
        for address in [network.address, network.gateway, bundle] {
            out.put(&address.octets());
        }
        out.put(&[u8::from(network.beyond)]);
        out.put(&network.mtu.to_le_bytes());
    }

    pub(crate) fn take(fields: &mut Reader<'_>) -> Result<Option<Self>, ProtocolError> {
        if !fields.flag("network")? {
            return Ok(None);
        }
        let address = address(fields, "address")?;
        let gateway = self::address(fields, "gateway")?;
        let bundle = Some(self::address(fields, "bundle")?).filter(|address| !address.is_unspecified());
        let beyond = fields.flag("default route")?;
        Ok(Some(Self { address, gateway, bundle, beyond, mtu: fields.u16("mtu")? }))
    }
}

fn address(fields: &mut Reader<'_>, field: &'static str) -> Result<Ipv4Addr, ProtocolError> {
    match fields.bytes(4, field)? {
        &[a, b, c, d] => Ok(Ipv4Addr::new(a, b, c, d)),
        _ => Err(ProtocolError::Truncated { field }),
    }
}
