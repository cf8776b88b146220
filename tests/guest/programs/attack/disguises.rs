//! What a guest says to whom it has connected to, in the name of the one place that it may reach (`attacks.rs`): the attacker says it, and the
//! test knows what it has to hear.

/// A request (RFC 9112) whose `Host` is not where it goes to.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 203.0.113.10\r\n\r\n";
/// A TLS ClientHello (RFC 8446 §4.1.2) with a server's name (RFC 6066 §3) that is not where it goes to.
pub const HELLO: &[u8] =
    b"\x16\x03\x01\0\x44\x01\0\0\x40\x03\x0301234567890123456789012345678901\0\0\x02\x13\x01\x01\0\0\x15\
                           \0\0\0\x11\0\x0f\0\0\x0c203.0.113.10";

/// What belongs to a form of probe.
pub fn disguise(form: &str) -> Option<&'static [u8]> {
    match form {
        "http" => Some(REQUEST),
        "hello" => Some(HELLO),
        _ => None,
    }
}
