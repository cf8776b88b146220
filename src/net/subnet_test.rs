use super::turns::alone;
use super::*;
use std::collections::HashSet;

fn cidr(text: &str, prefix: u8) -> Cidr {
    Cidr::new(text.parse().unwrap(), prefix).unwrap()
}

#[test]
fn a_name_has_its_place_and_every_place_comes_once() {
    // printf NAME | sha256sum, first 16 digits as a number, modulo 253, in the list without 0, 17 and 255.
    for (name, third) in [("demo", 156), ("bottle-a", 106)] {
        assert_eq!(candidates(name).next(), Some(third), "{name}");
    }
    let all: Vec<_> = candidates("demo").collect();
    assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (253, 253));
    assert!(SKIPPED.iter().all(|skipped| !all.contains(skipped)));
    assert_eq!(all.windows(2).filter(|pair| pair[1] < pair[0]).count(), 1, "upwards, and around once");
}

#[test]
fn a_bottle_that_is_started_again_has_the_same_addresses() {
    let _turn = alone();
    let first = Subnet::allocate("again", None, &[]).unwrap();
    let addresses = (first.gateway(), first.bundle(), first.guest(), first.network());
    drop(first);
    let second = Subnet::allocate("again", None, &[]).unwrap();
    assert_eq!((second.gateway(), second.bundle(), second.guest(), second.network()), addresses);
    let [a, b, third, one] = addresses.0.octets();
    assert_eq!((a, b, one), (192, 168, 1));
    assert_eq!(addresses.1.octets(), [192, 168, third, 2]);
    assert_eq!(addresses.2.octets(), [192, 168, third, 3]);
    assert_eq!(addresses.3, cidr(&format!("192.168.{third}.0"), 24));
}

/// What it had before is recorded in a file, which may say anything.
#[test]
fn the_network_that_it_had_is_tried_first_and_only_if_it_is_one() {
    let _turn = alone();
    let own = candidates("before").next().unwrap();
    let third = |before: [u8; 4], taken: &[Cidr]| {
        Subnet::allocate("before", Some(before.into()), taken).unwrap().network().to_string()
    };
    let network = |third: u8| format!("192.168.{third}.0/24");
    let other = candidates("before").nth(7).unwrap();
    assert_eq!(third([192, 168, other, 0], &[]), network(other));
    assert_eq!(third([192, 168, other, 0], &[cidr(&network(other).replace("/24", ""), 24)]), network(own));
    let held = Subnet::allocate("before", Some([192, 168, other, 0].into()), &[]).unwrap();
    assert_eq!((held.third, third([192, 168, other, 0], &[])), (other, network(own)));
    for none in [[192, 168, 0, 0], [192, 168, 17, 0], [192, 168, 255, 0], [10, 0, other, 0]] {
        assert_eq!(third(none, &[]), network(own), "{none:?}");
    }
}

#[test]
fn what_the_host_routes_is_passed_over() {
    let _turn = alone();
    let own = candidates("routed").next().unwrap();
    let next = candidates("routed").nth(1).unwrap();
    for taken in [
        cidr(&format!("192.168.{own}.0"), 24),
        cidr(&format!("192.168.{own}.128"), 25),
        cidr(&format!("192.168.{own}.7"), 32),
    ] {
        assert_eq!(Subnet::allocate("routed", None, &[taken]).unwrap().third, next, "{taken}");
    }
    for wide in [cidr("0.0.0.0", 0), cidr("192.168.0.0", 16), cidr("10.0.0.0", 24)] {
        assert_eq!(Subnet::allocate("routed", None, &[wide]).unwrap().third, own, "{wide}");
    }
    let halves = [cidr("192.168.0.0", 17), cidr("192.168.128.0", 17)];
    let error = Subnet::allocate("routed", None, &halves).unwrap_err();
    assert!(matches!(error, SubnetError::None { routed: 253, running: 0 }), "{error}");
    assert!(error.hint().contains("ip route"));
}

#[test]
fn fifty_at_once_get_fifty_networks() {
    let _turn = alone();
    // The same name, so that all begin at the same place.
    let threads: Vec<_> =
        (0..50).map(|_| std::thread::spawn(|| Subnet::allocate("crowd", None, &[]).unwrap())).collect();
    let subnets: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(subnets.iter().map(|subnet| subnet.third).collect::<HashSet<_>>().len(), 50);
    drop(subnets);
    assert_eq!(Subnet::allocate("crowd", None, &[]).unwrap().third, candidates("crowd").next().unwrap());
}

#[test]
fn when_all_are_taken_it_says_so() {
    let _turn = alone();
    let all: Vec<_> = (0..253).map(|_| Subnet::allocate("all", None, &[]).unwrap()).collect();
    let error = Subnet::allocate("one more", None, &[]).unwrap_err();
    assert!(matches!(error, SubnetError::None { routed: 0, running: 253 }), "{error}");
    assert_eq!(all.len(), 253);
}
