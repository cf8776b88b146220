//! The control channel, both directions, in pieces of any size: what is understood can be said again.
#![no_main]

use bottle_protocol::{Decoder, Message, SecretBytes, ToAgent, ToHost};

fn decode<M: Message>(bytes: &[u8], piece: usize, mut each: impl FnMut(M)) {
    let mut decoder = Decoder::<M>::new();
    for mut input in bytes.chunks(piece) {
        while !input.is_empty() {
            match decoder.feed(&mut input) {
                Ok(Some(message)) => each(message),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
    let _ = decoder.finish();
}

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<u8>)| {
    let piece = usize::from(input.0) + 1;
    decode::<ToHost>(&input.1, piece, |message| {
        let mut again = Vec::new();
        message.encode(&mut again).expect("what was decoded can be encoded");
    });
    decode::<ToAgent>(&input.1, piece, |message| {
        let mut again = SecretBytes::new();
        message.encode(&mut again).expect("what was decoded can be encoded");
    });
});
