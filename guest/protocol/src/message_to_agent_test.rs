use super::*;
use crate::decoder::Decoder;
use crate::names::InvalidName;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const ONE: ProcessId = ProcessId::FIRST;

fn encoded(message: &ToAgent) -> Vec<u8> {
    let mut bytes = SecretBytes::new();
    message.encode(&mut bytes).unwrap();
    bytes.expose().to_vec()
}

fn decoded(mut bytes: &[u8]) -> Result<ToAgent, ProtocolError> {
    Decoder::new().feed(&mut bytes).map(Option::unwrap)
}

fn start() -> Start {
    let mut env = SecretEnv::new();
    env.push(b"A", b"1").unwrap();
    env.push(b"B", b"").unwrap();
    Start {
        process: ONE,
        argv: vec![c"sh".to_owned(), c"\xff".to_owned()],
        env,
        cwd: c"/w".to_owned(),
        create_cwd: true,
        user: c"u".to_owned(),
        tty: Some(WindowSize { rows: 24, cols: 80 }),
        stdin: false,
    }
}

fn frame(kind: u8, process: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[kind, 0, 0, 0, process, 0, 0, 0, length, 0, 0, 0], payload].concat()
}

const START: &[u8] = b"\x01\0\x01\x18\0\x50\0\x01\0\0\0u\x02\0\0\0/w\x02\0\0\0\x02\0\0\0sh\x01\0\0\0\xff\
    \x02\0\0\0\x07\0\0\0A=1\0B=\0";

#[test]
fn golden() {
    let setup = |scratch: Option<&str>| Setup {
        hostname: Hostname::new("h").unwrap(),
        root: DeviceName::new("vda").unwrap(),
        scratch: scratch.map(|name| DeviceName::new(name).unwrap()),
        network: None,
    };
    let network = |bundle, beyond| {
        let [address, gateway] = [3, 1].map(|host| Ipv4Addr::new(192, 168, 7, host));
        Some(Network { address, gateway, bundle, beyond, mtu: 65_520 })
    };
    let on = |network| ToAgent::Setup(Setup { network, ..setup(None) });
    let signal = SignalNumber::new(15).unwrap();
    let size = WindowSize { rows: 1, cols: 0x0203 };
    let cases = [
        (ToAgent::Setup(setup(None)), frame(1, 0, b"\x01\0\0\0h\x03\0\0\0vda\0\0\0\0\0")),
        (ToAgent::Setup(setup(Some("vdb"))), frame(1, 0, b"\x01\0\0\0h\x03\0\0\0vda\x03\0\0\0vdb\0")),
        (
            on(network(Some(Ipv4Addr::new(192, 168, 7, 2)), false)),
            frame(
                1,
                0,
                b"\x01\0\0\0h\x03\0\0\0vda\0\0\0\0\x01\xc0\xa8\x07\x03\xc0\xa8\x07\x01\xc0\xa8\x07\x02\0\xf0\xff",
            ),
        ),
        (
            on(network(None, true)),
            frame(1, 0, b"\x01\0\0\0h\x03\0\0\0vda\0\0\0\0\x01\xc0\xa8\x07\x03\xc0\xa8\x07\x01\0\0\0\0\x01\xf0\xff"),
        ),
        (ToAgent::Start(start()), frame(2, 1, START)),
        (ToAgent::Stdin { process: ONE, bytes: b"in".to_vec().into() }, frame(3, 1, b"in")),
        (ToAgent::StdinEof { process: ONE }, frame(4, 1, b"")),
        (ToAgent::Resize { process: ONE, size }, frame(5, 1, b"\x01\0\x03\x02")),
        (ToAgent::Signal { process: ONE, signal }, frame(6, 1, b"\x0f")),
        (ToAgent::Credit { process: ONE, stream: OutputStream::Stdout, bytes: 5 }, frame(7, 1, b"\x01\x05\0\0\0")),
        (ToAgent::Shutdown, frame(8, 0, b"")),
        (ToAgent::Put(Put { process: ONE, user: c"u".to_owned() }), frame(10, 1, b"\x01\0\0\0u")),
        (ToAgent::CloseOutput { process: ONE, stream: OutputStream::Stderr }, frame(9, 1, b"\x02")),
    ];
    for (message, bytes) in cases {
        assert_eq!(encoded(&message), bytes);
        // Messages cannot be compared, since secrets cannot; their bytes can.
        assert_eq!(encoded(&decoded(&bytes).ok().unwrap()), bytes);
    }
}

#[test]
fn start_comes_out_as_it_went_in() {
    let Ok(ToAgent::Start(start)) = decoded(&frame(2, 1, START)) else { panic!("not Start") };
    assert_eq!(start.argv, [c"sh".to_owned(), c"\xff".to_owned()]);
    assert!(start.env.entries().eq([c"A=1", c"B="]));
    assert_eq!((start.cwd.as_c_str(), start.user.as_c_str()), (c"/w", c"u"));
    assert_eq!((start.create_cwd, start.stdin), (true, false));
    assert_eq!(start.tty, Some(WindowSize { rows: 24, cols: 80 }));
}

