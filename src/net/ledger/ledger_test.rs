use super::*;

fn udp(text: &str) -> Destination {
    Destination::of_flow(Protocol::Udp, text.parse().unwrap())
}

#[test]
fn nothing_refused_is_nothing_to_say() {
    let mut ledger = Ledger::new(None);
    assert_eq!(ledger.summary(), None);
    ledger.connected(udp("192.0.2.1:53"), "direct", Instant::now());
    ledger.failed(udp("192.0.2.1:54"), "connection refused", Instant::now());
    let everyday = [Unasked::Group, Unasked::Ipv6, Unasked::Resolution];
    let group = Destination::of_packet(58, "[ff02::2]:0".parse().unwrap());
    everyday.into_iter().for_each(|cause| ledger.unasked(cause, group, 5, Instant::now()));
    assert_eq!(ledger.summary(), None);
    assert_eq!(ledger.counts(), Counts { connected: 1, failed: 1, unasked: 15, ..Counts::default() });
}

#[test]
fn the_summary_names_the_most_refused_first() {
    let mut ledger = Ledger::new(None);
    let now = Instant::now();
    ledger.denied(udp("8.8.8.8:53"), "not allowed", now);
    ledger.denied(udp("8.8.8.8:53"), "not allowed", now);
    ledger.unasked(Unasked::Icmp, Destination::of_packet(1, "192.0.2.1:0".parse().unwrap()), 1, now);
    assert_eq!(ledger.summary().unwrap(), "egress: 3 refused: 8.8.8.8:53/udp ×2, 192.0.2.1/icmp");
    for port in 1..=10 {
        ledger.denied(Destination::of_flow(Protocol::Tcp, SocketAddr::new([192, 0, 2, 9].into(), port)), "no", now);
    }
    ledger.busy(udp("8.8.8.8:53"), "too many connections a second", now);
    let summary = ledger.summary().unwrap();
    assert!(summary.starts_with("egress: 13 refused: 8.8.8.8:53/udp ×2, "), "{summary}");
    assert!(summary.ends_with("and 7 other destinations; 1 put off by a limit"), "{summary}");
}

#[test]
fn a_flood_of_destinations_fills_no_memory() {
    let mut ledger = Ledger::new(None);
    for port in 1..=u16::MAX {
        ledger.denied(udp(&format!("192.0.2.1:{port}")), "not allowed", Instant::now());
    }
    let about = About { bottle: "b".into(), network: String::new(), rules: vec![], bundle: None };
    let report = ledger.report(&about);
    assert_eq!((report.refused_to.len(), report.refused_elsewhere), (1024, 65_535 - 1024));
    assert_eq!(report.counts.denied, 65_535);
    assert!(ledger.summary().unwrap().starts_with("egress: 65535 refused: "));
    assert!(ledger.summary().unwrap().contains("and over 1019 other destinations"));
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn connections_that_are_not_told_apart_are_told_of() {
    let mut ledger = Ledger::new(None);
    for port in 1..=1030 {
        ledger.connected(udp(&format!("192.0.2.1:{port}")), "direct", Instant::now());
    }
    ledger.connected(udp("192.0.2.1:1030"), "direct", Instant::now());
    ledger.connected(udp("192.0.2.1:1"), "direct", Instant::now());
    let about = About { bottle: "b".into(), network: String::new(), rules: vec![], bundle: None };
    let report = ledger.report(&about);
    assert_eq!((report.connected_to.len(), report.connected_elsewhere), (1024, 7));
    let told = "egress: connected to more than 1024 destinations, and 7 times to those that are not listed";
    assert_eq!(ledger.summary().as_deref(), Some(told));
}
