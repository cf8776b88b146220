//! Bytes in both directions, whatever descriptors they lie in.

use super::*;

#[test]
fn bytes_of_the_guest_reach_the_host() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"hello ");
    guest.send(to(5, op::RW), b"world");
    assert_eq!(guest.host_reads(5), b"hello world");
    assert_eq!(guest.told(), [], "small packets cost no credit updates");
}

#[test]
fn bytes_of_the_host_reach_the_guest() {
    let mut guest = Guest::connected(&[5]);
    guest.host_writes(5, b"hello");
    let told = guest.receive();
    assert_eq!(payload(&told), b"hello");
    assert_eq!(told[0].header.op, op::RW);
}

#[test]
fn bytes_written_before_the_guest_connects_are_not_lost() {
    let mut guest = Guest::ready(&[5]);
    guest.host(5).write_all(b"early").unwrap();
    guest.send(to(5, op::REQUEST), b"");
    let told = guest.receive();
    assert_eq!(told[0].header.op, op::RESPONSE);
    assert_eq!(payload(&told), b"early");
}

#[test]
fn an_empty_packet_is_nothing() {
    let mut guest = Guest::connected(&[5]);
    guest.send(to(5, op::RW), b"");
    assert_eq!((guest.host_reads(5), guest.told()), (vec![], vec![]));
}

#[test]
fn a_long_answer_is_spread_over_buffers() {
    let mut guest = Guest::connected(&[5]);
    let data = counting(50_000);
    guest.host_writes(5, &data);
    let told = guest.receive();
    assert_eq!(payload(&told), data);
    assert!(told[..told.len() - 1].iter().all(|packet| packet.payload.len() == 4096 - HEADER));
}

/// Linux from 6.17 on hands over the pages of a large payload one by one.
#[test]
fn a_payload_over_many_descriptors_is_one_payload() {
    let mut guest = Guest::connected(&[5]);
    let data = counting(60_000);
    let header = guest.driver.data(&encode(&Header { len: 60_000, ..to(5, op::RW) }));
    let pages = data.chunks(4096).map(|page| guest.driver.data(page)).collect::<Vec<_>>();
    guest.send_chain(&[&[header], pages.as_slice()].concat());
    assert_eq!(guest.host_reads(5), data);
}

#[test]
fn a_header_over_many_descriptors_is_one_header() {
    let mut guest = Guest::connected(&[5]);
    let whole = guest.driver.data(&[encode(&Header { len: 3, ..to(5, op::RW) }).as_slice(), b"abc"].concat());
    let [first, rest] = whole.split(1);
    let [second, rest] = rest.split(42);
    let [last, payload] = rest.split(2);
    guest.send_chain(&[first, Buffer { length: 0, ..second }, second, last, payload]);
    assert_eq!(guest.host_reads(5), b"abc");
}

#[test]
fn a_packet_across_the_seam_of_two_regions_is_one_packet() {
    for before in [1, 20, 43, 44, 45] {
        let mut guest = Guest::connected(&[5]);
        let bytes = [encode(&Header { len: 3, ..to(5, op::RW) }).as_slice(), b"abc"].concat();
        guest.driver.poke(SEAM - before, &bytes);
        guest.send_chain(&[Buffer::readable(SEAM - before, u32::try_from(bytes.len()).unwrap())]);
        assert_eq!(guest.host_reads(5), b"abc", "{before}");
    }
}

#[test]
fn what_follows_the_payload_in_a_buffer_is_not_sent() {
    let mut guest = Guest::connected(&[5]);
    guest.send_raw(&Header { len: 2, ..to(5, op::RW) }, b"abcdef");
    assert_eq!(guest.host_reads(5), b"ab");
}

// --- Credit ------------------------------------------------------------------------------------------------------------------
