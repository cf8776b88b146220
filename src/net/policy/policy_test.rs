use super::*;
use crate::net::readback::{Answer, Judge as _, expected, probes, verify};
use proptest::prelude::*;
use std::net::{Ipv6Addr, SocketAddr};

const OWN: &str = "192.168.77.0";

fn surroundings() -> Surroundings {
    Surroundings { network: Cidr::around(OWN.parse().unwrap(), 24), bundle: Bundle::None, host: Vec::new() }
}

fn policy_in(surroundings: Surroundings, entries: &[&str]) -> Policy {
    Policy::new(parse_entries("--allow", entries).unwrap(), surroundings).unwrap()
}

fn policy(entries: &[&str]) -> Policy {
    policy_in(surroundings(), entries)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[track_caller]
fn judged(policy: &Policy, protocol: Protocol, destination: &str) -> Verdict {
    let destination: SocketAddr = destination.parse().unwrap();
    policy.judge(protocol, destination.ip(), destination.port())
}

const YES: Verdict = Verdict::Allow(How::Direct);
const NO: Verdict = Verdict::Deny(Denial::NotAllowed);
const EVERYTHING: [&str; 4] = ["0.0.0.0/0", "0.0.0.0/0/udp", "[::/0]", "[::/0]/udp"];

#[test]
fn nothing_is_allowed_by_an_empty_list() {
    let nothing = policy(&[]);
    for address in ["192.0.2.1", "8.8.8.8", "10.0.0.1", "1.1.1.1", "2001:db8::1", "fd12::1"] {
        for port in 1..=u16::MAX {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                assert_eq!(nothing.judge(protocol, ip(address), port), NO);
            }
        }
    }
}

#[test]
fn a_bare_network_is_all_of_tcp_and_nothing_of_udp() {
    let policy = policy(&["192.0.2.0/24"]);
    for port in 1..=u16::MAX {
        assert_eq!(policy.judge(Protocol::Tcp, ip("192.0.2.255"), port), YES);
        assert_eq!(policy.judge(Protocol::Udp, ip("192.0.2.255"), port), NO);
    }
    assert_eq!(policy.judge(Protocol::Tcp, ip("192.0.2.255"), 0), Verdict::Deny(Denial::PortZero));
}

/// Every (protocol, address, port) of a small world, against rules that are evaluated by hand.
#[test]
fn a_small_world_is_judged_as_by_hand() {
    let policy = policy(&["192.0.2.4/30:10-12", "192.0.2.6:20/udp", "192.0.2.16/28:1/tcp", "192.0.2.200:30"]);
    for host in 0..=255u8 {
        for port in 1..=40u16 {
            let address = IpAddr::from([192, 0, 2, host]);
            let tcp = matches!((host, port), (4..=7, 10..=12) | (16..=31, 1) | (200, 30));
            let udp = matches!((host, port), (6, 20));
            let verdict = |allowed| if allowed { YES } else { NO };
            assert_eq!(policy.judge(Protocol::Tcp, address, port), verdict(tcp), "{address}:{port}/tcp");
            assert_eq!(policy.judge(Protocol::Udp, address, port), verdict(udp), "{address}:{port}/udp");
        }
    }
}

