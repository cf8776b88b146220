use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{EntryError, Fresh, add_volume, apply};
use crate::image::layer::LayerError;
use crate::image::stream::ReadToSkip;
use crate::image::tar::{Archive, Entry, EntryKind};
use crate::image::testing::{Tar, header, seal};
use crate::image::tree::{ContentId, Device, InodeId, Kind, Meta, Tree};

fn entries(tar: Tar) -> Vec<Entry> {
    let bytes = tar.finish();
    let mut archive = Archive::new(ReadToSkip(bytes.as_slice()));
    std::iter::from_fn(|| archive.next().unwrap()).collect()
}

fn merge(layers: impl IntoIterator<Item = Tar>) -> Result<Tree, LayerError> {
    let mut tree = Tree::new(10_000);
    for (index, layer) in (0..).zip(layers) {
        apply(&mut tree, index, entries(layer))?;
    }
    Ok(tree)
}

/// Path → what is there: `f2.5` is entry 5 of layer 2, a link shows its target, `=` an other name for an earlier path.
fn paths(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut todo = vec![(String::new(), InodeId::ROOT)];
    while let Some((path, id)) = todo.pop() {
        let inode = tree.get(id);
        let shown = match &inode.kind {
            Kind::Directory(children) => {
                todo.extend(
                    children
                        .iter()
                        .rev()
                        .map(|(name, &child)| (format!("{path}/{}", String::from_utf8_lossy(name)), child)),
                );
                format!("d{:o}", inode.meta.mode)
            }
            Kind::File { content, .. } => format!("f{}.{}", content.source, content.index),
            Kind::Symlink(target) => format!("l{}", String::from_utf8_lossy(target)),
            other => format!("{other:?}"),
        };
        let is_directory = inode.kind.is_directory();
        let shown = match first.get(&id) {
            Some(name) if !is_directory => format!("={name}"),
            _ => shown,
        };
        first.entry(id).or_insert_with(|| path.clone());
        found.insert(path, shown);
    }
    found.remove("");
    found
}

fn check(layers: impl IntoIterator<Item = Tar>, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(path, shown)| ((*path).to_owned(), (*shown).to_owned())).collect();
    assert_eq!(paths(&merge(layers).unwrap()), expected);
}

fn refused(layers: impl IntoIterator<Item = Tar>) -> (String, EntryError) {
    match merge(layers).unwrap_err() {
        LayerError::Entry { entry, source } => (entry, source),
        other => panic!("{other:?}"),
    }
}

fn tar() -> Tar {
    Tar::default()
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower = || tar().file("d/a", b"1").file("d/b", b"1").file("d/sub/c", b"1").file("top", b"1");
    check(
        [lower(), tar().file("d/.wh.a", b"")],
        &[("/d", "d755"), ("/d/b", "f0.1"), ("/d/sub", "d755"), ("/d/sub/c", "f0.2"), ("/top", "f0.3")],
    );
    // Of a directory with all that is in it, of something absent, of a thing in a file, and of the same layer's own.
    check([lower(), tar().file(".wh.d", b"").file(".wh.none", b"").file("top/.wh.x", b"")], &[("/top", "f0.3")]);
    check([lower(), tar().directory(".wh.d", 0o755)], &[("/top", "f0.3")]);
    check([tar().file("a", b"").file(".wh.a", b"")], &[("/a", "f0.0")]);
    check(
        [lower(), tar().file("d/a", b"new").file(".wh.d", b"")],
        &[("/d", "d755"), ("/d/a", "f1.0"), ("/top", "f0.3")],
    );
}

