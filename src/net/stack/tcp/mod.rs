//! TCP (RFC 9293), terminated: the guest's connection ends here, and a socket of the host's goes on in its place.
//!
//! Between guest and stack lies memory, not a network: nothing is lost or reordered on the way, so there is no congestion control,
//! no measured round trip and no selective acknowledgement. What the guest itself drops (it may: its memory is short, its root plays
//! with filters) is sent again from the last acknowledged byte, on three duplicate acknowledgements or after a second.
//! [`segment`] reads and writes headers, [`connection`] is the machine, [`sending`] its half towards the guest.

pub(super) mod connection;
pub(super) mod segment;
pub(super) mod sending;
