use super::*;
use crate::header::ProcessId;
use crate::message_to_agent::ToAgent;
use crate::message_to_host::{OutputStream, ToHost};
use proptest::prelude::*;

fn frames(messages: &[ToHost]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        message.encode(&mut bytes).unwrap();
    }
    bytes
}

fn some_messages() -> Vec<ToHost> {
    let process = ProcessId::FIRST;
    vec![
        ToHost::Ready,
        ToHost::Stdout { process, bytes: vec![7; 1000].into() },
        ToHost::Eof { process, stream: OutputStream::Stderr },
    ]
}

proptest! {
    /// The cuts of the stream do not matter.
    #[test]
    fn any_pieces_make_the_same_messages(cuts in prop::collection::vec(1usize..600, 1..40)) {
        let bytes = frames(&some_messages());
        let (mut decoder, mut got, mut rest) = (Decoder::<ToHost>::new(), Vec::new(), &bytes[..]);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            let (mut piece, behind) = rest.split_at(cut.min(rest.len()));
            rest = behind;
            while !piece.is_empty() {
                got.extend(decoder.feed(&mut piece).unwrap());
            }
        }
        prop_assert_eq!(got, some_messages());
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn any_bytes_are_survived_and_never_buffered_beyond_the_limit(bytes: Vec<u8>) {
        let (mut host, mut agent) = (Decoder::<ToHost>::new(), Decoder::<ToAgent>::new());
        let mut rest = &bytes[..];
        while !rest.is_empty() && host.feed(&mut rest).is_ok() {}
        let mut rest = &bytes[..];
        while !rest.is_empty() && agent.feed(&mut rest).is_ok() {}
        prop_assert!(host.space().len() <= crate::limits::MAX_DATA as usize);
        prop_assert!(agent.space().len() <= crate::limits::MAX_START as usize);
    }

    /// One flipped byte is an error or another message, never a panic and never a wait for more than a frame.
    #[test]
    fn damage_is_survived(at in 0usize..1000, flip in 1u8..=255) {
        let mut bytes = frames(&some_messages());
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let mut rest = &bytes[..];
        let mut decoder = Decoder::<ToHost>::new();
        while !rest.is_empty() && decoder.feed(&mut rest).is_ok() {}
    }
}

#[test]
fn every_truncation_is_told() {
    let bytes = frames(&some_messages());
    let ends = [0, 12, 12 + 1012, 12 + 1012 + 13];
    for cut in 0..bytes.len() {
        let (mut decoder, mut rest) = (Decoder::<ToHost>::new(), &bytes[..cut]);
        while !rest.is_empty() {
            decoder.feed(&mut rest).unwrap();
        }
        assert_eq!(decoder.finish().is_ok(), ends.contains(&cut), "{cut}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_buffered() {
    let mut decoder = Decoder::<ToHost>::new();
    let mut rest: &[u8] = &[133, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0];
    assert!(matches!(decoder.feed(&mut rest), Err(ProtocolError::TooLong { length: 65_537, limit: 65_536, .. })));
    assert!(decoder.space().is_empty());
}

#[test]
fn the_wrong_direction_is_refused_at_the_header() {
    let mut rest: &[u8] = &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(Decoder::<ToHost>::new().feed(&mut rest), Err(ProtocolError::WrongDirection { .. })));
    let mut rest: &[u8] = &[129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(Decoder::<ToAgent>::new().feed(&mut rest), Err(ProtocolError::WrongDirection { .. })));
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::<ToHost>::new();
    let error = decoder.feed(&mut &[255; 12][..]).unwrap_err();
    let good = frames(&[ToHost::Ready]);
    assert_eq!(decoder.feed(&mut &good[..]), Err(error.clone()));
    assert_eq!(decoder.finish(), Err(error));
}