#[test]
fn opaque_directories_show_only_what_is_above() {
    let lower = || tar().file("d/a", b"1").file("d/sub/c", b"1");
    let expected = [("/d", "d700"), ("/d/n", "f1.1")];
    check([lower(), tar().directory("d", 0o700).file("d/n", b"").file("d/.wh..wh..opq", b"")], &expected);
    check(
        [lower(), tar().directory("d", 0o700).file("d/n", b""), tar().file("x/.wh..wh..opq", b"")],
        &[("/d", "d700"), ("/d/a", "f0.0"), ("/d/n", "f1.1"), ("/d/sub", "d755"), ("/d/sub/c", "f0.1")],
    );
    // AUFS's book-keeping is neither a file nor a whiteout.
    check(
        [lower(), tar().file(".wh..wh.plnk/1.2", b"").file(".wh..wh.aufs", b"")],
        &[
            ("/.wh..wh.plnk", "d755"),
            ("/.wh..wh.plnk/1.2", "f1.0"),
            ("/d", "d755"),
            ("/d/a", "f0.0"),
            ("/d/sub", "d755"),
            ("/d/sub/c", "f0.1"),
        ],
    );
}

#[test]
fn types_replace_each_other() {
    let lower = || tar().file("x/in", b"1").file("y", b"1").symlink("z", "x");
    check(
        [lower(), tar().file("x", b"").directory("y", 0o711).directory("z", 0o722)],
        &[("/x", "f1.0"), ("/y", "d711"), ("/z", "d722")],
    );
    // A directory over a directory only changes what it is; a file as a parent gives way.
    check(
        [lower(), tar().directory("x/", 0o500).file("y/below", b"").symlink("x/in", "t")],
        &[("/x", "d500"), ("/x/in", "lt"), ("/y", "d755"), ("/y/below", "f1.1"), ("/z", "lx")],
    );
}

#[test]
fn hard_links_keep_what_they_were_made_to() {
    // To a lower layer's file that is then replaced, hidden, or gone with its directory.
    let lower = || tar().file("d/a", b"1");
    check([lower(), tar().hard_link("b", "d/a")], &[("/b", "f0.0"), ("/d", "d755"), ("/d/a", "=/b")]);
    check(
        [lower(), tar().hard_link("b", "d/a"), tar().file("d/a", b"2")],
        &[("/b", "f0.0"), ("/d", "d755"), ("/d/a", "f2.0")],
    );
    check([lower(), tar().hard_link("b", "d/a"), tar().file(".wh.d", b"")], &[("/b", "f0.0")]);
    check(
        [lower(), tar().hard_link("b", "/d/a").file("d/a", b"2")],
        &[("/b", "f0.0"), ("/d", "d755"), ("/d/a", "f1.1")],
    );
    check(
        [lower(), tar().file("d/a", b"2").hard_link("b", "./d/a")],
        &[("/b", "f1.0"), ("/d", "d755"), ("/d/a", "=/b")],
    );
    check([lower(), tar().hard_link("b", "d/a").file("d/.wh.a", b"")], &[("/b", "f0.0"), ("/d", "d755")]);
    check([tar().symlink("s", "t").hard_link("s2", "s")], &[("/s", "lt"), ("/s2", "=/s")]);
    check([lower(), tar().hard_link("d/a", "d/a")], &[("/d", "d755"), ("/d/a", "f0.0")]);
}

#[test]
fn hard_links_to_nothing_or_directories_are_refused() {
    let missing = |target: &str| EntryError::LinkTargetMissing { target: target.to_owned() };
    assert_eq!(refused([tar().hard_link("a", "b").hard_link("b", "a")]), ("a".to_owned(), missing("b")));
    assert_eq!(refused([tar().hard_link("a", "a")]), ("a".to_owned(), missing("a")));
    let hidden = [tar().file("t", b""), tar().file(".wh.t", b""), tar().hard_link("a", "t")];
    assert_eq!(refused(hidden), ("a".to_owned(), missing("t")));
    assert_eq!(
        refused([tar().directory("d", 0).hard_link("a", "d")]).1,
        EntryError::LinkToDirectory { target: "d".to_owned() }
    );
    assert_eq!(refused([tar().hard_link("a", "/")]).1, EntryError::LinkToDirectory { target: "/".to_owned() });
    let (entry, error) = refused([tar().hard_link("a", "../etc/passwd")]);
    let said = "is a hard link to `../etc/passwd`, which climbs out of the image by `..`";
    assert_eq!((entry.as_str(), error.to_string().as_str()), ("a", said));
}

