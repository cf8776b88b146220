use super::super::policy::{Cidr, parse_entries};
use super::*;

fn surroundings() -> Surroundings {
    let network = Cidr::around(Ipv4Addr::new(192, 168, 77, 0), 24);
    Surroundings { network, bundle: Bundle::Virtual(Ipv4Addr::new(192, 168, 77, 2)), host: vec![] }
}

fn rules() -> Vec<Rule> {
    parse_entries("--allow", &["192.0.2.0/24:443", "192.0.2.53:53/udp", "127.0.0.1:80"]).unwrap()
}

/// A judge that is wrong about one thing.
struct Liar {
    honest: Policy,
    about: SocketAddr,
    says: Answer,
}

impl Judge for Liar {
    fn name(&self) -> &'static str {
        "the liar"
    }

    fn answer(&self, protocol: Protocol, destination: SocketAddr) -> Answer {
        if destination == self.about { self.says } else { self.honest.answer(protocol, destination) }
    }
}

#[test]
fn an_honest_judge_is_no_surprise() {
    let policy = Policy::new(rules(), surroundings()).unwrap();
    assert_eq!(verify(&policy, &probes(&rules(), &surroundings())), Ok(()));
}

#[test]
fn each_lie_is_found() {
    let lies = [
        // Open what has to be shut.
        ("192.168.77.77:80", Answer::Direct),
        ("192.168.77.1:22", Answer::Direct),
        ("192.168.77.2:22", Answer::Bundle(22)),
        ("127.0.0.1:22", Answer::Direct),
        ("[::ffff:127.0.0.1]:22", Answer::Direct),
        ("169.254.169.254:80", Answer::Direct),
        ("8.8.8.8:53", Answer::Direct),
        ("[2001:4860:4860::8888]:443", Answer::Direct),
        ("255.255.255.255:53", Answer::Direct),
        // One beyond the plan.
        ("192.0.1.255:443", Answer::Direct),
        ("192.0.3.0:443", Answer::Direct),
        ("192.0.2.0:442", Answer::Direct),
        ("192.0.2.255:444", Answer::Direct),
        ("192.0.2.53:54", Answer::Direct),
        // Shut what the plan allows.
        ("192.0.2.0:443", Answer::Denied),
        ("192.0.2.255:443", Answer::Denied),
        ("192.0.2.53:53", Answer::Denied),
        ("192.168.77.2:8888", Answer::Denied),
        ("127.0.0.1:80", Answer::Denied),
        // The wrong way.
        ("192.168.77.2:9418", Answer::Direct),
        ("192.168.77.2:9418", Answer::Bundle(9420)),
        ("192.0.2.0:443", Answer::Bundle(8888)),
    ];
    let probes = probes(&rules(), &surroundings());
    for (about, says) in lies {
        let about = about.parse().unwrap();
        let liar = Liar { honest: Policy::new(rules(), surroundings()).unwrap(), about, says };
        let surprise = verify(&liar, &probes).expect_err(&about.to_string());
        assert_eq!((surprise.destination, surprise.got), (about, says));
    }
}

#[test]
fn a_policy_without_a_rule_of_the_plan_is_a_surprise() {
    for missing in 0..rules().len() {
        let mut fewer = rules();
        fewer.remove(missing);
        let policy = Policy::new(fewer, surroundings()).unwrap();
        assert!(verify(&policy, &probes(&rules(), &surroundings())).is_err(), "{}", rules()[missing]);
    }
    let mut more = rules();
    more.extend(parse_entries("--allow", &["0.0.0.0/0"]).unwrap());
    let policy = Policy::new(more, surroundings()).unwrap();
    assert!(verify(&policy, &probes(&rules(), &surroundings())).is_err());
}

#[test]
fn what_the_users_own_list_allows_is_expected_as_allowed() {
    let rules = parse_entries("--allow", &["8.8.8.8:53/udp", "169.254.169.254:80"]).unwrap();
    let probes = probes(&rules, &surroundings());
    let allowed: Vec<_> =
        probes.iter().filter(|probe| probe.expected == Answer::Direct).map(|p| p.destination).collect();
    assert!(
        allowed.contains(&"8.8.8.8:53".parse().unwrap()) && allowed.contains(&"169.254.169.254:80".parse().unwrap())
    );
    assert_eq!(verify(&Policy::new(rules, surroundings()).unwrap(), &probes), Ok(()));
}

#[test]
fn a_stack_that_does_not_ask_for_what_is_allowed_is_a_surprise() {
    let probes = probes(&rules(), &surroundings());
    let honest: Vec<_> = probes.iter().map(|probe| probe.expected != Answer::Denied).collect();
    assert_eq!(verify_stack(&honest, &probes), Ok(()));
    assert_eq!(verify_stack(&vec![true; probes.len()], &probes), Ok(()), "the broker says no");
    let allowed = honest.iter().position(|asks| *asks).unwrap();
    let mut silent = honest.clone();
    silent[allowed] = false;
    assert_eq!(verify_stack(&silent, &probes).unwrap_err().destination, probes[allowed].destination);
    assert!(verify_stack(&[], &probes).is_err(), "no answer is no yes");
}
