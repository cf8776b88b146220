//! The attacks on a program whose policy is weaker than ours have to be heard, or hearing nothing (`attacks.rs`) shows nothing.
//!
//! The program is built of a copy of the sources that can make the mistakes of `tests/mutants/weaknesses.rs`, below `target`.

use crate::attacks::{Needs, attacked, meant, places, plan};
use crate::bottle::{Bottle, Finished};
use crate::setup::{PROGRAM, attack_root, fnv1a, lock};
use crate::weaknesses::{VARIABLE, WEAKNESSES, Weakness, copy, numbered, weaken};
use crate::world::in_a_world;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mistakes by their places, what stands there instead, and the plan under which they let something out.
const MISTAKES: [(&str, &str, Needs); 9] = [
    ("if «self.rules.iter().any(|rule| rule.matches(protocol, address, port))» {", "true", Needs::TheOne),
    ("        «Verdict::Deny(Denial::NotAllowed)»\n    }", "Verdict::Allow(How::Direct)", Needs::TheOne),
    ("«self.protocol == protocol»\n", "true", Needs::TheOne),
    ("&& «(self.first_port..=self.last_port).contains(&port)»\n", "self.first_port <= port", Needs::TheOne),
    ("&& «self.network.contains(address)»\n", "true", Needs::TheOne),
    (
        "let mask = «u32::MAX.checked_shl(32 - u32::from(prefix))»",
        "u32::MAX.checked_shl(33 - u32::from(prefix))",
        Needs::TheOne,
    ),
    ("if let Some(special) = «special(address)» {", "None::<Special>", Needs::ARange),
    ("if «self.surroundings.network.contains(address)» {", "false", Needs::ARange),
    ("if «self.surroundings.host.iter().any(|own| canonical(*own) == address)» {", "false", Needs::ARange),
];

/// The second judge, which keeps such a bottle from starting: the attacks are to be heard by themselves.
const NO_READ_BACK: Weakness =
    Weakness { file: "src/launch/egress.rs", place: "«readback::verify(&policy, &probes)?»;", instead: &["()"] };

/// Where the kernel would take it, which the broker asks once more.
const NO_SECOND_LOOK: Weakness =
    Weakness { file: "src/net/broker/mod.rs", place: "how == How::Direct && «!named» {", instead: &["false"] };

#[test]
fn a_weaker_policy_is_noticed_before_the_guest_starts_and_if_not_then_by_the_attacks() {
    attack_root();
    let program = weak_program();
    in_a_world(&places(), |recorder| {
        let attacked = |mistakes: &str, options: &[String]| -> Finished {
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            attacked(Bottle::of(&program).env(VARIABLE, mistakes), &options)
        };
        let nobody_else = [number(NO_READ_BACK.place, "()"), number(NO_SECOND_LOOK.place, "false")];
        let nobody_else = nobody_else.map(|number| number.to_string()).join(",");
        attacked(&nobody_else, &plan(Needs::TheOne)).exits(0);
        assert_eq!(recorder.heard(), meant(Needs::TheOne), "without a mistake it is as good as ours");
        for (place, instead, level) in MISTAKES {
            let mistake = number(place, instead);
            attacked(&mistake.to_string(), &plan(level))
                .exits(125)
                .complains(&["the egress policy is not what was asked for"]);
            assert_eq!(recorder.heard(), [""; 0], "{instead} at {place}");
            let finished = attacked(&format!("{mistake},{nobody_else}"), &plan(level)).exits(0);
            // Something got out that ours does not let out; that something is missing would be no leak.
            let (heard, meant) = (recorder.heard(), meant(level));
            let leaked = heard.iter().any(|place| !meant.iter().any(|ours| place == ours));
            assert!(leaked, "nobody noticed {instead} at {place}: {heard:?} {finished:?}");
        }
    });
}

fn all() -> Vec<Weakness> {
    WEAKNESSES.into_iter().chain([NO_READ_BACK, NO_SECOND_LOOK]).collect()
}

fn number(place: &str, instead: &str) -> usize {
    let all = all();
    let found = numbered(&all).find(|(_, weakness, other)| weakness.place == place && *other == instead);
    found.unwrap_or_else(|| panic!("no mistake `{instead}` at `{place}`")).0
}

/// Built once for the sources as they are. What our own build has compiled of other people's libraries is used again: the same workspace, under
/// another name so that nothing of ours is replaced.
fn weak_program() -> PathBuf {
    let _turn = lock("weak-program");
    let output = Command::new("git").args(["ls-files"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let kept = |file: &&str| {
        ["src/", "guest/", "firmware/", "tests/kvmhost/", "Cargo."].iter().any(|start| file.starts_with(start))
    };
    let files: Vec<&str> = listed.lines().filter(kept).collect();
    let own = ["tests/mutants/weaknesses.rs", file!()];
    let text =
        files.iter().chain(&own).flat_map(|file| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap());
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("weak-program");
    let program = root.join(format!("{:016x}", fnv1a(&text.collect::<Vec<_>>())));
    if !program.exists() {
        let _ = fs::remove_dir_all(&root);
        copy(&files, &root);
        weaken(&root, &all());
        rename(&root);
        build(&root);
        let built = Path::new(PROGRAM).with_file_name("weak-vmm");
        fs::rename(built, &program).unwrap();
    }
    program
}

fn rename(root: &Path) {
    let edit = |file: &str, edits: &[(&str, &str)]| {
        let path = root.join(file);
        let text = fs::read_to_string(&path).unwrap();
        let edited = edits.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{file} has no `{from}`");
            text.replace(from, to)
        });
        fs::write(path, edited).unwrap();
    };
    edit("Cargo.lock", &[("\"bottle-vmm\"", "\"weak-vmm\"")]);
    edit("tests/kvmhost/Cargo.toml", &[("bottle-vmm = {", "bottle-vmm = { package = \"weak-vmm\",")]);
    edit("Cargo.toml", &[("\"bottle-vmm\"", "\"weak-vmm\""), ("\n[lib]\n", "\n[lib]\nname = \"bottle_vmm\"\n")]);
    // Our own benches, examples and tests are not among the files.
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let own = ["[[bench]]", "[[example]]", "[[test]]"];
    let sections = manifest.split("\n\n").filter(|section| !own.iter().any(|kind| section.contains(kind)));
    let sections = sections.chain(["[profile.dev.package.weak-vmm]\ndebug = false\n"]).collect::<Vec<_>>();
    fs::write(root.join("Cargo.toml"), sections.join("\n\n")).unwrap();
    // The agent is not what is weak.
    let agent = env!("BOTTLE_AGENT");
    fs::write(root.join("build.rs"), format!("fn main() {{ println!(\"cargo::rustc-env=BOTTLE_AGENT={agent}\"); }}\n"))
        .unwrap();
    fs::write(root.join("tests/none.rs"), "").unwrap();
}

/// As for a test, though there is none: then features of libraries are those of our own build.
fn build(root: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--offline", "--no-run", "--test", "none", "--manifest-path"]).arg(root.join("Cargo.toml"));
    // Where our own build has its settings from.
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // TARGET/TRIPLE/PROFILE/bottle-vmm
    let output = cargo.arg("--target-dir").arg(Path::new(PROGRAM).ancestors().nth(3).unwrap()).output().unwrap();
    assert!(output.status.success(), "the weak program does not build: {}", String::from_utf8_lossy(&output.stderr));
}