#[test]
fn paths_stay_inside() {
    check(
        [tar().file("/abs", b"").file("./a/./b//c", b"").file("a/../d", b"")],
        &[("/a", "d755"), ("/a/b", "d755"), ("/a/b/c", "f0.1"), ("/abs", "f0.0"), ("/d", "f0.2")],
    );
    for path in ["../x", "a/../../x", "/../x", "..", "a/b/../../../.wh.x"] {
        assert_eq!(refused([tar().file(path, b"")]), (path.to_owned(), EntryError::Escapes));
    }
    assert_eq!(refused([tar().file(&"n".repeat(256), b"")]).1, EntryError::NameTooLong);
    assert_eq!(refused([tar().pax("path", b"a\0b").file("x", b"")]).1, EntryError::Nul);
    assert_eq!(refused([tar().file(".", b"")]).1, EntryError::RootIsNoDirectory);
    assert_eq!(refused([tar().symlink("x", "")]).1, EntryError::SymlinkLength);
    assert_eq!(refused([tar().symlink("x", &"t".repeat(4096))]).1, EntryError::SymlinkLength);
}

#[test]
fn parents_that_are_links_are_followed_inside_the_root() {
    check(
        [tar().directory("usr/lib", 0o755).symlink("lib", "usr/lib"), tar().file("lib/x", b"")],
        &[("/lib", "lusr/lib"), ("/usr", "d755"), ("/usr/lib", "d755"), ("/usr/lib/x", "f1.0")],
    );
    check([tar().symlink("a", "/etc").file("a/x", b"")], &[("/a", "l/etc"), ("/etc", "d755"), ("/etc/x", "f0.1")]);
    check(
        [tar().symlink("a", "../../../../etc").file("a/x", b"").hard_link("h", "a/x")],
        &[("/a", "l../../../../etc"), ("/etc", "d755"), ("/etc/x", "f0.1"), ("/h", "=/etc/x")],
    );
    check([tar().file("t/y", b"").symlink("a", "t"), tar().file("a/.wh.y", b"")], &[("/a", "lt"), ("/t", "d755")]);
    for (target, entry) in [("a", "a/x"), ("./a/b", "a/x")] {
        assert_eq!(refused([tar().symlink("a", target).file(entry, b"")]).1, EntryError::SymlinkLoop);
    }
    assert_eq!(refused([tar().symlink("a", &"n".repeat(300)).file("a/x", b"")]).1, EntryError::NameTooLong);
}

#[test]
fn attributes_of_overlays_and_unknown_ones_are_left_out() {
    let tree = merge([tar()
        .pax("SCHILY.xattr.trusted.overlay.opaque", b"y")
        .pax("SCHILY.xattr.user.overlay.redirect", b"/")
        .pax("SCHILY.xattr.system.nfs4_acl", b"x")
        .pax("SCHILY.xattr.security.capability", b"\x01\0\n=")
        .file("x", b"")])
    .unwrap();
    let id = tree.child(InodeId::ROOT, b"x").unwrap();
    let kept: Vec<_> = tree.get(id).meta.xattrs.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(kept, [(&b"security.capability"[..], &b"\x01\0\n="[..])]);
}

#[test]
fn metadata_of_the_root_devices_and_implied_directories() {
    let tree =
        merge([tar().file("implied/x", b"").directory("./", 0o700).entry(b'3', "null", "", 0o666, b"")]).unwrap();
    assert_eq!(tree.get(InodeId::ROOT).meta.mode, 0o700);
    let null = tree.child(InodeId::ROOT, b"null").unwrap();
    assert_eq!(tree.get(null).kind, Kind::CharDevice(Device { major: 1, minor: 3 }));
    let implied = tree.child(InodeId::ROOT, b"implied").unwrap();
    assert_eq!(tree.get(implied).meta, Meta::implied_root());
}

