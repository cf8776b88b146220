use super::*;

#[test]
fn localhost_and_the_machine_have_addresses_of_their_own() {
    let hosts = hosts(&Hostname::new("bottle").unwrap());
    assert_eq!(hosts, "127.0.0.1\tlocalhost\n127.0.1.1\tbottle\n::1\tlocalhost ip6-localhost ip6-loopback\n");
}

#[test]
fn a_file_takes_the_place_of_a_link_or_fifo() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link, fifo) = ("target", "link", "fifo");
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path(target), "kept").unwrap();
    std::os::unix::fs::symlink(path(target), path(link)).unwrap();
    nix::unistd::mkfifo(path(fifo).as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in [link, fifo, "new"] {
        write_new(&path(name), "text").unwrap();
        assert_eq!(fs::read_to_string(path(name)).unwrap(), "text");
    }
    assert_eq!(fs::read_to_string(path(target)).unwrap(), "kept");
}
