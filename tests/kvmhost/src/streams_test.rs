use proptest::prelude::*;

use super::*;

/// Gives the pieces one read at a time.
struct Pieces(Vec<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.0.first().is_some_and(Vec::is_empty) {
            self.0.remove(0);
        }
        let Some(piece) = self.0.first_mut() else { return Ok(0) };
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        Ok(count)
    }
}

fn mark(text: &str) -> EndMark {
    EndMark(text.into())
}

proptest! {
    #[test]
    fn what_precedes_the_mark_arrives_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..6), 0..12),
        cut in 0_usize..5,
    ) {
        // The mark begins like the data, so every false beginning is tried.
        let end = mark("abab!");
        let data = pieces.concat();
        let mut pieces = pieces;
        pieces.push(b"abab!"[..cut].to_vec());
        pieces.push(b"abab!"[cut..].to_vec());
        let Arrival::Whole(got) = carry(Pieces(pieces), &end, Sink::Capture) else { panic!("the mark was not seen") };
        prop_assert_eq!(got, data);
    }

    #[test]
    fn a_stream_cut_short_arrives_up_to_the_cut(
        pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..6), 0..12),
    ) {
        let data = pieces.concat();
        let Arrival::Cut(got) = carry(Pieces(pieces), &mark("abab!"), Sink::Capture) else { panic!("there was no mark") };
        prop_assert_eq!(got, data);
    }
}

#[test]
fn only_a_possible_beginning_of_the_mark_waits() {
    let mut taken = Vec::new();
    let mut take = |bytes: &[u8]| {
        taken.push(bytes.to_vec());
        Ok(())
    };
    let mut from = Pieces(vec![b"prompt$ ".to_vec(), b"xk".to_vec(), b"it".to_vec(), b"kvm!".to_vec()]);
    assert!(copy_to_mark(&mut from, b"kvm!", &mut take).unwrap());
    assert_eq!(taken, [b"prompt$ ".to_vec(), b"x".to_vec(), b"kit".to_vec(), b"".to_vec()]);
}

#[test]
fn a_reader_that_is_gone_ends_the_stream() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let arrival = carry(Pieces(vec![b"text".to_vec()]), &mark("end"), Sink::Writer(Box::new(Gone)));
    assert!(matches!(arrival, Arrival::Refused(error) if error.kind() == io::ErrorKind::BrokenPipe));
}

#[test]
fn marks_differ() {
    assert_ne!(EndMark::random(), EndMark::random());
}
