use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A home and a repository in a directory of their own.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(world.path("home")).unwrap();
        fs::create_dir_all(world.path("repo")).unwrap();
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A bottle of the user's.
    fn bottle(self, name: &str, yaml: &str) -> Self {
        self.with(&format!("home/.bot-bottle/bottles/{name}.md"), &format!("---\n{yaml}\n---\n"))
    }

    fn agent(self, whose: &str, name: &str, yaml: &str) -> Self {
        self.with(&format!("{whose}/.bot-bottle/agents/{name}.md"), &format!("---\n{yaml}\n---\nprompt of {whose}\n"))
    }

    fn places(&self, current: &str) -> Places {
        let home = self.path("home");
        Places { own: home.join(".bot-bottle"), home: Some(home), current: self.path(current) }
    }

    fn open(&self) -> Catalogue {
        Catalogue::open(&self.places("repo")).unwrap()
    }

    /// Without the name of the temporary directory.
    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }

    fn said(&self, error: &CatalogueError) -> String {
        self.plain(&format!("{error}\nhint: {}", error.hint()))
    }

    fn warned(&self, catalogue: &Catalogue) -> Vec<String> {
        catalogue.warnings.iter().map(|warning| self.plain(&warning.to_string())).collect()
    }
}

fn names<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<&'a str> {
    names.map(Name::as_str).collect()
}

#[test]
fn agents_of_both_and_bottles_of_one() {
    let world = World::new()
        .bottle("dev", "")
        .agent("home", "mine", "bottle: dev")
        .agent("repo", "theirs", "bottle: dev")
        .with("repo/.bot-bottle/bottles/evil.md", "---\n---\n");
    let catalogue = world.open();
    assert_eq!(names(catalogue.agent_names()), ["mine", "theirs"]);
    assert_eq!(names(catalogue.bottle_names()), ["dev"]);
    let sources = ["mine", "theirs"].map(|name| catalogue.agent(name).unwrap().source);
    assert_eq!(sources, [Source::Home, Source::Repository]);
    assert_eq!(
        world.warned(&catalogue),
        [
            "`repo/.bot-bottle/bottles` is not read: a repository cannot define bottles; what you trust, copy to `home/.bot-bottle/bottles`"
        ]
    );
}

#[test]
fn the_users_agent_is_meant_even_if_it_is_broken() {
    let world = World::new().bottle("dev", "").agent("home", "dev", "botle: x").agent("repo", "dev", "bottle: dev");
    let catalogue = world.open();
    assert_eq!(
        world.warned(&catalogue),
        [
            "agent `dev` is your own, `home/.bot-bottle/agents/dev.md`; that of the repository, `repo/.bot-bottle/agents/dev.md`, is not used: \
          rename one of them"
        ]
    );
    let said = world.said(&catalogue.agent("dev").unwrap_err());
    assert!(said.starts_with("home/.bot-bottle/agents/dev.md:2:1: unknown key `botle`"), "{said}");
}

#[test]
fn a_broken_file_is_an_error_of_its_own_only() {
    let world = World::new()
        .bottle("good", "")
        .bottle("broken", "egres: {}")
        .agent("home", "good", "bottle: good")
        .agent("home", "unlucky", "bottle: broken")
        .with("home/.bot-bottle/agents/latin.md", "")
        .with("home/.bot-bottle/agents/big.md", "");
    fs::write(world.path("home/.bot-bottle/agents/latin.md"), b"---\nbottle: \xe4\n---\n").unwrap();
    let big = fs::File::create(world.path("home/.bot-bottle/agents/big.md")).unwrap();
    big.set_len(100 << 20).unwrap();
    let catalogue = world.open();
    let good = catalogue.agent("good").unwrap();
    assert_eq!(good.file.prompt, "prompt of home");
    assert_eq!(names(catalogue.bottle_for(&good).unwrap().lineage.iter()), ["good"]);
    let unlucky = catalogue.agent("unlucky").unwrap();
    let said = world.said(&catalogue.bottle_for(&unlucky).unwrap_err());
    assert!(said.starts_with("home/.bot-bottle/bottles/broken.md:2:1: unknown key `egres`"), "{said}");
    assert_eq!(
        world.said(&catalogue.agent("latin").unwrap_err()),
        "home/.bot-bottle/agents/latin.md:2:9: the text is not UTF-8 from here on\nhint: save the file as UTF-8"
    );
    assert_eq!(
        world.said(&catalogue.agent("big").unwrap_err()),
        "home/.bot-bottle/agents/big.md: the file has 104857600 bytes, where 1048576 are allowed\n\
         hint: is it really a manifest? move it away, or shorten its text"
    );
}