/// The first and the last address of each special network, and their neighbours outside.
#[test]
fn what_is_special_is_denied_inside_a_range_to_its_last_address() {
    use Special::{Broadcast, Disguise, LinkLocal, Loopback, Metadata, Multicast, Reserved, Unspecified};
    let all = policy(&EVERYTHING);
    let cases = [
        ("0.0.0.0", "0.255.255.255", Unspecified),
        ("127.0.0.0", "127.255.255.255", Loopback),
        ("169.254.0.0", "169.254.169.253", LinkLocal),
        ("169.254.169.254", "169.254.169.254", Metadata),
        ("169.254.169.255", "169.254.255.255", LinkLocal),
        ("100.100.100.200", "100.100.100.200", Metadata),
        ("168.63.129.16", "168.63.129.16", Metadata),
        ("224.0.0.0", "239.255.255.255", Multicast),
        ("240.0.0.0", "255.255.255.254", Reserved),
        ("255.255.255.255", "255.255.255.255", Broadcast),
        ("::", "::", Unspecified),
        ("::1", "::1", Loopback),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
        ("fd00:ec2::254", "fd00:ec2::254", Metadata),
        ("fd20:ce::254", "fd20:ce::254", Metadata),
        ("64:ff9b::", "64:ff9b::ffff:ffff", Disguise),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Disguise),
        ("::ffff:0:0:0", "::ffff:0:ffff:ffff", Disguise),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Disguise),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Disguise),
        ("2001:db8::5efe:7f00:1", "2001:db8::5efe:ffff:ffff", Disguise),
        ("2001:db8::200:5efe:7f00:1", "2001:db8::200:5efe:ffff:ffff", Disguise),
    ];
    for (first, last, special) in cases {
        for address in [ip(first), ip(last)] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                assert_eq!(all.judge(protocol, address, 80), Verdict::Deny(Denial::Special(special)), "{address}");
            }
        }
    }
    let ordinary = [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "100.100.100.199",
        "100.100.100.201",
        "168.63.129.15",
        "168.63.129.17",
        "223.255.255.255",
        "10.0.0.1",
        "192.168.78.1",
        "192.168.76.255",
        "fd00:ec2::253",
        "fe7f::1",
        "fd20:ce::255",
        "64:ff9b::1:0:0",
        "64:ff9b:2::",
        "2003::",
        "2001:1::",
        "2001:db8::1",
        "::ffff:1:0:0",
        "::1:0:0:0",
        "2001:db8::100:5efe:7f00:1",
        "2001:db8::5eff:7f00:1",
    ];
    for address in ordinary {
        assert_eq!(all.judge(Protocol::Tcp, ip(address), 80), YES, "{address}");
    }
}

#[test]
fn what_is_special_is_reached_by_its_own_name_only() {
    let special = [
        "0.0.0.0",
        "127.0.0.1",
        "169.254.169.254",
        "169.254.1.1",
        "224.0.0.251",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "ff02::fb",
        "fd00:ec2::254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001::1",
        "::ffff:0:7f00:1",
    ];
    for named in special {
        let entry = if named.contains(':') { format!("[{named}]:80") } else { format!("{named}:80") };
        let policy = policy(&[&entry, EVERYTHING[0], EVERYTHING[1], EVERYTHING[2], EVERYTHING[3]]);
        for other in special {
            let allowed = policy.judge(Protocol::Tcp, ip(other), 80) == YES;
            assert_eq!(allowed, other == named, "{entry}: {other}");
        }
        assert_ne!(policy.judge(Protocol::Tcp, ip(named), 81), YES, "another port of {named}");
        assert_ne!(policy.judge(Protocol::Udp, ip(named), 80), YES, "another protocol of {named}");
    }
}

#[test]
fn disguises_are_judged_as_what_they_are() {
    let some = policy(&["192.0.2.10:443", "[2001:db8::/32]"]);
    let all = policy(&EVERYTHING);
    for disguised in ["::ffff:192.0.2.10", "::192.0.2.10"] {
        assert_eq!(some.judge(Protocol::Tcp, ip(disguised), 443), YES);
        assert_eq!(some.judge(Protocol::Tcp, ip(disguised), 80), NO);
        assert_eq!(canonical(ip(disguised)), ip("192.0.2.10"));
    }
    for disguised in ["::ffff:127.0.0.1", "::127.0.0.1"] {
        assert_eq!(
            all.judge(Protocol::Tcp, ip(disguised), 80),
            Verdict::Deny(Denial::Special(Special::Loopback)),
            "{disguised}"
        );
    }
    assert_eq!(
        all.judge(Protocol::Tcp, ip("::ffff:169.254.169.254"), 80),
        Verdict::Deny(Denial::Special(Special::Metadata))
    );
    // An IPv6 rule for everything does not reach IPv4 in IPv6 clothes.
    assert_eq!(policy(&["[::/0]"]).judge(Protocol::Tcp, ip("::ffff:192.0.2.10"), 443), NO);
    assert_eq!(policy(&["0.0.0.0/0"]).judge(Protocol::Tcp, ip("2001:db8::1"), 443), NO);
}

