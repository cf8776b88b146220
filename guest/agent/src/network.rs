//! The machine's name and its loopback interface. A command can run without either, so failures are reported, no more.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use bottle_protocol::Hostname;

use crate::{report, sys};

/// Sets the host name and writes `/etc/hostname` and `/etc/hosts`, as docker does over what the image has there.
pub(crate) fn name_host(name: &Hostname) {
    if let Err(errno) = nix::unistd::sethostname(name.as_str()) {
        report::critical(format_args!("cannot set the host name: {errno}"));
    }
    let _ = fs::create_dir("/etc"); // most often there
    replace("/etc/hostname", &format!("{name}\n"));
    replace("/etc/hosts", &hosts(name));
}

pub(crate) fn loopback_up() {
    if let Err(errno) = sys::interface_up("lo") {
        report::critical(format_args!("cannot bring up lo: {errno}"));
    }
}

/// Debian's form: the machine's own name has an address of its own, so that `localhost` stays the name of 127.0.0.1.
fn hosts(name: &Hostname) -> String {
    format!("127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

fn replace(path: &str, text: &str) {
    if let Err(error) = write_new(path, text) {
        report::critical(format_args!("cannot write {path}: {error}"));
    }
}

/// The image's own file is removed first: it may be a link to somewhere, or a FIFO that would hold us up.
fn write_new(path: &str, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