#[test]
fn a_directory_nobody_lists_has_the_group_that_its_parent_passes_on() {
    let tree = merge([tar().directory("shared", 0o2700), tar().file("shared/a/b/x", b"")]).unwrap();
    let mut directory = InodeId::ROOT;
    for (name, mode) in [("shared", 0o2700), ("a", 0o2755), ("b", 0o2755)] {
        directory = tree.child(directory, name.as_bytes()).unwrap();
        let meta = &tree.get(directory).meta;
        assert_eq!((meta.mode, meta.gid), (mode, 20), "{name}");
    }
}

#[test]
fn a_symbolic_link_has_the_mode_that_they_all_have() {
    let tree = merge([tar().entry(b'2', "link", "target", 0o4640, b"")]).unwrap();
    let link = tree.child(InodeId::ROOT, b"link").unwrap();
    assert_eq!(tree.get(link).meta.mode, 0o777);
}

#[test]
fn more_inodes_than_allowed_are_refused() {
    let mut tree = Tree::new(3);
    let entries = entries(tar().file("a", b"").file("b", b"").file("c", b""));
    assert!(matches!(apply(&mut tree, 0, entries), Err(LayerError::Entry { source: EntryError::TooMany, .. })));
}

/// The model: whole paths in one flat map, as a person would do it on paper. Values are inode numbers.
#[derive(Default)]
struct Paper {
    names: BTreeMap<String, usize>,
    inodes: Vec<String>,
}

impl Paper {
    fn below<'m>(&'m self, path: &str) -> impl Iterator<Item = String> + use<'m> {
        let prefix = format!("{path}/");
        self.names.keys().filter(move |name| name.starts_with(&prefix)).cloned()
    }

    fn remove(&mut self, path: &str) {
        for name in self.below(path).collect::<Vec<_>>() {
            self.names.remove(&name);
        }
        self.names.remove(path);
    }

    fn put(&mut self, path: &str, what: String) {
        self.inodes.push(what);
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
    }

    fn is_directory(&self, path: &str) -> bool {
        self.names.get(path).is_some_and(|&inode| self.inodes[inode].starts_with('d'))
    }

    fn apply(&mut self, layer: u32, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Whiteout(path) => self.remove(path),
                Operation::Opaque(path) => {
                    for name in self.below(path).collect::<Vec<_>>() {
                        self.names.remove(&name);
                    }
                }
                _ => {}
            }
        }
        for (index, operation) in operations.iter().enumerate() {
            let (path, what) = match operation {
                Operation::File(path) => (path, format!("f{layer}.{index}")),
                Operation::Symlink(path) => (path, "lt".to_owned()),
                Operation::Directory(path, mode) => (path, format!("d{mode:o}")),
                Operation::Link(path, _) => (path, String::new()),
                Operation::Whiteout(_) | Operation::Opaque(_) => continue,
            };
            let target = match operation {
                Operation::Link(_, target) => match self.names.get(target) {
                    Some(&inode) if !self.is_directory(target) => Some(inode),
                    _ => continue,
                },
                _ => None,
            };
            for (end, _) in path.match_indices('/').skip(1) {
                let parent = &path[..end];
                if !self.is_directory(parent) {
                    self.put(parent, "d755".to_owned());
                }
            }
            if self.is_directory(path) && matches!(operation, Operation::Directory(..)) {
                let inode = self.names[path.as_str()];
                self.inodes[inode] = what;
                continue;
            }
            self.remove(path);
            match target {
                Some(inode) => drop(self.names.insert(path.clone(), inode)),
                None => self.put(path, what),
            }
        }
    }

    fn paths(&self) -> BTreeMap<String, String> {
        let mut first = BTreeMap::new();
        // In the order in which `paths` meets them: a directory's children before its next sibling.
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(path, _)| path.split('/').map(str::to_owned).collect::<Vec<_>>());
        let shown = names.into_iter().map(|(path, &inode)| {
            let what = &self.inodes[inode];
            let name = first.entry(inode).or_insert_with(|| path.clone());
            let shown = if name == path || what.starts_with('d') { what.clone() } else { format!("={name}") };
            (path.clone(), shown)
        });
        shown.collect()
    }
}

