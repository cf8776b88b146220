use super::super::args::{Cli, Command};
use super::*;
use crate::net::ledger::{About, Destination};
use crate::net::policy::Protocol;
use clap::Parser as _;
use std::time::Instant;

fn args(words: &[&str]) -> Result<RunArgs, String> {
    let words = ["bottle-vmm", "run"].iter().chain(words).chain(&["--", "true"]);
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Run(args) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

fn planned(words: &[&str]) -> Option<Egress> {
    plan(&args(words).unwrap()).unwrap()
}

#[track_caller]
fn refused(words: &[&str]) -> String {
    super::super::report::render(&plan(&args(words).unwrap()).unwrap_err())
}

#[test]
fn nothing_allowed_is_no_network() {
    assert!(planned(&[]).is_none());
    assert!(planned(&["--net", "none"]).is_none());
    assert!(args(&["--net", "none", "--allow", "192.0.2.1"]).unwrap_err().contains("cannot be used with"));
    assert!(args(&["--net", "host"]).unwrap_err().contains("possible values: none"));
}

#[test]
fn every_allow_counts() {
    let egress = planned(&["--allow", "192.0.2.0/24:443", "--allow", "198.51.100.1:53/udp"]).unwrap();
    let rules: Vec<_> = egress.rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["192.0.2.0/24:443", "198.51.100.1:53/udp"]);
    assert_eq!((egress.rate, egress.bandwidth), (None, None));
    let limited = planned(&["--allow", "192.0.2.1", "--egress-rate", "50", "--egress-bandwidth", "2M"]).unwrap();
    assert_eq!((limited.rate, limited.bandwidth), (Some(50), Some(2 << 20)));
}

#[test]
fn a_wrong_allow_is_told_with_its_place_and_the_way_out() {
    assert_eq!(
        refused(&["--allow", "192.0.2.1", "--allow", "192.0.2.7/24:443"]),
        "bottle-vmm: --allow 2 of 2, `192.0.2.7/24:443`\n  \
         caused by: character 1: the address has bits behind its prefix; the network is 192.0.2.0/24\n\
         hint: write 192.0.2.0/24, or the address alone without `/`\n"
    );
    let name = refused(&["--allow", "example.com:443"]);
    assert!(name.contains("character 1: an IPv4 address belongs here\n"), "{name}");
    assert!(name.contains("names are not looked up: `getent ahostsv4 NAME` tells"), "{name}");
    assert!(!name.contains("IPv6"), "which a bottle has not: {name}");
    assert!(refused(&["--allow", "2001:db8::1"]).contains("hint: a bottle has no IPv6"));
    assert!(refused(&["--allow", ""]).contains("--allow 1 of 1"));
}

/// Here, and not when an image has been made for it.
#[test]
fn what_no_bottle_can_reach_is_refused_at_once() {
    for (rule, why) in [("[2001:db8::1]:53/udp", "no IPv6"), ("[::/0]", "no IPv6"), ("224.0.0.1", "goes nowhere")] {
        let text = refused(&["--allow", "192.0.2.1", "--allow", rule]);
        assert!(text.contains(&format!("`{rule}` could never be reached")) && text.contains(why), "{text}");
    }
    assert!(refused(&["--bundle", "external=2001:db8::1"]).contains("no IPv6"));
    let both = refused(&["--bundle", "external=192.0.2.2", "--allow", "192.0.2.2:22"]);
    assert!(both.contains("`192.0.2.2:22` names the bundle's address"), "{both}");
    assert!(planned(&["--bundle", "external=192.0.2.2", "--allow", "192.0.2.0/24:22"]).is_some());
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    for option in [["--egress-log", "/nowhere/log"], ["--egress-rate", "5"], ["--egress-bandwidth", "1M"]] {
        let text = refused(&option);
        assert!(text.contains(option[0]) && text.contains("without a network") && text.contains("hint: "), "{text}");
    }
    assert!(args(&["--allow", "192.0.2.1", "--egress-rate", "0"]).is_err());
    assert!(args(&["--allow", "192.0.2.1", "--egress-bandwidth", "0"]).is_err());
}

#[test]
fn a_bundle_is_one_of_two_kinds() {
    let word = |text: &str| text.parse::<BundleWord>();
    assert_eq!(word("external=192.0.2.2"), Ok(BundleWord::External([192, 0, 2, 2].into())));
    assert_eq!(word("external=[2001:db8::2]"), Ok(BundleWord::External("2001:db8::2".parse().unwrap())));
    assert_eq!(word("external=2001:db8::2"), Ok(BundleWord::External("2001:db8::2".parse().unwrap())));
    assert_eq!(word("sockets=/run/x"), Ok(BundleWord::Sockets("/run/x".into())));
    for text in ["external=192.0.2.2:8888", "external=host", "external="] {
        assert_eq!(word(text), Err(BundleWordError::Address), "{text}");
    }
    for text in ["", "sockets=", "192.0.2.2", "docker=x"] {
        assert_eq!(word(text), Err(BundleWordError::Form), "{text}");
    }
    assert!(matches!(planned(&["--bundle", "external=192.0.2.2"]).unwrap().bundle, BundlePlan::External(_)));
    assert!(refused(&["--bundle", "sockets=/nowhere"]).contains("cannot open the bundle's directory /nowhere"));
}

#[test]
fn a_report_reads_as_a_list() {
    let mut ledger = Ledger::new(None);
    let mut many = Ledger::new(None);
    let to = |text: &str, protocol| Destination::of_flow(protocol, text.parse().unwrap());
    ledger.connected(to("192.0.2.10:443", Protocol::Tcp), "direct", Instant::now());
    ledger.denied(to("8.8.8.8:53", Protocol::Udp), "not allowed", Instant::now());
    ledger.denied(to("8.8.8.8:53", Protocol::Udp), "not allowed", Instant::now());
    for port in 1..=1030 {
        many.connected(to(&format!("192.0.2.10:{port}"), Protocol::Tcp), "direct", Instant::now());
    }
    let about = About {
        bottle: "demo".into(),
        network: "192.168.7.0/24".into(),
        rules: vec!["192.0.2.0/24:443".into()],
        bundle: Some("192.168.7.2".into()),
    };
    assert_eq!(
        render(&ledger.report(&about)),
        "bottle demo in 192.168.7.0/24\n\
         allowed  192.0.2.0/24:443\n\
         bundle   192.168.7.2\n\
         connections: 1 made, 0 under way, 2 refused, 0 failed, 0 put off; 0 packets refused\n\
         connected\n  192.0.2.10:443/tcp  (direct)\n\
         refused\n  8.8.8.8:53/udp ×2  (not allowed)\n"
    );
    assert!(render(&many.report(&about)).ends_with("  192.0.2.10:1024/tcp  (direct)\n  6 more elsewhere\n"));
    assert_eq!(summary(&Mutex::new(ledger)).unwrap(), "egress: 2 refused: 8.8.8.8:53/udp ×2");
}
