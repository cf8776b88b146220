use super::*;
use proptest::prelude::*;

#[test]
fn it_ends_at_zero_and_fills_to_the_brim() {
    let mut window = Window::new();
    window.consume(INITIAL_WINDOW).unwrap();
    assert_eq!(window.consume(1), Err(ProtocolError::Overrun { bytes: 1, available: 0 }));
    assert_eq!(window.available(), 0);
    window.refill(INITIAL_WINDOW).unwrap();
    assert_eq!(window.refill(1), Err(ProtocolError::Overcredit { bytes: 1, outstanding: 0 }));
    assert_eq!(window.refill(u32::MAX), Err(ProtocolError::Overcredit { bytes: u32::MAX, outstanding: 0 }));
    assert_eq!(window, Window::new());
}

#[test]
fn nothing_can_be_disposed_of_that_did_not_arrive() {
    let mut receiver = ReceiveWindow::new();
    receiver.receive(10).unwrap();
    assert_eq!(receiver.dispose(10), Ok(None));
    assert_eq!(receiver.dispose(1), Err(ProtocolError::Overcredit { bytes: 1, outstanding: 0 }));
    assert!(receiver.receive(usize::MAX).is_err());
    assert!(receiver.dispose(usize::MAX).is_err());
}

proptest! {
    /// A sender and a receiver that keep the rules never break them for each other, and never come to a halt.
    #[test]
    fn two_sides_agree(steps in prop::collection::vec((1u32..100_000, 0u32..100_000), 1..200)) {
        let (mut sender, mut receiver, mut held) = (Window::new(), ReceiveWindow::new(), 0u32);
        for (send, take) in steps {
            let sent = send.min(sender.available());
            sender.consume(sent).unwrap();
            receiver.receive(sent as usize).unwrap();
            held += sent;
            let taken = take.min(held);
            held -= taken;
            prop_assert_eq!(receiver.undisposed(), held + taken);
            if let Some(credit) = receiver.dispose(taken as usize).unwrap() {
                sender.refill(credit).unwrap();
            }
            prop_assert!(held > 0 || sender.available() > INITIAL_WINDOW / 2);
        }
    }
}