#[test]
fn the_bottles_own_network_is_nowhere_else() {
    let all = policy(&EVERYTHING);
    for host in 0..=255 {
        assert_eq!(all.judge(Protocol::Tcp, IpAddr::from([192, 168, 77, host]), 80), Verdict::Deny(Denial::OwnNetwork));
    }
    for entry in ["192.168.77.1:22", "192.168.77.0/24", "192.168.77.128/25"] {
        let rules = parse_entries("--allow", &[entry]).unwrap();
        assert!(matches!(Policy::new(rules, surroundings()), Err(Conflict::OwnNetwork { .. })), "{entry}");
    }
}

#[test]
fn the_host_is_reached_by_the_address_that_is_named_only() {
    let host = vec![ip("10.1.2.3"), ip("::ffff:10.1.2.4"), ip("2001:db8::5")];
    let around = Surroundings { host, ..surroundings() };
    let all = policy_in(around.clone(), &EVERYTHING);
    for address in ["10.1.2.3", "10.1.2.4", "::ffff:10.1.2.3", "2001:db8::5"] {
        assert_eq!(all.judge(Protocol::Tcp, ip(address), 80), Verdict::Deny(Denial::Host), "{address}");
    }
    assert_eq!(all.judge(Protocol::Tcp, ip("10.1.2.5"), 80), YES);
    let named = policy_in(around, &["10.1.2.0/24", "10.1.2.3:80"]);
    assert_eq!(judged(&named, Protocol::Tcp, "10.1.2.3:80"), YES);
    assert_eq!(judged(&named, Protocol::Tcp, "10.1.2.3:81"), Verdict::Deny(Denial::Host));
    assert!(named.names(Protocol::Tcp, ip("10.1.2.3"), 80));
    assert!(named.names(Protocol::Tcp, ip("::ffff:10.1.2.3"), 80), "in other clothes");
    assert!(!named.names(Protocol::Tcp, ip("10.1.2.9"), 80), "it is one of a range");
}

/// All ports of a bundle, either kind, with rules that allow everything and with none.
#[test]
fn a_bundle_has_its_ports_and_nothing_else() {
    let virtual_address = ip("192.168.77.2");
    let external_address = ip("198.51.100.2");
    for entries in [&EVERYTHING[..], &[]] {
        let virtual_bundle = Bundle::Virtual("192.168.77.2".parse().unwrap());
        let policy = policy_in(Surroundings { bundle: virtual_bundle, ..surroundings() }, entries);
        let external = Bundle::External(external_address);
        let beside = policy_in(Surroundings { bundle: external, ..surroundings() }, entries);
        for port in 1..=u16::MAX {
            let served = [8888, 9418, 9420, 9100].contains(&port);
            let denied = Verdict::Deny(Denial::NotOfTheBundle);
            let handed = if served { Verdict::Allow(How::Bundle(port)) } else { denied };
            let direct = if served { YES } else { denied };
            assert_eq!(policy.judge(Protocol::Tcp, virtual_address, port), handed, "{port}");
            assert_eq!(beside.judge(Protocol::Tcp, external_address, port), direct, "{port}");
            assert_eq!(policy.judge(Protocol::Udp, virtual_address, port), denied, "{port}");
            assert_eq!(beside.judge(Protocol::Udp, external_address, port), denied, "{port}");
        }
        assert_eq!(beside.judge(Protocol::Tcp, virtual_address, 8888), Verdict::Deny(Denial::OwnNetwork));
        assert!(beside.names(Protocol::Tcp, external_address, 8888));
        assert!(
            !beside.names(Protocol::Tcp, external_address, 22) && !beside.names(Protocol::Udp, external_address, 8888)
        );
    }
}

#[test]
fn a_rule_for_the_bundles_address_is_a_contradiction() {
    let rules = parse_entries("--allow", &["198.51.100.2:22"]).unwrap();
    let bundle = Bundle::External(ip("198.51.100.2"));
    let conflict = Policy::new(rules, Surroundings { bundle, ..surroundings() }).unwrap_err();
    assert!(matches!(conflict, Conflict::Bundle { .. }), "{conflict}");
    assert!(conflict.hint().is_some());
}

