//! PID 1 of a bottle's guest: prepares the machine, starts the command that the host names, and serves its streams.
//!
//! Law: this program has no policy. Everything it does it is told over the control channel, and everything it cannot
//! do it says there, or, where there is no channel, in the kernel's log. It never exits: when it is done or lost, the
//! machine resets, which is how the monitor learns of the end. Worst that a guest's own root can do to it: kill the
//! guest. Nothing here protects the host; the monitor does.
//!
//! It starts without Rust's runtime: that would abort in an initramfs without `/dev/null` and a kernel without a
//! console, before there is anybody to tell, and it brings 140 KB that every boot would unpack.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(
    not(test),
    expect(
        unsafe_code,
        reason = "the symbol that the C library calls; there is no other way to start without a runtime"
    )
)]

mod boot;
mod connect;
mod link;
mod modules;
mod mount;
mod netlink;
mod network;
mod placing;
mod power;
mod process;
mod pty;
mod queue;
mod reap;
mod report;
mod serve;
mod spawn;
mod start;
mod streams;
mod sys;
mod user;

use std::os::fd::AsFd;

/// What the C library calls.
// SAFETY: no other symbol of this name is linked, and the arguments that are passed to it are left alone.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn main() -> libc::c_int {
    report::on_panic();
    sys::ignore_broken_pipes();
    if power::is_init() {
        if let Err(error) = boot::run() {
            report::critical_chain(&error);
        }
        power::reset()
    } else {
        serve_standard_input()
    }
}

/// As an ordinary process it mounts and resets nothing, and serves a socket that it was given as standard input. This
/// is how the tests talk to the very program that boots.
fn serve_standard_input() -> libc::c_int {
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let served = socket.map_err(serve::ServeError::Socket).and_then(|socket| serve::run(socket, &mut |_| Ok(())));
    match served {
        Ok(()) => 0,
        Err(error) => {
            report::critical_chain(&error);
            1
        }
    }
}
