//! User, capabilities, limits and network of the process.

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, geteuid, getpid, setgroups, setresgid, setresuid};

/// User ids from here on are in nobody's range: above those that containers get and below those with the sign bit set
/// (<https://systemd.io/UIDS-GIDS/>, "1879048192…2147483647: unused"). A process adds its own number, so that each monitor is a
/// user of its own: one that is taken over cannot signal another, nor use up its limits; `nobody`, who is shared with other
/// programs, would let it.
const FIRST_USER: u32 = 0x7000_0000;
/// Process numbers are below 2^22 (PID_MAX_LIMIT, proc(5)).
const PROCESS_MASK: u32 = (1 << 22) - 1;
/// In a user namespace with the usual 65536 ids, there is no better one.
const NOBODY: u32 = 65534;
/// Descriptors: those of the machine, and one for each of ten thousand connections.
const DESCRIPTORS: u64 = 16 << 10;
/// Bytes that the monitor may map beside the guest's memory. By their own limits the network's buffers come to 144 MiB, its flows and
/// the stacks of 64 vCPUs to 16 MiB each, and malloc keeps up to 64 MiB of what loading a kernel took; this is twice that.
pub(super) const OWN_MEMORY: u64 = 512 << 20;

/// How large the machine is that the monitor runs.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Of the guest's memory.
    pub guest_bytes: u64,
    /// Of the largest disk that may be written.
    pub file_bytes: u64,
}

/// Moves the process into a network namespace of its own, where there is not even a loopback that is up. Sockets that it is handed
/// stay where they were made. An ordinary user needs a user namespace for it, which gives capabilities in there: they go with the rest.
pub(super) fn leave_network() -> Result<String, String> {
    let user = if geteuid().is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    match unshare(CloneFlags::CLONE_NEWNET | user) {
        Ok(()) => Ok("a network namespace with nothing in it".to_owned()),
        Err(error) => Err(format!("this user may not make a network namespace: {}", error.desc())),
    }
}

/// What is left afterwards is an ordinary user without capabilities, who can gain none.
pub(super) fn drop_all() -> Result<String, String> {
    let told = |what: &'static str| move |error: Errno| format!("cannot {what}: {}", error.desc());
    limit(Resource::RLIMIT_NOFILE, DESCRIPTORS).map_err(told("limit its descriptors"))?;
    let failed = |error: caps::errors::CapsError| format!("cannot drop capabilities: {error}");
    // Only who has CAP_SETPCAP can empty the bounding set; for others it bounds nothing, as they gain nothing.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)? {
        caps::clear(None, CapSet::Bounding).map_err(failed)?;
    }
    let user = if geteuid().is_root() {
        // Of another user without it, the launcher could not end the monitor, nor would its own death (kill(2)).
        if !caps::has_cap(None, CapSet::Effective, Capability::CAP_KILL).map_err(failed)? {
            return Err("a root without CAP_KILL cannot end what runs as another user".to_owned());
        }
        Some(change_user().map_err(told("change to an unprivileged user"))?)
    } else {
        None
    };
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(failed)?;
    }
    prctl::set_no_new_privs().map_err(told("give up gaining privileges"))?;
    Ok(match user {
        Some(Some(user)) => format!("user {user}, no capabilities"),
        Some(None) => "root of a user namespace that has nobody else, no capabilities".to_owned(),
        None => "the caller's user, no capabilities".to_owned(),
    })
}

/// `None` in a user namespace in which only root exists: outside it, that root is an ordinary user already.
fn change_user() -> nix::Result<Option<u32>> {
    let own = FIRST_USER | (getpid().as_raw().unsigned_abs() & PROCESS_MASK);
    for id in [own, NOBODY] {
        let group = Gid::from_raw(id);
        match setresgid(group, group, group) {
            // No such group in this user namespace (user_namespaces(7)).
            Err(Errno::EINVAL) => continue,
            other => other?,
        }
        setgroups(&[])?;
        let user = Uid::from_raw(id);
        setresuid(user, user, user)?;
        return Ok(Some(id));
    }
    Ok(None)
}

/// What can only be taken away when every thread runs: starting more, files longer than the largest disk, and memory without end. The
/// guest's counts among that, as all that is private and writable does (getrlimit(2)): a mistake of ours with a hostile guest's numbers is
/// then the end of its bottle (an allocation that fails aborts), and not of what else runs on the host.
pub(super) fn limit_running(extent: Extent) -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    limit(Resource::RLIMIT_FSIZE, extent.file_bytes)?;
    limit(Resource::RLIMIT_DATA, extent.guest_bytes.saturating_add(OWN_MEMORY))
}

/// Never raises the hard limit, which only root could.
fn limit(resource: Resource, value: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let value = value.min(hard);
    setrlimit(resource, value, value)
}
