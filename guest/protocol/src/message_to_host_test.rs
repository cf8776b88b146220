use super::*;
use crate::decoder::Decoder;
use proptest::prelude::*;

fn encoded(message: &ToHost) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

fn decoded(mut bytes: &[u8]) -> Result<Option<ToHost>, ProtocolError> {
    Decoder::new().feed(&mut bytes)
}

const ONE: ProcessId = ProcessId::FIRST;

fn hello() -> Hello {
    Hello { agent: "0.1.0".to_owned(), kernel: "6.1".to_owned(), limits: ArgumentLimits::GUEST }
}

#[test]
fn golden() {
    let frame = |kind: u8, process: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[kind, 0, 0, 0, process, 0, 0, 0, length, 0, 0, 0], payload].concat()
    };
    let cases = [
        (
            ToHost::Hello(hello()),
            frame(128, 0, b"BTLA\x04\0\0\0\x20\0\0\0\0\0\0\0\x02\0\0\0\0\0\x05\0\0\x000.1.0\x03\0\0\x006.1"),
        ),
        (ToHost::Ready, frame(129, 0, b"")),
        (ToHost::SetupFailed { what: "no".to_owned(), errno: 2 }, frame(130, 0, b"\x02\0\0\0\x02\0\0\0no")),
        (ToHost::EnvAcknowledged { process: ONE, count: 3 }, frame(138, 1, b"\x03\0\0\0")),
        (ToHost::Started { process: ONE, pid: 77 }, frame(131, 1, b"\x4d\0\0\0")),
        (
            ToHost::StartFailed { process: ONE, stage: StartStage::NotFound, errno: -1, detail: "x".to_owned() },
            frame(132, 1, b"\x03\xff\xff\xff\xff\x01\0\0\0x"),
        ),
        (ToHost::Stdout { process: ONE, bytes: b"o".to_vec().into() }, frame(133, 1, b"o")),
        (ToHost::Stderr { process: ONE, bytes: b"e".to_vec().into() }, frame(134, 1, b"e")),
        (ToHost::Eof { process: ONE, stream: OutputStream::Stderr }, frame(135, 1, b"\x02")),
        (ToHost::Credit { process: ONE, bytes: 256 }, frame(136, 1, b"\0\x01\0\0")),
        (ToHost::PutFailed { process: ONE, errno: 2, detail: "x".to_owned() }, frame(139, 1, b"\x02\0\0\0\x01\0\0\0x")),
        (ToHost::Exited { process: ONE, status: ExitStatus::Code(7) }, frame(137, 1, b"\0\x07")),
        (ToHost::Exited { process: ONE, status: ExitStatus::Signal(9) }, frame(137, 1, b"\x01\x09")),
    ];
    for (message, bytes) in cases {
        assert_eq!(encoded(&message), bytes, "{message:?}");
        assert_eq!(decoded(&bytes), Ok(Some(message)));
    }
}

#[test]
fn a_stranger_and_another_version_are_told_apart() {
    let good = encoded(&ToHost::Hello(hello()));
    let mut stranger = good.clone();
    stranger[12..16].copy_from_slice(b"SSH-");
    assert_eq!(decoded(&stranger), Err(ProtocolError::Magic { found: *b"SSH-" }));
    // A later version may have anything behind its number, even nothing.
    let later = [128, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, b'B', b'T', b'L', b'A', 5, 0];
    assert_eq!(decoded(&later), Err(ProtocolError::Version { found: 5, ours: VERSION }));
}

#[test]
fn short_and_long_payloads_are_refused() {
    let good = encoded(&ToHost::Started { process: ONE, pid: 1 });
    let with_length = |length: u8| {
        let mut bytes = good.clone();
        bytes.resize(12 + usize::from(length), 0);
        bytes[8] = length;
        decoded(&bytes)
    };
    assert_eq!(with_length(3), Err(ProtocolError::Truncated { field: "pid" }));
    assert_eq!(with_length(5), Err(ProtocolError::Trailing { bytes: 1 }));
    assert!(with_length(4).is_ok());
}

#[test]
fn unknown_values_are_refused_by_their_number() {
    let eof = [135, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3];
    assert_eq!(decoded(&eof), Err(ProtocolError::UnknownValue { field: "stream", value: 3 }));
    let exited = [137, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9, 0];
    assert_eq!(decoded(&exited), Err(ProtocolError::UnknownValue { field: "how it ended", value: 9 }));
    let stage = [132, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decoded(&stage), Err(ProtocolError::UnknownValue { field: "stage", value: 200 }));
}

#[test]
fn text_that_is_too_long_is_cut_at_a_character() {
    let what = "é".repeat(3000);
    let Ok(Some(ToHost::SetupFailed { what: cut, .. })) = decoded(&encoded(&ToHost::SetupFailed { what, errno: 0 }))
    else {
        panic!("not SetupFailed")
    };
    assert_eq!(cut, "é".repeat(1024));
}

#[test]
fn a_text_whose_length_lies_is_refused() {
    let bytes = [130, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    assert_eq!(decoded(&bytes), Err(ProtocolError::Count { field: "what", count: u32::MAX, room: 0 }));
    let bytes = [130, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xff];
    assert_eq!(decoded(&bytes), Err(ProtocolError::NotText { field: "what" }));
}

#[test]
fn too_much_data_is_not_encoded_and_leaves_nothing_behind() {
    let mut bytes = b"before".to_vec();
    let long = ToHost::Stdout { process: ONE, bytes: vec![0; 65_537].into() };
    assert!(matches!(long.encode(&mut bytes), Err(ProtocolError::TooLong { length: 65_537, .. })));
    let empty = ToHost::Stderr { process: ONE, bytes: Vec::new().into() };
    assert_eq!(empty.encode(&mut bytes), Err(ProtocolError::Empty { kind: Kind::Stderr }));
    assert_eq!(bytes, b"before");
}

#[test]
fn an_exit_code_is_as_a_shell_tells_it() {
    assert_eq!(ExitStatus::Code(7).exit_code(), 7);
    assert_eq!(ExitStatus::Signal(9).exit_code(), 137);
    assert_eq!(ExitStatus::Signal(200).exit_code(), 255);
}

proptest! {
    #[test]
    fn any_payload_of_any_kind_is_survived(kind in prop::sample::select(&Kind::ALL[..]), payload: Vec<u8>) {
        let process = if kind.is_of_machine() { None } else { Some(ONE) };
        let header = Header::new(kind, process, payload.len()).unwrap();
        let bytes = [&header.encode()[..], &payload].concat();
        if let Ok(Some(message)) = decoded(&bytes) {
            prop_assert_eq!(encoded(&message), bytes, "what is accepted has one form only");
        }
    }
}
