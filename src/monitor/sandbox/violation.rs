//! A system call that no filter allows: the kernel does not do it, and sends SIGSYS to the thread instead (seccomp(2),
//! SECCOMP_RET_TRAP). The handler tells the launcher which one it was and ends the process.
//!
//! SECCOMP_RET_KILL_PROCESS would need no handler, but nobody but the host's audit log would learn the name. The handler cannot be
//! abused: it cannot be replaced (the filters allow no rt_sigaction for SIGSYS), a thread that blocks SIGSYS is killed by the kernel, and
//! whatever a thread that is taken over does to the report, the call was not made.
#![expect(unsafe_code, reason = "a signal handler, and the two system calls that it makes")]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use syscalls::Sysno;

/// What the monitor exits with, as a shell would show a death by SIGSYS: the launcher understands it without the report, too.
pub const EXIT_VIOLATION: i32 = 128 + libc::SIGSYS;

/// `si_code` of a SIGSYS from a filter (linux/signal.h).
const SYS_SECCOMP: i32 = 1;

static CONTROL: AtomicI32 = AtomicI32::new(-1);

/// The system call's name on this machine, if it has one.
#[must_use]
pub fn syscall_name(number: u32) -> Option<&'static str> {
    Sysno::new(usize::try_from(number).ok()?).map(|call| call.name())
}

/// Installs the handler. Fails on a kernel whose seccomp cannot trap.
pub(super) fn report_to(control: RawFd) -> Result<String, String> {
    let action: u32 = libc::SECCOMP_RET_TRAP;
    // SAFETY: the call reads one u32 behind the pointer, which lives until it returns.
    let available = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if available != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("this kernel has no seccomp filters: {error}"));
    }
    CONTROL.store(control, Ordering::Relaxed);
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_violation), flags, SigSet::all());
    // SAFETY: the handler keeps to async-signal-safe calls (signal-safety(7)): loads, send(2) and _exit(2).
    unsafe { sigaction(Signal::SIGSYS, &action) }.map_err(|error| format!("cannot watch for violations: {error}"))?;
    Ok("system calls by thread and argument".to_owned())
}

extern "C" fn on_violation(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // Signal, error, code, padding, an address, the number (linux/signal.h); libc's type stops at the code.
    // SAFETY: the kernel passes a siginfo_t, which is 128 bytes and at least as aligned as the ints that it begins with.
    let [_signal, _errno, code, _, _, _, number] = unsafe { *info.cast::<[i32; 7]>() };
    if code == SYS_SECCOMP {
        let mut packet = [0; PACKET_MAX];
        let packet = write_packet(&mut packet, number.cast_unsigned());
        // Not waiting: a launcher that does not read must not keep this process alive. It sees the exit code in any case.
        // SAFETY: the pointer and the length are those of a slice on this stack.
        unsafe {
            libc::send(
                CONTROL.load(Ordering::Relaxed),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
    }
    // SAFETY: ends the process; nothing runs after it.
    unsafe { libc::_exit(EXIT_VIOLATION) }
}

const HEAD: &[u8] = br#"{"violation":{"syscall":"#;
const TAIL: &[u8] = b"}}";
/// Digits of the largest u32.
const DIGITS: usize = 10;
const PACKET_MAX: usize = HEAD.len() + DIGITS + TAIL.len();

/// [`super::super::wire::MonitorEvent::Violation`] as JSON, without allocating.
fn write_packet(buffer: &mut [u8; PACKET_MAX], number: u32) -> &[u8] {
    let (mut digits, mut count, mut rest) = ([0; DIGITS], 0, number);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        (count, rest) = (count + 1, rest / 10);
        if rest == 0 {
            break;
        }
    }
    let text = HEAD.iter().chain(digits.iter().skip(DIGITS - count)).chain(TAIL);
    let mut length = 0;
    for (place, byte) in buffer.iter_mut().zip(text) {
        *place = *byte;
        length += 1;
    }
    buffer.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::MonitorEvent;

    #[test]
    fn the_launcher_understands_the_report() {
        for number in [0, 7, 42, 425, 0x4000_0029, u32::MAX] {
            let event: MonitorEvent = serde_json::from_slice(write_packet(&mut [0; PACKET_MAX], number)).unwrap();
            assert_eq!(event, MonitorEvent::Violation { syscall: number });
        }
    }

    #[test]
    fn calls_have_names_as_far_as_they_exist() {
        assert_eq!(syscall_name(42), Some("connect"));
        assert_eq!(syscall_name(425), Some("io_uring_setup"));
        assert_eq!(syscall_name(0x4000_0029), None);
    }
}
