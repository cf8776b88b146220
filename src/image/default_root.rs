//! The root that a bottle has when no image is named: one static busybox, its applets as links, and the places that
//! programs expect. Law: pure but for asking nothing of the host except busybox's bytes.

use std::path::Path;

use super::config::ImageConfig;
use super::digest::{Digest, Digester};
use super::erofs::StoreError;
use super::error::ImageError;
use super::pack::{Contents, Sink};
use super::platform::{ARCHITECTURE, OS};
use super::tree::{ContentId, Inode, InodeId, Kind, Meta, Tree, TreeError};

/// Counts up with each change of what this file makes of a busybox.
const VERSION: u64 = 1;

const DIRECTORIES: [(&str, u16); 17] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

const TEXTS: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// The applets of Debian's busybox-static (1.35), where it puts them. A fixed table, not what `busybox --list-full`
/// prints: a root is not made by running a program that was just found somewhere. An applet that another busybox lacks
/// says so when it is called.
const APPLETS: [(&str, &str); 4] = [
    (
        "bin",
        "arch ash base64 cat chgrp chmod chown cp cpio cttyhack date dd df dmesg dnsdomainname dumpkmap echo ed \
         egrep false fatattr fgrep getopt grep gunzip gzip hostname ionice ipcalc kill link linux32 linux64 ln \
         login ls lzop mkdir mknod mktemp more mount mt mv netstat nuke pidof ping ping6 ps pwd readlink resume \
         rev rm rmdir rpm run-parts sed setpriv sh sleep stat stty su sync tar touch true umount uname uncompress \
         usleep vi watch zcat",
    ),
    (
        "sbin",
        "acpid adjtimex arp blockdev depmod devmem fdisk findfs freeramdisk fstrim getty halt hwclock ifconfig \
         ifdown ifup init insmod ip ipneigh klogd loadkmap logread losetup lsmod mdev mkdosfs mke2fs mkswap \
         modinfo modprobe nameif pivot_root poweroff reboot rmmod route run-init start-stop-daemon sulogin \
         swapoff swapon switch_root sysctl syslogd tc tunctl udhcpc uevent vconfig watchdog",
    ),
    (
        "usr/bin",
        "[ [[ ar ascii awk basename bc blkdiscard bunzip2 bzcat bzip2 cal chvt clear cmp crc32 crontab cut dc \
         deallocvt diff dirname dos2unix dpkg dpkg-deb du dumpleases env expand expr factor fallocate find fold \
         free ftpget ftpput groups head hexdump hostid id killall last less logger logname lsscsi lzcat lzma \
         md5sum microcom mkfifo mkpasswd nc nl nproc nsenter nslookup od openvt passwd paste patch printf \
         realpath renice reset rpm2cpio seq setkeycodes setsid sha1sum sha256sum sha3sum sha512sum shred shuf \
         sort ssl_client strings svc svok tac tail taskset tee telnet test tftp time timeout top tr traceroute \
         traceroute6 truncate ts tty unexpand uniq unix2dos unlink unlzma unshare unxz unzip uptime uudecode \
         uuencode w wc wget which who whoami xargs xxd xz xzcat yes",
    ),
    (
        "usr/sbin",
        "arping brctl chroot crond fsfreeze httpd i2cdetect i2cdump i2cget i2cset i2ctransfer loadfont mim \
         nologin partprobe rdate telnetd ubirename udhcpd",
    ),
];

/// The tree, and the bytes of its files.
#[derive(Debug)]
pub(crate) struct DefaultRoot {
    pub(crate) tree: Tree,
    files: Vec<Vec<u8>>,
}

impl DefaultRoot {
    /// Names the root that `build` makes, without making it.
    pub(crate) fn id(busybox: &[u8]) -> Digest {
        let mut digester = Digester::default();
        digester.part(b"default root");
        digester.number(VERSION);
        digester.part(busybox);
        digester.finish()
    }

    pub(crate) fn build(busybox: Vec<u8>) -> Result<Self, TreeError> {
        let mut root = Self { tree: Tree::new(4096), files: Vec::new() };
        for (path, mode) in DIRECTORIES {
            root.put(path, mode, Kind::empty_directory())?;
        }
        for (path, text) in TEXTS {
            root.file(path, 0o644, text.into())?;
        }
        root.file("bin/busybox", 0o755, busybox)?;
        for (directory, names) in APPLETS {
            let up = "../".repeat(directory.split('/').count());
            for name in names.split_whitespace() {
                let target = if directory == "bin" { "busybox".to_owned() } else { format!("{up}bin/busybox") };
                root.put(&format!("{directory}/{name}"), 0o777, Kind::Symlink(target.into_bytes().into()))?;
            }
        }
        Ok(root)
    }

    pub(crate) fn config() -> ImageConfig {
        ImageConfig {
            cmd: vec!["/bin/sh".to_owned()],
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            architecture: ARCHITECTURE.to_owned(),
            os: OS.to_owned(),
            ..ImageConfig::default()
        }
    }

    fn file(&mut self, path: &str, mode: u16, bytes: Vec<u8>) -> Result<(), TreeError> {
        let index = u32::try_from(self.files.len()).map_err(|_| TreeError::TooManyInodes)?;
        let size = bytes.len() as u64;
        self.files.push(bytes);
        self.put(path, mode, Kind::File { size, content: ContentId { source: 0, index } })
    }

    /// Times are 0: the same busybox gives the same image.
    fn put(&mut self, path: &str, mode: u16, kind: Kind) -> Result<(), TreeError> {
        let mut names: Vec<_> = path.split('/').map(str::as_bytes).collect();
        let name = names.pop().unwrap_or_default();
        let directory: InodeId = self.tree.make_directory(&names)?;
        let inode = self.tree.add(Inode { meta: Meta { mode, ..Meta::default() }, kind })?;
        self.tree.link(directory, name, inode)
    }
}

impl Contents for DefaultRoot {
    fn deliver(&self, wanted: &[ContentId], sink: &mut Sink<'_>) -> Result<(), ImageError> {
        for &content in wanted {
            if let Some(bytes) = self.files.get(content.index as usize) {
                sink(content, &mut bytes.as_slice())?;
            }
        }
        Ok(())
    }

    fn unreadable(&self, _: ContentId, source: StoreError) -> ImageError {
        ImageError::Store { cache: Path::new("").to_owned(), source }
    }
}
