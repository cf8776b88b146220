//! What the stack needs of the host's end of a flow: a non-blocking socket, or a test's script.

use std::io;
use vm_memory::VolatileSlice;

/// A connected stream, or a connected datagram socket. Nothing here waits: what is not possible now is `WouldBlock`, and
/// [`super::Stack::host_ready`] is called when it is.
pub trait HostSocket {
    /// Sends from guest memory: of a stream as many bytes as it takes, of a datagram all or nothing.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` is none of the flow's.
    fn send(&mut self, parts: &[VolatileSlice<'_>]) -> io::Result<usize>;

    /// Receives bytes, or one datagram of which the rest is lost if `buffer` is too short. Of a stream, 0 is the end.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` is none of the flow's.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// No more will be sent.
    fn finish(&mut self);

    /// The other side is to see a reset instead of an end when this is dropped.
    fn abort(&mut self);
}
