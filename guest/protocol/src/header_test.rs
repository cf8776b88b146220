use super::*;

#[test]
fn golden() {
    let header = Header::new(Kind::Stdout, ProcessId::new(0x0102_0304), 0x1234).unwrap();
    assert_eq!(header.encode(), [133, 0, 0, 0, 4, 3, 2, 1, 0x34, 0x12, 0, 0]);
    assert_eq!(Header::decode(&header.encode()), Ok(header));
}

#[test]
fn numbers_of_kinds_never_change() {
    let numbers: Vec<u8> = Kind::ALL.into_iter().map(Kind::number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139]);
}

#[test]
fn every_other_kind_is_refused_by_its_number() {
    for number in 0..=u8::MAX {
        let known = Kind::ALL.into_iter().any(|kind| kind.number() == number);
        let decoded = Header::decode(&[number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decoded == Err(ProtocolError::UnknownKind { kind: number }), !known, "{number}");
    }
}

#[test]
fn every_reserved_bit_must_be_zero() {
    for bit in 0..24 {
        let mut bytes = Header::new(Kind::Ready, None, 0).unwrap().encode();
        bytes[1 + bit / 8] |= 1 << (bit % 8);
        let refused = Err(ProtocolError::Reserved { kind: Kind::Ready, bits: 1 << bit });
        assert_eq!(Header::decode(&bytes), refused);
    }
}

#[test]
fn each_kind_has_its_limit_to_the_byte() {
    for kind in Kind::ALL {
        let process = if kind.is_of_machine() { None } else { Some(ProcessId::FIRST) };
        let limit = kind.limit() as usize;
        assert!(Header::new(kind, process, limit).is_ok());
        let refused = ProtocolError::TooLong { kind, length: limit as u64 + 1, limit: kind.limit() };
        assert_eq!(Header::new(kind, process, limit + 1), Err(refused));
    }
}

#[test]
fn machine_and_process_are_not_confused() {
    for kind in Kind::ALL {
        let process = if kind.is_of_machine() { Some(ProcessId::FIRST) } else { None };
        let refused = ProtocolError::WrongProcess { kind, process: process.map_or(0, ProcessId::get) };
        assert_eq!(Header::new(kind, process, 0), Err(refused));
    }
}

#[test]
fn data_shows_its_length_only() {
    assert_eq!(format!("{:?}", Data::from(b"secret".to_vec())), "6 bytes");
}

#[test]
fn a_data_header_needs_data() {
    assert_eq!(data_header(DataKind::Stdin, ProcessId::FIRST, 0), Err(ProtocolError::Empty { kind: Kind::Stdin }));
    assert!(data_header(DataKind::Stdin, ProcessId::FIRST, MAX_DATA as usize).is_ok());
    assert!(data_header(DataKind::Stdin, ProcessId::FIRST, MAX_DATA as usize + 1).is_err());
}
