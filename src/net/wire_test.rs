use super::*;
use proptest::prelude::*;

fn destination() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u32>(), protocol(), destination()).prop_map(|(flow, protocol, destination)| Request::Connect {
            flow,
            protocol,
            destination
        }),
        any::<u32>().prop_map(|flow| Request::Closed { flow }),
        (0..UNASKED.len(), any::<u8>(), destination(), any::<u32>()).prop_map(
            |(cause, protocol, destination, count)| Request::Unasked {
                cause: UNASKED[cause],
                protocol,
                destination,
                count
            }
        ),
        (any::<u32>(), any::<bool>()).prop_map(|(question, asks)| Request::Says { question, asks }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        any::<u32>().prop_map(|flow| Reply::Connected { flow }),
        (any::<u32>(), 0..Cause::ALL.len()).prop_map(|(flow, cause)| Reply::Refused { flow, cause: Cause::ALL[cause] }),
        (any::<u32>(), protocol(), destination()).prop_map(|(question, protocol, destination)| Reply::Ask {
            question,
            protocol,
            destination
        }),
    ]
}

/// Bytes near messages: random ones are nearly always refused for their kind.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let change = proptest::collection::vec((0..RECORD, any::<u8>()), 0..3);
    let whole = prop_oneof![request().prop_map(|m| m.encode()), reply().prop_map(|m| m.encode())];
    let near = (whole, change).prop_map(|(mut bytes, changes)| {
        changes.into_iter().for_each(|(at, value)| bytes[at] = value);
        bytes.to_vec()
    });
    prop_oneof![4 => near, 1 => proptest::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(request in request(), reply in reply()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }

    #[test]
    fn what_is_decoded_has_one_form(bytes in bytes()) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(&request.encode()[..], &bytes[..]);
            prop_assert!(Reply::decode(&bytes).is_err(), "no bytes are a message in both directions");
        }
        if let Ok(reply) = Reply::decode(&bytes) {
            prop_assert_eq!(&reply.encode()[..], &bytes[..]);
        }
    }
}

#[test]
fn the_bytes_are_these() {
    let request =
        Request::Connect { flow: 0x0403_0201, protocol: Protocol::Tcp, destination: "192.0.2.10:443".parse().unwrap() };
    let mut golden = [0; RECORD];
    golden[..16].copy_from_slice(&[1, 6, 4, 0, 1, 2, 3, 4, 0xbb, 0x01, 0, 0, 0, 0, 0, 0]);
    golden[16..20].copy_from_slice(&[192, 0, 2, 10]);
    assert_eq!(request.encode(), golden);
    let reply = Reply::Refused { flow: 7, cause: Cause::Busy };
    golden = [0; RECORD];
    golden[..5].copy_from_slice(&[130, 0, 0, 5, 7]);
    assert_eq!(reply.encode(), golden);
}

#[test]
fn every_unused_byte_has_to_be_zero() {
    let closed = Request::Closed { flow: 1 }.encode();
    for offset in (1..4).chain(8..RECORD) {
        let mut bytes = closed;
        bytes[offset] = 1;
        assert_eq!(Request::decode(&bytes), Err(Malformed::Value { kind: 2, offset }));
    }
    let v4 = Request::Connect { flow: 1, protocol: Protocol::Udp, destination: "192.0.2.1:53".parse().unwrap() };
    for offset in (20..RECORD).chain([3, 10, 11, 12, 15]) {
        let mut bytes = v4.encode();
        bytes[offset] = 1;
        assert_eq!(Request::decode(&bytes), Err(Malformed::Value { kind: 1, offset }));
    }
}

#[test]
fn what_means_nothing_is_refused_and_says_where() {
    let connect =
        Request::Connect { flow: 1, protocol: Protocol::Tcp, destination: "[2001:db8::1]:443".parse().unwrap() }
            .encode();
    let with = |offset: usize, value: u8| {
        let mut bytes = connect;
        bytes[offset] = value;
        Request::decode(&bytes)
    };
    for protocol in (0..=255).filter(|number| ![6, 17].contains(number)) {
        assert_eq!(with(1, protocol), Err(Malformed::Value { kind: 1, offset: 1 }));
    }
    for family in (0..=255).filter(|number| ![4, 6].contains(number)) {
        assert_eq!(with(2, family), Err(Malformed::Value { kind: 1, offset: 2 }));
    }
    for length in (0..RECORD).chain([RECORD + 1]) {
        let bytes = [connect.as_slice(), &[0]].concat();
        assert_eq!(Request::decode(&bytes[..length]), Err(Malformed::Length { got: length }));
    }
    for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
        assert_eq!(with(0, kind), Err(Malformed::Kind { kind }));
    }
}