#[test]
fn what_is_not_there_is_answered_with_what_there_is() {
    let world = World::new().bottle("dev", "").bottle("prod", "").agent("home", "coder", "bottle: devv");
    let catalogue = world.open();
    assert_eq!(
        world.said(&catalogue.agent("codr").unwrap_err()),
        "there is no agent `codr`\nhint: did you mean `coder`? there is only `coder`"
    );
    assert_eq!(
        world.said(&catalogue.bottle("staging").unwrap_err()),
        "there is no bottle `staging`\nhint: there are `dev` and `prod`"
    );
    let coder = catalogue.agent("coder").unwrap();
    assert_eq!(
        world.said(&catalogue.bottle_for(&coder).unwrap_err()),
        "home/.bot-bottle/agents/coder.md:2:9: there is no bottle `devv`\nhint: did you mean `dev`? there are `dev` and `prod`"
    );
    let empty = World::new();
    assert_eq!(
        empty.said(&empty.open().agent("x").unwrap_err()),
        "there is no agent `x`\nhint: there are no agents in `home/.bot-bottle`: `bottle-vmm init` makes a first one"
    );
}

#[test]
fn lineages() {
    let world = World::new()
        .bottle("root", "env: {A: root, B: root}\nsupervise: true")
        .bottle("middle", "extends: root\nenv: {B: middle, C: middle}")
        .bottle("leaf", "extends: middle\nenv: {C: leaf}\ngit-gate: {user: {name: Ann, email: a@b}}")
        .agent("repo", "agent", "bottle: leaf\ngit-gate: {user: {name: Bot}}");
    let catalogue = world.open();
    let merged = catalogue.bottle_for(&catalogue.agent("agent").unwrap()).unwrap();
    assert_eq!(names(merged.lineage.iter()), ["root", "middle", "leaf"]);
    let bottle = BottleFile::parse(b"---\nenv: {A: root, B: middle, C: leaf}\n---\n", &BTreeSet::new()).unwrap();
    assert_eq!(merged.settings.env, bottle.bottle.env);
    assert_eq!((merged.settings.supervise, merged.settings.extends), (Some(true), None));
    let user = merged.settings.git_gate.user;
    assert_eq!((user.name.as_deref(), user.email.as_deref()), (Some("Bot"), Some("a@b")));
}

#[test]
fn lineages_that_do_not_end() {
    let world = World::new()
        .bottle("self", "extends: self")
        .bottle("orphan", "supervise: true\nextends: nobody")
        .bottle("a", "extends: b")
        .bottle("b", "extends: c")
        .bottle("c", "extends: b")
        .bottle("child", "extends: broken")
        .bottle("broken", "x");
    let catalogue = world.open();
    let said = |name| world.said(&catalogue.bottle(name).unwrap_err());
    assert_eq!(
        said("self"),
        "home/.bot-bottle/bottles/self.md:2:10: the bottle extends itself\nhint: let the last one of them extend nothing"
    );
    assert_eq!(
        said("a"),
        "home/.bot-bottle/bottles/c.md:2:10: bottles extend one another in a circle: b → c → b\n\
         hint: let the last one of them extend nothing"
    );
    assert_eq!(
        said("orphan"),
        "home/.bot-bottle/bottles/orphan.md:3:10: there is no bottle `nobody`\n\
         hint: there are `a`, `b`, `broken`, `c`, `child`, `orphan` and `self`"
    );
    assert!(said("child").starts_with("home/.bot-bottle/bottles/broken.md:2:1: "), "{}", said("child"));
}

