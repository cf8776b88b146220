//! A network: an address and a prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of either family. Its host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why an address and a prefix length are no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCidr {
    /// The family's addresses have `most` bits.
    Prefix { most: u8 },
    /// The address has bits behind the prefix; without them it is this network.
    HostBits { network: Cidr },
}

impl Cidr {
    /// # Errors
    /// [`NoCidr`].
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NoCidr> {
        let most = width(address);
        if prefix > most {
            return Err(NoCidr::Prefix { most });
        }
        let network = Self { network: masked(address, prefix), prefix };
        if network.network == address { Ok(network) } else { Err(NoCidr::HostBits { network }) }
    }

    /// The one address.
    #[must_use]
    pub const fn single(address: IpAddr) -> Self {
        Self { network: address, prefix: width(address) }
    }

    /// An IPv4 network whose host bits are ours to clear.
    #[must_use]
    pub fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let address = IpAddr::V4(address);
        let prefix = prefix.min(width(address));
        Self { network: masked(address, prefix), prefix }
    }

    #[must_use]
    pub const fn network(self) -> IpAddr {
        self.network
    }

    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub const fn is_single(self) -> bool {
        self.prefix == width(self.network)
    }

    /// Families never contain each other: disguises are taken off before.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix) == self.network
    }

    /// Whether every address of `other` is one of ours.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }

    /// The two networks that it consists of, if it is more than an address.
    #[must_use]
    pub fn halves(self) -> Option<[Self; 2]> {
        let prefix = self.prefix + 1;
        let high = match self.network {
            IpAddr::V4(address) => {
                Ipv4Addr::from_bits(address.to_bits() | 1u32.checked_shl(32u32.checked_sub(prefix.into())?)?).into()
            }
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() | 1u128.checked_shl(128u32.checked_sub(prefix.into())?)?).into()
            }
        };
        Some([Self { network: self.network, prefix }, Self { network: high, prefix }])
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { write!(f, "{}", self.network) } else { write!(f, "{}/{}", self.network, self.prefix) }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}
