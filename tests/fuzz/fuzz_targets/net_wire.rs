//! Messages between monitor and broker, both directions: what is decoded has one form.
#![no_main]

use bottle_vmm::net::wire::{Reply, Request};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode().as_slice(), bytes);
        assert!(Reply::decode(bytes).is_err());
    }
    if let Ok(reply) = Reply::decode(bytes) {
        assert_eq!(reply.encode().as_slice(), bytes);
    }
});
