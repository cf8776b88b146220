//! The system calls that each kind of thread may make once its guest runs; everything else is a violation.
//!
//! Found by running the guest tests on both kernels, and kept short by three rules. Nothing makes a descriptor except receiving one from
//! the launcher. Nothing names an address, a path or another process. Nothing makes memory executable.
//!
//! `sendmsg` is missing on purpose: its destination is behind a pointer, where no filter can look, and a connected UDP socket takes another
//! destination without complaint (udp(7)). For the same reason `sendto` is for the connected only, and may not ask for TCP fast
//! open, which is a `connect` of its own.

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::MaskedEq;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Enters the guest.
    Vcpu,
    /// The event loop.
    Devices,
}

/// A system call, and what its arguments must be: all conditions of one of the rows, or anything if there is none.
struct Allowed {
    call: libc::c_long,
    rows: &'static [&'static [Condition]],
}

/// Of the argument with this index, 0 to 5, the bits of `mask` must be those of `value`.
struct Condition {
    argument: u8,
    mask: u64,
    value: u64,
}

const fn always(call: libc::c_long) -> Allowed {
    Allowed { call, rows: &[] }
}

const fn only(call: libc::c_long, rows: &'static [&'static [Condition]]) -> Allowed {
    Allowed { call, rows }
}

/// The argument is this 32-bit number. What the kernel takes as an int has upper bits that mean nothing.
const fn is(argument: u8, value: u32) -> Condition {
    Condition { argument, mask: u32::MAX as u64, value: value as u64 }
}

/// The argument is this number in all its bits: a null pointer, for one.
const fn is_exactly(argument: u8, value: u64) -> Condition {
    Condition { argument, mask: u64::MAX, value }
}

/// No bits are set but, perhaps, these.
const fn within(argument: u8, bits: i32) -> Condition {
    Condition { argument, mask: !(bits.cast_unsigned() as u64), value: 0 }
}

/// These bits are set.
const fn has(argument: u8, bits: i32) -> Condition {
    Condition { argument, mask: bits.cast_unsigned() as u64, value: bits.cast_unsigned() as u64 }
}

/// `_IO(KVMIO, 0x80)` and `_IOR(KVMIO, 0x81, struct kvm_regs)` (linux/kvm.h).
const KVM_RUN: u32 = 0xae80;
const KVM_GET_REGS: u32 = 0x8090_ae81;
const FIONBIO: u32 = 0x5421;

const DATA: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

/// What Rust and libc need in any thread.
const RUNTIME: &[Allowed] = &[
    // Locks, and waiting for other threads.
    always(libc::SYS_futex),
    always(libc::SYS_sched_yield),
    // malloc: growing, shrinking, arenas of threads. Memory of one's own, for data.
    always(libc::SYS_brk),
    only(
        libc::SYS_mmap,
        &[&[within(2, DATA), within(3, ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK), has(3, ANONYMOUS)]],
    ),
    only(libc::SYS_mprotect, &[&[within(2, DATA)]]),
    only(libc::SYS_mremap, &[&[within(3, libc::MREMAP_MAYMOVE)]]),
    only(libc::SYS_madvise, &[&[is(2, libc::MADV_DONTNEED.cast_unsigned())]]),
    always(libc::SYS_munmap),
    // malloc asks how many arenas are worth having.
    always(libc::SYS_sched_getaffinity),
    // Seeds of hash tables.
    always(libc::SYS_getrandom),
    // Where the clock cannot be read without a call (an unstable TSC); phases tell the time and CPU time.
    always(libc::SYS_clock_gettime),
    always(libc::SYS_getrusage),
    // The end of a thread: its signal stack, its stack, itself.
    always(libc::SYS_sigaltstack),
    always(libc::SYS_rt_sigprocmask),
    always(libc::SYS_exit),
    // The end of the process, in order and by abort: a panic.
    always(libc::SYS_exit_group),
    always(libc::SYS_getpid),
    always(libc::SYS_gettid),
    // A crash has to end as what it is: Rust's handler for stack overflow steps aside, abort resets its signal.
    only(
        libc::SYS_rt_sigaction,
        &[
            &[is(0, libc::SIGSEGV.cast_unsigned())],
            &[is(0, libc::SIGBUS.cast_unsigned())],
            &[is(0, libc::SIGABRT.cast_unsigned())],
        ],
    ),
    always(libc::SYS_rt_sigreturn),
    // The kernel makes it on our behalf after SIGSTOP and SIGCONT.
    always(libc::SYS_restart_syscall),
];

