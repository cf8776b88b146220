//! The filters are run here as the kernel runs them, by a small interpreter of classic BPF (seccomp(2), linux/filter.h).

use super::*;

const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_I386: u32 = 0x4000_0003;

/// What a filter says about a call, as the kernel's return value.
fn verdict(kind: Kind, arch: u32, call: libc::c_long, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(u32::try_from(call).unwrap().to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let program = compile(kind, OWN).unwrap();
    assert!(program.len() < 4096, "BPF_MAXINSNS");
    let (mut at, mut register) = (0usize, 0u32);
    loop {
        let instruction = &program[at];
        let k = instruction.k;
        at += 1;
        let jump = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
        match instruction.code {
            0x20 => register = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
            0x05 => at += k as usize,
            0x15 => at += jump(register == k),
            0x25 => at += jump(register > k),
            0x35 => at += jump(register >= k),
            0x54 => register &= k,
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// The process that the filters are for.
const OWN: u32 = 4711;

fn allows(kind: Kind, call: libc::c_long, arguments: [u64; 6]) -> bool {
    match verdict(kind, ARCH_X86_64, call, arguments) {
        libc::SECCOMP_RET_ALLOW => true,
        verdict => {
            assert_eq!(verdict & libc::SECCOMP_RET_ACTION_FULL, libc::SECCOMP_RET_TRAP);
            false
        }
    }
}

fn both_allow(call: libc::c_long, arguments: [u64; 6]) -> bool {
    let verdicts = [Kind::Vcpu, Kind::Devices].map(|kind| allows(kind, call, arguments));
    assert_eq!(verdicts[0], verdicts[1]);
    verdicts[0]
}

#[test]
fn what_escapes_begin_with_is_in_no_filter() {
    let calls = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept4,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_memfd_create,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_prctl,
        libc::SYS_prlimit64,
        libc::SYS_seccomp,
        libc::SYS_personality,
        libc::SYS_pkey_mprotect,
        libc::SYS_shmat,
        libc::SYS_splice,
        libc::SYS_fcntl,
        libc::SYS_dup2,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
    ];
    for call in calls {
        assert!(!both_allow(call, [0; 6]), "{:?}", super::super::syscall_name(u32::try_from(call).unwrap()));
    }
}

#[test]
fn a_call_of_another_architecture_is_none() {
    let other = verdict(Kind::Devices, ARCH_I386, libc::SYS_read, [0; 6]);
    assert_eq!(other & libc::SECCOMP_RET_ACTION_FULL, libc::SECCOMP_RET_KILL_PROCESS);
    // x32: the same architecture, a bit in the number.
    assert!(!both_allow(0x4000_0000 | libc::SYS_read, [0; 6]));
}

#[test]
fn nothing_is_sent_to_an_address_and_no_connection_is_made_by_sending() {
    let send = |flags: i32, address: u64, length: u64| {
        both_allow(libc::SYS_sendto, [0, 1, 1, flags.cast_unsigned().into(), address, length])
    };
    assert!(send(0, 0, 0) && send(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT, 0, 0));
    assert!(!send(0, 1, 0) && !send(0, 1 << 32, 0) && !send(0, 0, 16));
    assert!(!send(libc::MSG_FASTOPEN, 0, 0) && !send(libc::MSG_OOB, 0, 0));
}

#[test]
fn of_a_sockets_options_only_how_it_closes() {
    let option = |level: i32, name: i32| {
        allows(
            Kind::Devices,
            libc::SYS_setsockopt,
            [0, level.cast_unsigned().into(), name.cast_unsigned().into(), 0, 0, 0],
        )
    };
    assert!(option(libc::SOL_SOCKET, libc::SO_LINGER));
    assert!(!option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE) && !option(libc::SOL_SOCKET, libc::SO_MARK));
    assert!(!option(libc::IPPROTO_TCP, libc::TCP_REPAIR) && !option(libc::IPPROTO_IP, libc::SO_LINGER));
}

#[test]
fn memory_is_never_executable_and_never_a_files() {
    let map = |protection: i32, flags: i32| {
        both_allow(libc::SYS_mmap, [0, 4096, protection.cast_unsigned().into(), flags.cast_unsigned().into(), 0, 0])
    };
    assert!(map(0, ANONYMOUS | libc::MAP_NORESERVE) && map(DATA, ANONYMOUS));
    assert!(!map(DATA | libc::PROT_EXEC, ANONYMOUS) && !map(DATA, libc::MAP_PRIVATE) && !map(DATA, libc::MAP_SHARED));
    assert!(!map(DATA, ANONYMOUS | libc::MAP_FIXED));
    let protect = |protection: u64| both_allow(libc::SYS_mprotect, [0, 4096, protection, 0, 0, 0]);
    assert!(protect(0) && protect(3) && !protect(4) && !protect(7) && !protect(3 | 1 << 32));
    assert!(!both_allow(libc::SYS_mremap, [0, 0, 0, 3, 0, 0]), "MREMAP_FIXED");
}

#[test]
fn only_vcpu_threads_run_guests_and_nobody_makes_machines() {
    const KVM_CREATE_VM: u64 = 0xae01;
    const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
    const TIOCSTI: u64 = 0x5412;
    let ioctl = |kind, request| allows(kind, libc::SYS_ioctl, [3, request, 0, 0, 0, 0]);
    assert!(ioctl(Kind::Vcpu, KVM_RUN.into()) && !ioctl(Kind::Devices, KVM_RUN.into()));
    for request in [KVM_CREATE_VM, KVM_SET_USER_MEMORY_REGION, TIOCSTI, 0] {
        assert!(!ioctl(Kind::Vcpu, request) && !ioctl(Kind::Devices, request));
    }
}

#[test]
fn the_violations_handler_stays_and_signals_stay_inside() {
    let handle = |signal: i32| both_allow(libc::SYS_rt_sigaction, [signal.cast_unsigned().into(), 0, 0, 8, 0, 0]);
    assert!(handle(libc::SIGSEGV) && handle(libc::SIGABRT) && !handle(libc::SIGSYS) && !handle(libc::SIGTERM));
    let signal = |process: u32, signal: i32| {
        both_allow(libc::SYS_tgkill, [process.into(), 1, signal.cast_unsigned().into(), 0, 0, 0])
    };
    assert!(signal(OWN, libc::SIGABRT) && !signal(OWN, libc::SIGKILL) && !signal(OWN, libc::SIGSTOP));
    for other in [0, 1, OWN - 1, OWN + 1, u32::MAX] {
        assert!(!signal(other, libc::SIGABRT), "{other}");
    }
}

#[test]
fn what_is_read_is_read_by_the_event_loop() {
    for call in [libc::SYS_read, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_recvmsg, libc::SYS_epoll_wait] {
        assert!(allows(Kind::Devices, call, [0; 6]) && !allows(Kind::Vcpu, call, [0; 6]));
    }
}