/// Addresses where rules and special networks have their edges, and anything.
fn address() -> impl Strategy<Value = IpAddr> {
    let near = proptest::sample::select(vec![
        "0.0.0.0",
        "127.0.0.1",
        "169.254.169.254",
        "192.168.77.2",
        "192.168.77.255",
        "224.0.0.0",
        "255.255.255.255",
        "192.0.2.0",
        "10.1.2.3",
        "100.100.100.200",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::",
        "ff00::",
        "64:ff9b::",
        "64:ff9b:1::",
        "2002::",
        "2001::",
        "2001:db8::",
        "::ffff:0:0:0",
        "fd00:ec2::254",
        "2001:db8::5efe:0:0",
        "fec0::",
    ]);
    let moved = (near, -300i32..300).prop_map(|(text, by)| match ip(text) {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().wrapping_add_signed(by))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().wrapping_add_signed(by.into()))),
    });
    prop_oneof![3 => moved, 1 => any::<IpAddr>()]
}

fn rule() -> impl Strategy<Value = Option<Rule>> {
    let ports = prop_oneof![
        Just(String::new()),
        (1u16..100).prop_map(|port| format!(":{port}")),
        (1u16..50, 50u16..100).prop_map(|(first, last)| format!(":{first}-{last}"))
    ];
    (address(), 0u8..=128, ports, any::<bool>()).prop_map(|(address, prefix, ports, udp)| {
        let prefix = if address.is_ipv4() { prefix % 33 } else { prefix };
        let network = match Cidr::new(address, prefix) {
            Ok(network) | Err(NoCidr::HostBits { network }) => network,
            Err(NoCidr::Prefix { .. }) => return None,
        };
        let network = if address.is_ipv4() { network.to_string() } else { format!("[{network}]") };
        Rule::parse(&format!("{network}{ports}{}", if udp { "/udp" } else { "" })).ok()
    })
}

fn world() -> impl Strategy<Value = Policy> {
    let bundle = prop_oneof![
        Just(Bundle::None),
        Just(Bundle::Virtual(Ipv4Addr::new(192, 168, 77, 2))),
        address().prop_map(Bundle::External)
    ];
    let host = proptest::collection::vec(address(), 0..3);
    (proptest::collection::vec(rule(), 0..6), bundle, host).prop_filter_map("contradiction", |(rules, bundle, host)| {
        let rules = rules.into_iter().flatten().collect();
        Policy::new(rules, Surroundings { bundle, host, ..surroundings() }).ok()
    })
}

fn oracle(policy: &Policy, protocol: Protocol, address: IpAddr, port: u16) -> Answer {
    expected(policy.rules(), policy.surroundings(), protocol, address, port)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_judge_agrees_with_the_oracle(policy in world(), asked in proptest::collection::vec((address(), prop_oneof![0u16..102, Just(8888), any::<u16>()], any::<bool>()), 20)) {
        for (address, port, udp) in asked {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let answer = policy.answer(protocol, SocketAddr::new(address, port));
            prop_assert_eq!(answer, oracle(&policy, protocol, address, port), "{}:{}/{} {:?}", address, port, protocol, policy);
        }
        prop_assert_eq!(verify(&policy, &probes(policy.rules(), policy.surroundings())), Ok(()));
    }

    #[test]
    fn a_rule_more_never_takes_anything_away_from_the_others(policy in world(), more in rule(), address in address(), port in 0u16..102) {
        let Some(more) = more else { return Ok(()) };
        let rules = policy.rules().iter().copied().chain([more]).collect();
        let Ok(wider) = Policy::new(rules, policy.surroundings().clone()) else { return Ok(()) };
        if let Verdict::Allow(how) = policy.judge(Protocol::Tcp, address, port) {
            prop_assert_eq!(wider.judge(Protocol::Tcp, address, port), Verdict::Allow(how));
        }
    }
}

/// Every network of 65,536 addresses at its first, a middle and its last one.
#[test]
fn judge_and_oracle_agree_all_over_ipv4() {
    let all = policy(&EVERYTHING);
    for high in 0..=u16::MAX {
        for low in [0, 0x4d02, 0x6464, u16::MAX] {
            let address = IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
            let answer = all.answer(Protocol::Tcp, SocketAddr::new(address, 443));
            assert_eq!(answer, oracle(&all, Protocol::Tcp, address, 443), "{address}");
            // The same in IPv6 clothes.
            let IpAddr::V4(v4) = address else { unreachable!() };
            let mapped = SocketAddr::new(v4.to_ipv6_mapped().into(), 443);
            assert_eq!(all.answer(Protocol::Tcp, mapped), answer, "{mapped}");
        }
    }
}