#[test]
fn hostile_starts_are_refused() {
    let refused = |at: usize, bytes: &[u8]| {
        let mut payload = START.to_vec();
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        decoded(&frame(2, 1, &payload)).err().unwrap()
    };
    assert_eq!(refused(0, &[2]), ProtocolError::UnknownValue { field: "create_cwd", value: 2 });
    assert_eq!(refused(11, &[0]), ProtocolError::Nul { field: "user" });
    assert_eq!(refused(17, &[0]), ProtocolError::Nul { field: "cwd" });
    assert_eq!(refused(26, &[0]), ProtocolError::Nul { field: "argv" });
    // Counts that no frame of this length could hold: refused before memory is taken for them.
    let count = u32::MAX;
    assert_eq!(refused(18, &[255; 4]), ProtocolError::Count { field: "argv", count, room: 6 });
    assert_eq!(refused(33, &[255; 4]), ProtocolError::Count { field: "env", count, room: 3 });
    assert_eq!(refused(37, &[255; 4]), ProtocolError::Count { field: "env", count, room: 7 });
    // Fewer or more variables than counted, or one without a name.
    assert!(matches!(refused(33, &[1]), ProtocolError::Variable(_)));
    assert!(matches!(refused(33, &[3]), ProtocolError::Variable(_)));
    assert!(matches!(refused(41, b"="), ProtocolError::Variable(_)));
    assert_eq!(refused(37, &[4]), ProtocolError::Variable(crate::InvalidVariable::Nul { position: 1 }));
}

#[test]
fn a_command_is_needed() {
    let mut bytes = SecretBytes::new();
    let empty = ToAgent::Start(Start { argv: Vec::new(), ..start() });
    assert_eq!(empty.encode(&mut bytes), Err(ProtocolError::NoCommand));
    let payload = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(decoded(&frame(2, 1, payload)).err(), Some(ProtocolError::NoCommand));
}

#[test]
fn the_limit_of_start_is_kept_and_leaves_no_half_frame() {
    let mut env = SecretEnv::new();
    env.push(b"BIG", &vec![b'x'; 4 << 20]).unwrap();
    let mut bytes = SecretBytes::new();
    let refused = ToAgent::Start(Start { env, ..start() }).encode(&mut bytes);
    assert!(matches!(refused, Err(ProtocolError::TooLong { kind: Kind::Start, .. })));
    assert!(bytes.is_empty());
}

#[test]
fn a_start_is_encoded_into_one_allocation() {
    let start = start();
    let mut bytes = SecretBytes::new();
    let fixed = Start::FIXED + 2 * 4 + 3 + 3 + start.env.byte_len();
    bytes.reserve(fixed);
    let place = bytes.expose().as_ptr();
    ToAgent::Start(start).encode(&mut bytes).unwrap();
    assert_eq!(bytes.expose().as_ptr(), place);
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    let setup = |payload: &[u8]| decoded(&frame(1, 0, payload)).err().unwrap();
    let device = |name: &str| ProtocolError::Name(InvalidName::Device { name: name.to_owned() });
    assert_eq!(setup(b"\x01\0\0\0h\x06\0\0\0../etc\0\0\0\0"), device("../etc"));
    assert_eq!(setup(b"\x01\0\0\0h\0\0\0\0\0\0\0\0"), device(""));
    let hostname = ProtocolError::Name(InvalidName::Hostname { name: "a\\nb".to_owned() });
    assert_eq!(setup(b"\x03\0\0\0a\nb\x03\0\0\0vda\0\0\0\0"), hostname);
    for name in ["", "-a", "a-", ".", "a b", "a_b", &"a".repeat(64)] {
        assert!(Hostname::new(name).is_err(), "{name}");
    }
    assert!(Hostname::new(&"a".repeat(63)).is_ok() && Hostname::new("a.b-c.9").is_ok());
}

#[test]
fn signals_are_those_that_exist() {
    for number in [0, 65, 255] {
        let refused = ProtocolError::Name(InvalidName::Signal { number: u32::from(number) });
        assert_eq!(decoded(&frame(6, 1, &[number])).err(), Some(refused));
    }
    assert!(decoded(&frame(6, 1, &[64])).is_ok());
}

proptest! {
    #[test]
    fn any_payload_of_any_kind_is_survived(
        kind in prop::sample::select(&Kind::ALL[..]),
        payload in prop::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..200),
    ) {
        let process = if kind.is_of_machine() { None } else { Some(ONE) };
        let header = Header::new(kind, process, payload.len()).unwrap();
        let bytes = [&header.encode()[..], &payload].concat();
        if let Ok(Some(message)) = Decoder::<ToAgent>::new().feed(&mut &bytes[..]) {
            let again = encoded(&message);
            prop_assert_eq!(again.len(), bytes.len());
        }
    }

    #[test]
    fn a_damaged_start_is_survived(at in 0usize..48, value: u8) {
        let mut payload = START.to_vec();
        let at = at % payload.len();
        payload[at] = value;
        if let Ok(message) = decoded(&frame(2, 1, &payload)) {
            prop_assert!(encoded(&message).len() <= payload.len() + 12);
        }
    }
}