#[test]
fn a_repository_reaches_nothing_by_links() {
    let world = World::new().bottle("dev", "").with("outside/agents/a.md", "---\nbottle: dev\n---\n");
    fs::create_dir_all(world.path("repo/.bot-bottle/agents")).unwrap();
    symlink("../../../outside/agents/a.md", world.path("repo/.bot-bottle/agents/file.md")).unwrap();
    assert_eq!(
        world.said(&world.open().agent("file").unwrap_err()).lines().next().unwrap(),
        "repo/.bot-bottle/agents/file.md: a symbolic link that leads out of its directory is not followed"
    );
    fs::remove_dir_all(world.path("repo/.bot-bottle/agents")).unwrap();
    symlink("../../outside/agents", world.path("repo/.bot-bottle/agents")).unwrap();
    let catalogue = world.open();
    assert_eq!(names(catalogue.agent_names()), [""; 0]);
    assert_eq!(
        world.warned(&catalogue),
        ["`repo/.bot-bottle/agents` is a symbolic link, which is not followed in a repository"]
    );
    fs::remove_dir_all(world.path("repo/.bot-bottle")).unwrap();
    symlink("../outside", world.path("repo/.bot-bottle")).unwrap();
    let catalogue = world.open();
    assert_eq!(names(catalogue.agent_names()), [""; 0]);
    assert_eq!(
        world.warned(&catalogue),
        ["`repo/.bot-bottle` is a symbolic link, which is not followed in a repository"]
    );
}

#[test]
fn a_bottle_that_links_into_a_repository_is_no_bottle() {
    let world = World::new().bottle("dev", "").with("repo/bottle.md", "---\n---\n");
    symlink("../../../repo/bottle.md", world.path("home/.bot-bottle/bottles/theirs.md")).unwrap();
    symlink("dev.md", world.path("home/.bot-bottle/bottles/alias.md")).unwrap();
    let catalogue = world.open();
    let said = world.said(&catalogue.bottle("theirs").unwrap_err());
    assert!(said.starts_with("home/.bot-bottle/bottles/theirs.md: a symbolic link that leads out"), "{said}");
    assert!(catalogue.bottle("alias").is_ok());
}

#[test]
fn at_home_the_same_directory_counts_once() {
    let world = World::new().bottle("dev", "").agent("home", "dev", "bottle: dev");
    let catalogue = Catalogue::open(&world.places("home")).unwrap();
    assert_eq!((names(catalogue.agent_names()), world.warned(&catalogue)), (vec!["dev"], vec![]));
    assert_eq!(catalogue.agent("dev").unwrap().source, Source::Home);
    // The user's own directory may be a link: that is how people keep it in their dotfiles.
    fs::rename(world.path("home/.bot-bottle"), world.path("dotfiles")).unwrap();
    symlink("../dotfiles", world.path("home/.bot-bottle")).unwrap();
    let catalogue = Catalogue::open(&world.places("home")).unwrap();
    assert_eq!((names(catalogue.agent_names()), world.warned(&catalogue)), (vec!["dev"], vec![]));
}

#[test]
fn names_that_are_none_and_files_that_are_no_manifests() {
    let world = World::new()
        .bottle("dev", "")
        .with("home/.bot-bottle/bottles/README.md", "")
        .with("home/.bot-bottle/bottles/.dev.md.swp", "")
        .with("home/.bot-bottle/bottles/notes.txt", "")
        .with("home/.bot-bottle/bottles/2nd.md", "")
        .with("home/.bot-bottle/bottles/\u{1b}[2J.md", "");
    let catalogue = world.open();
    assert_eq!(names(catalogue.bottle_names()), ["dev"]);
    let rule = "a name is a lower-case letter, then lower-case letters, digits and `-`";
    assert_eq!(
        world.warned(&catalogue),
        ["\\u{1b}[2J", "2nd", "README"].map(|name| format!("`home/.bot-bottle/bottles/{name}.md` is not read: {rule}"))
    );
}

#[test]
fn a_repository_cannot_flood_a_terminal() {
    let mut world = World::new();
    for number in 0..300 {
        world = world.with(&format!("repo/.bot-bottle/agents/X{number:03}.md"), "");
    }
    let warned = world.warned(&world.open());
    assert_eq!(warned.len(), 6);
    assert_eq!(
        warned.last().unwrap(),
        "`repo/.bot-bottle/agents` has 295 more files that are not read, as they have no name"
    );
}

