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

/// As the stack answers.
fn honest(probes: &[Probe]) -> Vec<bool> {
    let group = ["255.255.255.255", "0.0.0.0", "224.0.0.251", "192.168.77.255"].map(|text| text.parse().unwrap());
    probes.iter().map(|probe| probe.destination.is_ipv4() && !group.contains(&probe.destination.ip())).collect()
}

#[test]
fn a_stack_that_does_not_ask_for_what_is_allowed_is_a_surprise() {
    let network = surroundings().network;
    let probes = for_the_stack(&probes(&rules(), &surroundings()));
    let honest = honest(&probes);
    assert_eq!(verify_stack(network, &honest, &probes), Ok(()));
    let allowed = probes.iter().position(|probe| probe.expected != Answer::Denied).unwrap();
    let mut silent = honest.clone();
    silent[allowed] = false;
    assert_eq!(verify_stack(network, &silent, &probes).unwrap_err().destination, probes[allowed].destination);
    for answered in 0..probes.len() {
        let surprise = verify_stack(network, &honest[..answered], &probes).unwrap_err();
        assert_eq!(surprise.destination, probes[answered].destination, "no answer is no answer");
    }
}

#[test]
fn a_stack_that_asks_for_what_no_bottle_has_is_a_surprise() {
    let network = surroundings().network;
    let probes = for_the_stack(&probes(&rules(), &surroundings()));
    let mut never = 0;
    for (index, asks) in honest(&probes).into_iter().enumerate() {
        let mut answers = honest(&probes);
        answers[index] = true;
        assert_eq!(verify_stack(network, &answers, &probes).is_err(), !asks, "{:?}", probes[index]);
        never += usize::from(!asks);
    }
    assert!(never >= 20, "{never}");
}

#[test]
fn the_stack_is_asked_for_what_has_to_be_shut() {
    let asked = for_the_stack(&probes(&rules(), &surroundings()));
    for shut in ["192.168.77.77:80", "127.0.0.1:53", "169.254.169.254:80", "8.8.8.8:53", "[2001:4860:4860::8888]:53"] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let destination = shut.parse().unwrap();
            assert!(asked.contains(&Probe { protocol, destination, expected: Answer::Denied }), "{shut}");
        }
    }
}

#[test]
fn no_question_is_asked_twice() {
    let twice = [rules(), rules()].concat();
    let all = probes(&twice, &surroundings());
    let different: HashSet<_> = all.iter().map(|probe| (probe.protocol, probe.destination)).collect();
    assert_eq!((all.len(), different.len()), (probes(&rules(), &surroundings()).len(), all.len()));
}
