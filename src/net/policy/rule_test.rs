use super::super::{EntryError, parse_entries};
use super::*;
use proptest::prelude::*;

fn rule(network: &str, prefix: u8, ports: (u16, u16), protocol: Protocol) -> Rule {
    let network = Cidr::new(network.parse().unwrap(), prefix).unwrap();
    Rule { network, protocol, first_port: ports.0, last_port: ports.1 }
}

const ALL: (u16, u16) = (1, u16::MAX);

#[test]
fn every_form_means_what_it_says() {
    use Protocol::{Tcp, Udp};
    let cases = [
        ("192.0.2.10", rule("192.0.2.10", 32, ALL, Tcp)),
        ("192.0.2.0/24", rule("192.0.2.0", 24, ALL, Tcp)),
        ("0.0.0.0/0", rule("0.0.0.0", 0, ALL, Tcp)),
        ("192.0.2.0/24/udp", rule("192.0.2.0", 24, ALL, Udp)),
        ("192.0.2.10/tcp", rule("192.0.2.10", 32, ALL, Tcp)),
        ("192.0.2.10:443", rule("192.0.2.10", 32, (443, 443), Tcp)),
        ("192.0.2.0/24:8000-8999", rule("192.0.2.0", 24, (8000, 8999), Tcp)),
        ("192.0.2.53:53/udp", rule("192.0.2.53", 32, (53, 53), Udp)),
        ("192.0.2.53/32:1-65535/tcp", rule("192.0.2.53", 32, ALL, Tcp)),
        ("[2001:db8::1]", rule("2001:db8::1", 128, ALL, Tcp)),
        ("[2001:db8::/32]:443", rule("2001:db8::", 32, (443, 443), Tcp)),
        ("[::/0]:53-54/udp", rule("::", 0, (53, 54), Udp)),
        ("[2001:db8::1]/udp", rule("2001:db8::1", 128, ALL, Udp)),
        ("2001:db8::/32", rule("2001:db8::", 32, ALL, Tcp)),
        ("2001:db8::/32:443", rule("2001:db8::", 32, (443, 443), Tcp)),
        ("2001:db8::/32/udp", rule("2001:db8::", 32, ALL, Udp)),
        // Special addresses, each by itself.
        ("127.0.0.1:80", rule("127.0.0.1", 32, (80, 80), Tcp)),
        ("169.254.169.254", rule("169.254.169.254", 32, ALL, Tcp)),
        ("[::1]:80", rule("::1", 128, (80, 80), Tcp)),
        ("[64:ff9b::7f00:1]", rule("64:ff9b::7f00:1", 128, ALL, Tcp)),
    ];
    for (text, meant) in cases {
        assert_eq!(Rule::parse(text), Ok(meant), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let cases = [
        ("", 1, "an IPv4 address belongs here"),
        ("example.com:443", 1, "an IPv4 address belongs here"),
        (" 192.0.2.1", 1, "an IPv4 address"),
        ("192.0.2.1 ", 10, "the end belongs here"),
        ("192.0.2", 1, "an IPv4 address"),
        ("192.0.2.256", 1, "an IPv4 address"),
        ("192.0.2.010", 1, "an IPv4 address"),
        ("192.0.2.0/33", 11, "a prefix length is a number from 0 to 32"),
        ("192.0.2.0/", 11, "a prefix length is a number from 0 to 32"),
        ("192.0.2.0/x", 11, "a prefix length is a number from 0 to 32"),
        ("192.0.2.0/99999999999", 11, "a prefix length is a number from 0 to 32"),
        ("192.0.2.7/24:443", 1, "the address has bits behind its prefix; the network is 192.0.2.0/24"),
        ("[2001:db8::1/32]", 2, "the network is 2001:db8::/32"),
        ("192.0.2.1:", 11, "a port is a number from 1 to 65535"),
        ("192.0.2.1:0", 11, "a port is a number from 1 to 65535"),
        ("192.0.2.1:65536", 11, "a port is a number from 1 to 65535"),
        ("192.0.2.1:http", 11, "a port is a number from 1 to 65535"),
        ("192.0.2.1:80-", 14, "a port is a number from 1 to 65535"),
        ("192.0.2.1:90-80", 11, "ports 90-80 run backwards"),
        ("192.0.2.1:80,81", 13, "the end belongs here"),
        ("192.0.2.1:80/icmp", 14, "`tcp` or `udp` belongs here"),
        ("192.0.2.1/sctp", 11, "a prefix length"),
        ("192.0.2.1/tcpx", 14, "the end belongs here"),
        ("2001:db8::1", 1, "an IPv6 address stands in brackets"),
        ("2001:db8::1:443", 1, "an IPv6 address stands in brackets"),
        ("2001:db8::1/tcp", 1, "an IPv6 address stands in brackets"),
        ("[2001:db8::1", 13, "`]` belongs here"),
        ("[2001:db8::1%eth0]", 13, "`]` belongs here"),
        ("[2001:db8:::1]", 2, "an IPv6 address belongs here"),
        ("[192.0.2.1]", 2, "an IPv6 address belongs here"),
        ("[2001:db8::/129]", 13, "a prefix length is a number from 0 to 128"),
        ("[::ffff:192.0.2.1]:443", 2, "judged as IPv4"),
        ("[::ffff:0:0/96]", 2, "judged as IPv4"),
        ("[::ffff:c000:200/120]", 2, "judged as IPv4"),
        ("[::192.0.2.1]", 2, "judged as IPv4"),
        ("[::/96]", 2, "judged as IPv4"),
        ("[::/127]", 2, "nothing but the host's loopback"),
        ("127.0.0.0/8:80", 1, "127.0.0.0/8 is nothing but the host's loopback"),
        ("127.0.0.0/31", 1, "nothing but the host's loopback"),
        ("169.254.0.0/16", 1, "nothing but link-local"),
        ("224.0.0.0/24", 1, "nothing but multicast"),
        ("224.0.0.0/3", 1, "nothing but"),
        ("[fe80::/9]", 2, "nothing but link-local"),
        ("[2002:c000:200::/40]", 2, "nothing but IPv4 in disguise"),
        ("[64:ff9b::/96]", 2, "nothing but IPv4 in disguise"),
        ("é", 1, "an IPv4 address"),
        ("192.0.2.1é", 10, "the end belongs here"),
    ];
    for (text, at, problem) in cases {
        let error = Rule::parse(text).expect_err(text);
        assert_eq!(error.at, at, "`{text}`: {error}");
        assert!(error.problem.to_string().contains(problem), "`{text}`: {error}");
        assert!(error.hint().is_some_and(|hint| !hint.contains("  ")), "`{text}`");
    }
}

#[test]
fn ranges_that_hold_more_than_special_addresses_are_rules() {
    for text in
        ["0.0.0.0/0", "0.0.0.0/7", "126.0.0.0/7", "192.0.0.0/2", "128.0.0.0/1", "[::/0]", "[fc00::/6]", "[::/1]"]
    {
        Rule::parse(text).expect(text);
    }
}

#[test]
fn a_list_names_the_entry_that_is_wrong_and_drops_none() {
    let error = parse_entries("--allow", &["192.0.2.1", "192.0.2.1/24", "nonsense"]).unwrap_err();
    let EntryError::Rule { number, of, text, .. } = &error else { panic!("{error}") };
    assert_eq!((*number, *of, text.as_str()), (2, 3, "192.0.2.1/24"));
    assert_eq!(error.to_string(), "--allow 2 of 3, `192.0.2.1/24`");
    assert_eq!(error.hint().unwrap(), "write 192.0.2.0/24, or the address alone without `/`");
    assert_eq!(parse_entries("--allow", &["192.0.2.1", "192.0.2.1"]).unwrap().len(), 2);
    assert_eq!(parse_entries("--allow", &[""; 0]), Ok(vec![]));
    let many = vec!["192.0.2.1"; 1025];
    assert!(matches!(parse_entries("--allow", &many), Err(EntryError::TooMany { of: 1025, .. })));
    assert_eq!(parse_entries("--allow", &many[..1024]).map(|rules| rules.len()), Ok(1024));
}

#[test]
fn an_entry_cannot_drive_a_terminal_or_fill_it() {
    let error = parse_entries("--allow", &[format!("\x1b[2J{}", "x".repeat(10_000))]).unwrap_err();
    assert!(!error.to_string().contains('\x1b') && error.to_string().len() < 200);
}

proptest! {
    #[test]
    fn a_rule_is_shown_as_it_can_be_typed(v4 in any::<bool>(), bits in any::<u128>(), prefix in 0u8..=128, ports in any::<(u16, u16)>(), udp in any::<bool>()) {
        let (address, prefix) = if v4 {
            (IpAddr::from(bits.to_be_bytes().first_chunk::<4>().copied().unwrap()), prefix % 33)
        } else {
            (Ipv6Addr::from_bits(bits).into(), prefix)
        };
        let network = match Cidr::new(address, prefix) {
            Ok(network) | Err(NoCidr::HostBits { network }) => network,
            Err(NoCidr::Prefix { .. }) => unreachable!("it is bounded"),
        };
        let (first, last) = (ports.0.min(ports.1).max(1), ports.0.max(ports.1).max(1));
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let rule = Rule { network, protocol, first_port: first, last_port: last };
        match Rule::parse(&rule.to_string()) {
            Ok(parsed) => prop_assert_eq!(parsed, rule),
            Err(error) => prop_assert!(matches!(error.problem, Problem::Special { .. } | Problem::Clothes), "{} {}", rule, error),
        }
    }

    #[test]
    fn any_text_is_a_rule_or_an_error_with_a_place_in_it(text in "[\\[\\]0-9a-f.:/é-]{0,24}|.{0,24}") {
        match Rule::parse(&text) {
            Ok(rule) => prop_assert_eq!(Rule::parse(&rule.to_string()), Ok(rule)),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.at)),
        }
    }
}