#[test]
fn manifests_of_old_versions() {
    let world = World::new().with("home/bot-bottle.json", "{}");
    let error = Catalogue::open(&world.places("repo")).err().unwrap();
    assert_eq!(
        world.said(&error),
        "`home/bot-bottle.json` is a manifest of an old version, and `home/.bot-bottle` is not there\n\
         hint: write each of its bottles as a file `home/.bot-bottle/bottles/NAME.md`, each agent as \
         `home/.bot-bottle/agents/NAME.md`; `bottle-vmm init` makes a first pair to go by"
    );
    let world = World::new();
    fs::create_dir(world.path("home/.claude-bottle")).unwrap();
    let error = Catalogue::open(&world.places("repo")).err().unwrap();
    assert!(world.said(&error).ends_with("hint: rename it: `mv home/.claude-bottle home/.bot-bottle`"));
    // Beside the new directory it is the past; in a repository it must not keep anything from starting.
    let world = world.bottle("dev", "").with("repo/claude-bottle.json", "{}");
    assert_eq!(
        world.warned(&world.open()),
        ["`repo/claude-bottle.json` is a manifest of an old version: agents are files `.bot-bottle/agents/NAME.md`"]
    );
}

#[test]
fn a_repository_cannot_keep_anything_from_starting() {
    let world = World::new().bottle("dev", "").agent("home", "dev", "bottle: dev").with("repo/.bot-bottle", "a file");
    let catalogue = world.open();
    assert!(catalogue.agent("dev").is_ok());
    assert_eq!(world.warned(&catalogue), ["`repo/.bot-bottle` cannot be read: Not a directory"]);
    fs::remove_dir_all(world.path("repo")).unwrap();
    assert!(world.open().agent("dev").is_ok());
}

#[test]
fn a_directory_of_ones_own_that_cannot_be_read_is_an_error() {
    let world = World::new().with("home/.bot-bottle/bottles", "a file");
    let error = Catalogue::open(&world.places("repo")).err().unwrap();
    assert_eq!(
        world.said(&error),
        "cannot read the directory `home/.bot-bottle/bottles`: Not a directory\n\
         hint: a directory is to be there, or nothing: move away what is"
    );
}

#[test]
fn providers_of_ones_own() {
    let world = World::new().bottle("dev", "agent_provider: {template: mine}");
    assert_eq!(
        world.said(&world.open().bottle("dev").unwrap_err()),
        "home/.bot-bottle/bottles/dev.md:2:28: `agent_provider.template`: there is no provider `mine`\n\
         hint: there are `claude` and `codex`; one of your own is a directory under `contrib`"
    );
    let world = world.with("home/.bot-bottle/contrib/mine/provider", "");
    let merged = world.open().bottle("dev").unwrap();
    assert_eq!(merged.settings.agent_provider.unwrap().template.as_str(), "mine");
}

#[test]
fn the_copy_in_an_editor_is_checked_like_the_file_itself() {
    let world = World::new().bottle("dev", "extends: base").bottle("base", "").agent("home", "dev", "bottle: dev");
    let catalogue = world.open();
    let copy = Path::new("/tmp/copy.md");
    assert_eq!(catalogue.check_bottle("dev", copy, b"---\nextends: base\n---\n"), Ok(None));
    let said = |bytes: &[u8]| catalogue.check_bottle("dev", copy, bytes).unwrap_err().to_string();
    assert_eq!(said(b"---\nextends: dev\n---\n"), "/tmp/copy.md:2:10: the bottle extends itself");
    assert_eq!(said(b"---\nextends: x\n---\n"), "/tmp/copy.md:2:10: there is no bottle `x`");
    assert!(said(b"---\nx: 1\n---\n").starts_with("/tmp/copy.md:2:1: unknown key"));
    // That its parent is broken is not its fault; that it closes a circle is, though the last link is another's.
    let world = world.bottle("broken", "x: 1").bottle("child", "extends: dev");
    let catalogue = world.open();
    let beyond = catalogue.check_bottle("dev", copy, b"---\nextends: broken\n---\n").unwrap().unwrap();
    assert!(world.plain(&beyond.to_string()).starts_with("home/.bot-bottle/bottles/broken.md:2:1: "), "{beyond}");
    let error = catalogue.check_bottle("dev", copy, b"---\nextends: child\n---\n").unwrap_err();
    assert!(error.to_string().ends_with("in a circle: dev → child → dev"), "{error}");
    assert!(catalogue.check_agent(copy, b"---\nbottle: base\n---\n").is_ok());
    let error = catalogue.check_agent(copy, b"---\nbottle: x\n---\n").unwrap_err();
    assert_eq!(error.to_string(), "/tmp/copy.md:2:9: there is no bottle `x`");
}