/// What both kinds do with the descriptors that are there.
const SHARED: &[Allowed] = &[
    // eventfds: interrupts, stopping, having the event loop come back. In the device thread bytes for the guest's connections, too.
    always(libc::SYS_write),
    // Events to the launcher; datagrams of a connected socket. Where they go is not for the monitor to say.
    only(libc::SYS_sendto, &[&[within(3, SEND_FLAGS), is_exactly(4, 0), is(5, 0)]]),
    // A device that is reset drops its connections, in the thread of the vCPU that wrote its status register.
    always(libc::SYS_shutdown),
    always(libc::SYS_close),
    // With debug assertions std looks whether a descriptor is open before it closes it.
    #[cfg(debug_assertions)]
    only(libc::SYS_fcntl, &[&[is(1, libc::F_GETFD.cast_unsigned())]]),
];

const VCPU: &[Allowed] = &[
    // What the thread is for; and where the guest was, when KVM gives up.
    only(libc::SYS_ioctl, &[&[is(1, KVM_RUN)], &[is(1, KVM_GET_REGS)]]),
];

const DEVICES: &[Allowed] = &[
    // The event loop; libc and the epoll crate may take either.
    always(libc::SYS_epoll_wait),
    always(libc::SYS_epoll_pwait),
    // vsock, entropy, sockets of the guest's connections.
    always(libc::SYS_read),
    always(libc::SYS_readv),
    always(libc::SYS_writev),
    always(libc::SYS_recvfrom),
    // Disks, and KVM's exit counters.
    always(libc::SYS_pread64),
    always(libc::SYS_pwrite64),
    // Requests of the launcher, and the descriptors of connections that it made.
    always(libc::SYS_recvmsg),
    // A connection that begins never waits, and is watched.
    only(libc::SYS_ioctl, &[&[is(1, FIONBIO)]]),
    always(libc::SYS_epoll_ctl),
    // A connection that the guest resets is reset, not finished.
    only(libc::SYS_setsockopt, &[&[is(1, libc::SOL_SOCKET.cast_unsigned()), is(2, libc::SO_LINGER.cast_unsigned())]]),
    // Retransmission, idle connections and bandwidth: when the stack is to be looked at again.
    always(libc::SYS_timerfd_settime),
];

/// The filter of one kind of thread, of the process with the number `own`.
pub(super) fn compile(kind: Kind, own: u32) -> Result<BpfProgram, BackendError> {
    let of_kind = match kind {
        Kind::Vcpu => VCPU,
        Kind::Devices => DEVICES,
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for allowed in [of_kind, SHARED, RUNTIME].into_iter().flatten() {
        let rows = rules.entry(allowed.call).or_default();
        for row in allowed.rows {
            rows.push(SeccompRule::new(row.iter().map(condition).collect::<Result<_, _>>()?)?);
        }
    }
    // Aborting is a signal to oneself. A monitor of a user's without root could end whatever else is that user's otherwise.
    let abort = [is(0, own), is(2, libc::SIGABRT.cast_unsigned())];
    let abort = SeccompRule::new(abort.iter().map(condition).collect::<Result<_, _>>()?)?;
    rules.insert(libc::SYS_tgkill, vec![abort]);
    // Another architecture's calls (int 0x80) end the process at once: the crate's own check comes before all rules.
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

fn condition(condition: &Condition) -> Result<SeccompCondition, BackendError> {
    let length = if condition.mask <= u32::MAX.into() { Dword } else { Qword };
    SeccompCondition::new(condition.argument, length, MaskedEq(condition.mask), condition.value)
}

#[cfg(test)]
#[path = "filter_test.rs"]
mod tests;