#[derive(Debug, Clone)]
enum Operation {
    File(String),
    Symlink(String),
    Directory(String, u16),
    Link(String, String),
    Whiteout(String),
    Opaque(String),
}

impl Operation {
    fn entry(&self) -> Entry {
        let beside = |path: &str, name: String| {
            let (parent, _) = path.rsplit_once('/').unwrap();
            format!("{parent}/{name}")
        };
        let (path, kind, mode) = match self {
            Self::File(path) => (path.clone(), EntryKind::File { size: 1 }, 0),
            Self::Symlink(path) => (path.clone(), EntryKind::Symlink(b"t".to_vec()), 0),
            Self::Directory(path, mode) => (path.clone(), EntryKind::Directory, *mode),
            Self::Link(path, target) => (path.clone(), EntryKind::HardLink(target.clone().into_bytes()), 0),
            Self::Whiteout(path) => {
                (beside(path, format!(".wh.{}", path.rsplit_once('/').unwrap().1)), EntryKind::File { size: 0 }, 0)
            }
            Self::Opaque(path) => (format!("{path}/.wh..wh..opq"), EntryKind::File { size: 0 }, 0),
        };
        Entry { path: path.into_bytes(), meta: Meta { mode, ..Meta::default() }, kind }
    }
}

/// Few names, so that layers meet. Links have names of their own: what is below a link is decided elsewhere.
fn operation() -> impl Strategy<Value = Operation> {
    let path = || "(/[abc]){1,3}";
    prop_oneof![
        3 => path().prop_map(Operation::File),
        1 => "(/[abc]){0,2}/l".prop_map(Operation::Symlink),
        2 => (path(), prop_oneof![Just(0o700), Just(0o711)]).prop_map(|(path, mode)| Operation::Directory(path, mode)),
        2 => (path(), path()).prop_map(|(path, target)| Operation::Link(path, target)),
        2 => path().prop_map(Operation::Whiteout),
        1 => path().prop_map(Operation::Opaque),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_layers_merge_as_on_paper(layers in prop::collection::vec(prop::collection::vec(operation(), 0..8), 1..5)) {
        let mut paper = Paper::default();
        let mut tree = Tree::new(10_000);
        for (number, operations) in (0..).zip(&layers) {
            paper.apply(number, operations);
            let whiteouts: Vec<_> = operations.iter().filter(|operation| matches!(operation, Operation::Whiteout(_) | Operation::Opaque(_))).map(Operation::entry).collect();
            apply(&mut tree, 99, whiteouts).unwrap();
            // One at a time: a link to nothing is an error, which the paper passes over.
            for (index, operation) in (0..).zip(operations) {
                if matches!(operation, Operation::Whiteout(_) | Operation::Opaque(_)) {
                    continue;
                }
                let before = tree.clone();
                let content = ContentId { source: number, index };
                if super::add(&mut tree, operation.entry(), content, None).is_err() {
                    prop_assert!(matches!(operation, Operation::Link(..)));
                    tree = before;
                }
            }
        }
        prop_assert_eq!(paths(&tree), paper.paths());
    }
}

#[test]
fn what_is_hidden_below_a_directory_that_replaces_a_link_is_not_what_the_link_led_to() {
    let lower = || tar().file("e/x", b"1").symlink("d", "e");
    let expected = [("/d", "d700"), ("/e", "d755"), ("/e/x", "f0.0")];
    check([lower(), tar().directory("d", 0o700).file("d/.wh..wh..opq", b"")], &expected);
    // Before the directory is there, the link is: docker and umoci go through it.
    let expected = [("/d", "d700"), ("/e", "d755")];
    check([lower(), tar().file("d/.wh.x", b"").directory("d", 0o700)], &expected);
}

#[test]
fn a_layer_may_put_a_directory_where_a_loop_of_links_was() {
    let layer = tar().directory("d", 0o700).directory("d/x", 0o711).file("d/.wh.y", b"");
    check([tar().symlink("d", "d"), layer], &[("/d", "d700"), ("/d/x", "d711")]);
}

#[test]
fn more_attributes_than_an_inode_has_room_for_are_refused() {
    let mut tar = tar();
    for number in 0..5 {
        tar = tar.pax(&format!("SCHILY.xattr.user.{number}"), &[7; 60_000]);
    }
    let error = merge([tar.file("file", b"")]).err().unwrap();
    assert!(matches!(error, LayerError::Entry { source: EntryError::Attributes, .. }), "{error}");
}

#[test]
fn devices_that_linux_does_not_have_are_refused() {
    let device = |major: u32, minor: u32| {
        let mut block = header(b'c', b"x", b"", 0o600, 0);
        block[156] = b'3';
        block[329..345].copy_from_slice(format!("{major:07o}\0{minor:07o}\0").as_bytes());
        tar().raw(seal(block), b"")
    };
    let tree = merge([device(4095, 1_048_575)]).unwrap();
    let id = tree.child(InodeId::ROOT, b"x").unwrap();
    assert_eq!(tree.get(id).kind, Kind::CharDevice(Device { major: 4095, minor: 1_048_575 }));
    // Masked it would be another one: 4097 is 1, and 1:3 is /dev/null.
    for (major, minor) in [(4097, 3), (1, 1_048_579)] {
        assert_eq!(refused([device(major, minor)]), ("x".to_owned(), EntryError::Device { major, minor }));
    }
}

#[test]
fn paths_are_no_longer_than_a_system_call_takes() {
    let path = |length: usize| "d/".repeat(length / 2) + if length % 2 == 1 { "x" } else { "" };
    merge([tar().file(&path(4095), b"")]).unwrap();
    assert_eq!(refused([tar().directory(&path(4096), 0o755)]).1, EntryError::PathTooLong);
    let (_, error) = refused([tar().hard_link("x", &path(4096))]);
    assert!(matches!(error, EntryError::LinkTarget { why, .. } if *why == EntryError::PathTooLong));
}

/// Every step of the way counts, wherever it comes from: else a few megabytes of layer would be days of walking.
#[test]
fn links_on_deep_ways_come_to_an_end() {
    let long = "../".repeat(1000);
    let hop =
        |number: u32| format!("{long}{}", if number == 0 { "end".to_owned() } else { format!("l{}", number - 1) });
    let links =
        (0..30).fold(tar().directory("end", 0o755), |tar, number| tar.symlink(&format!("l{number}"), &hop(number)));
    let all = (0..100).fold(links, |tar, number| tar.file(&format!("l29/{number}"), b""));
    let apply_with = |steps| {
        let mut tree = Tree::new(10_000).with_steps(steps);
        apply(&mut tree, 0, entries(all.clone())).map(|()| tree)
    };
    assert!(apply_with(4_000_000).is_ok());
    match apply_with(1_000_000).map(drop) {
        Err(LayerError::Entry { source: EntryError::TooFar, entry }) => assert!(entry.starts_with("l29/"), "{entry}"),
        other => panic!("{other:?}"),
    }
    // Looking for what whiteouts hide, and for what links lead to, counts as well.
    for more in [tar().file("l29/.wh.x", b""), tar().hard_link("h", "l29/0"), tar().directory("l29/d", 0o755)] {
        let mut tree = apply_with(4_000_000).unwrap().with_steps(10_000);
        let refused = apply(&mut tree, 1, entries(more));
        assert!(matches!(refused, Err(LayerError::Entry { source: EntryError::TooFar, .. })), "{refused:?}");
    }
}

/// To remember them is what takes the time.
#[test]
fn names_behind_links_count_whether_a_way_comes_to_them_or_not() {
    let rest = "x/".repeat(1000);
    let hop =
        |number: u32| format!("{}/{rest}", if number == 0 { "missing".to_owned() } else { format!("l{}", number - 1) });
    let links = (0..30).fold(tar(), |tar, number| tar.symlink(&format!("l{number}"), &hop(number)));
    let mut tree = merge([links]).unwrap().with_steps(100_000);
    let hidden = (0..10).fold(tar(), |tar, number| tar.file(&format!("l29/.wh.{number}"), b""));
    match apply(&mut tree, 1, entries(hidden)) {
        Err(LayerError::Entry { source: EntryError::TooFar, entry }) => assert_eq!(entry, "l29/.wh.3"),
        other => panic!("{other:?}"),
    }
    // And nobody gets by with what was left over.
    let refused = apply(&mut tree, 1, entries(tar().file("d/.wh.x", b"")));
    assert!(matches!(refused, Err(LayerError::Entry { source: EntryError::TooFar, .. })), "{refused:?}");
}

#[test]
fn directories_that_nobody_lists_have_places_of_their_own() {
    let layer = tar().directory("listed", 0o755).file("listed/x", b"").file("a/b/c", b"").file("a/b/d", b"");
    let layer = (0..100).fold(layer, |tar, number| tar.file(&format!(".wh.{number}"), b""));
    let apply_with = |implied| apply(&mut Tree::new(10_000).with_implied(implied), 0, entries(layer.clone()));
    apply_with(2).unwrap();
    match apply_with(1) {
        Err(LayerError::Entry { source: EntryError::TooMany, entry }) => assert_eq!(entry, "a/b/c"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_above_a_path_is_found_among_names_that_sort_between() {
    let names = |path: &'static str| path.split('/').map(str::as_bytes).collect::<Vec<_>>();
    let mut fresh = Fresh::default();
    for path in ["a/b/c", "a-b", "a", "a/x", "z\u{1}", "z/y"] {
        fresh.insert(&names(path));
    }
    for (path, above) in [
        ("a", true),
        ("a/b", true),
        ("a/zzz/1", true),
        ("a-b/x", true),
        ("aa", false),
        ("z", false),
        ("z/y", true),
        ("z/yy", false),
    ] {
        assert_eq!(fresh.has_above(&names(path)), above, "{path}");
    }
    assert!(!fresh.has_above(&[]));
}

/// As docker makes them, in an image that was built by something that did not.
#[test]
fn volumes_that_no_layer_has_are_made_and_nothing_gives_way_to_them() {
    let layer = Tar::default()
        .directory("there", 0o700)
        .file("file", b"")
        .symlink("link", "/else/where")
        .symlink("loop", "loop")
        .directory("group", 0o2775);
    let mut tree = merge([layer]).unwrap();
    let with_volumes = tree.clone();
    for volume in ["/there", "/file", "/file/below", "/", "", "/there/.."] {
        add_volume(&mut tree, volume.as_bytes()).unwrap();
        assert_eq!(paths(&tree), paths(&with_volumes), "{volume}");
    }
    for volume in ["/var/lib/data", "/link/data", "relative", "/group/data/"] {
        add_volume(&mut tree, volume.as_bytes()).unwrap();
    }
    let mut made = paths(&tree);
    made.retain(|path, _| !paths(&with_volumes).contains_key(path));
    let expected = [
        ("/else", "d755"),
        ("/else/where", "d755"),
        ("/else/where/data", "d755"),
        ("/group/data", "d2755"),
        ("/relative", "d755"),
        ("/var", "d755"),
        ("/var/lib", "d755"),
        ("/var/lib/data", "d755"),
    ];
    assert_eq!(made, expected.map(|(path, shown)| (path.to_owned(), shown.to_owned())).into());
    let long = format!("/{}", "n".repeat(256));
    let refused = |volume: &str, tree: &mut Tree| add_volume(tree, volume.as_bytes()).unwrap_err();
    assert_eq!(refused("/a\0b", &mut tree), EntryError::Nul);
    assert_eq!(refused("/../etc", &mut tree), EntryError::Escapes);
    assert_eq!(refused(&long, &mut tree), EntryError::NameTooLong);
    assert_eq!(refused("/loop/x", &mut tree), EntryError::SymlinkLoop);
    let mut full = tree.with_implied(1);
    assert_eq!(refused("/new/er", &mut full), EntryError::TooMany);
}
