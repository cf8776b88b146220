//! Lists of `--allow`, and questions to the judge that they make: it answers as the read-back expects.
#![no_main]

use arbitrary::Arbitrary;
use bottle_vmm::net::policy::{Bundle, Cidr, Policy, Protocol, Rule, Surroundings, parse_entries};
use bottle_vmm::net::readback::{Judge as _, expected, probes, verify};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Arbitrary, Debug)]
struct Input {
    entries: Vec<String>,
    host: Vec<IpAddr>,
    bundle: Option<IpAddr>,
    asked: Vec<(bool, IpAddr, u16)>,
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let entries: Vec<_> = input.entries.iter().filter(|entry| Rule::parse(entry).is_ok()).collect();
    for entry in &input.entries {
        match Rule::parse(entry) {
            Ok(rule) => assert_eq!(Rule::parse(&rule.to_string()), Ok(rule)),
            Err(error) => assert!((1..=entry.chars().count() + 1).contains(&error.at)),
        }
    }
    let Ok(rules) = parse_entries("--allow", &entries) else { return };
    let surroundings = Surroundings {
        network: Cidr::around(Ipv4Addr::new(192, 168, 77, 0), 24),
        bundle: input.bundle.map_or(Bundle::Virtual(Ipv4Addr::new(192, 168, 77, 2)), Bundle::External),
        host: input.host,
    };
    let Ok(policy) = Policy::new(rules.clone(), surroundings.clone()) else { return };
    for (tcp, address, port) in input.asked {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let meant = expected(&rules, &surroundings, protocol, address, port);
        assert_eq!(policy.answer(protocol, SocketAddr::new(address, port)), meant);
    }
    assert_eq!(verify(&policy, &probes(&rules, &surroundings)), Ok(()));
});
