//! `pack`, `inspect` and `images` as people and programs use them. No guest is started.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod disks;
mod memory;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bottle-vmm");

/// A directory of one's own, with a cache in it and an image that is a root directory.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("root")).unwrap();
        fs::write(place.path("root/file"), noise(300_000)).unwrap();
        // Sources that are this young are not remembered.
        std::thread::sleep(std::time::Duration::from_millis(60));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        succeeded(&self.run(arguments))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.succeeds(arguments)).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], parts: &[&str]) {
        failed(&self.run(arguments), parts);
    }

    /// For scripts another thing than a file that could not be looked at.
    #[track_caller]
    fn is_damaged(&self, name: &str, part: &str) {
        failed_with(1, &self.run(&["inspect", "--verify", name]), &[name, part, "hint: "]);
    }

    /// Has the root directory packed into the cache, as `run` does it before it needs KVM or a kernel.
    fn cache_it(&self, name: &str) {
        self.cache_it_with(name, "lz4");
    }

    fn cache_it_with(&self, name: &str, compression: &str) {
        let path = self.path(name);
        let cache = bottle_vmm::image::Cache::at(&self.path("cache/bottle-vmm/images"));
        let cache = cache.with_compression(compression.parse().unwrap());
        let source = bottle_vmm::image::Source::Path(path);
        bottle_vmm::image::open(&source, &cache, &bottle_vmm::progress::Silent).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Bytes that do not shrink.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn failed(output: &Output, parts: &[&str]) {
    failed_with(125, output, parts);
}

#[track_caller]
fn failed_with(code: i32, output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(output.stdout, b"");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is missing in:\n{stderr}");
    }
}

#[test]
fn a_name_as_other_tools_have_it_is_told_what_to_leave_out() {
    let place = Place::new();
    for name in ["oci-archive:a.tar", "docker-archive:a.tar", "oci:layout:latest"] {
        place.fails(&["pack", name, "-o", "a.bottle"], &[name, "leave out what stands before the first colon"]);
    }
}

#[test]
fn pack_prints_the_digest_and_the_same_image_gives_the_same_file() {
    let place = Place::new();
    let digest = place.succeeds(&["pack", "root", "-o", "a.bottle"]);
    assert!(digest.starts_with("sha256:") && digest.trim_end().len() == 71, "{digest}");
    let again = place.json(&["pack", "root", "-o", "b.bottle", "--json"]);
    assert_eq!(again["digest"], digest.trim_end());
    assert_eq!(again["path"], "b.bottle");
    assert!(fs::read(place.path("a.bottle")).unwrap() == fs::read(place.path("b.bottle")).unwrap());
    assert_eq!(place.names(), ["a.bottle", "b.bottle", "root"]);
}

#[test]
fn every_compression_gives_a_file_of_its_own_that_is_the_same_twice() {
    let place = Place::new();
    let words: String = (0..100_000).map(|number| format!("word {} ", number % 700)).collect();
    fs::write(place.path("root/words"), &words).unwrap();
    for number in 0..300 {
        fs::write(place.path(&format!("root/{number}")), &words[..number]).unwrap();
    }
    let mut digests = Vec::new();
    let mut sizes = Vec::new();
    for compression in ["none", "lz4", "zstd", "zstd:1"] {
        let pack =
            |output: &str| place.succeeds(&["pack", "root", "-o", output, "--force", "--compression", compression]);
        digests.push(pack("a.bottle"));
        assert_eq!(pack("b.bottle"), *digests.last().unwrap());
        assert!(
            fs::read(place.path("a.bottle")).unwrap() == fs::read(place.path("b.bottle")).unwrap(),
            "{compression}"
        );
        let json = place.json(&["inspect", "--json", "--verify", "a.bottle"]);
        assert_eq!(json["manifest"]["root"]["compression"], compression);
        assert!(place.succeeds(&["inspect", "a.bottle"]).contains(&format!("compression {compression}\n")));
        sizes.push(json["bytes"].as_u64().unwrap());
    }
    // What nobody asks for.
    assert_eq!(place.succeeds(&["pack", "root", "-o", "c.bottle"]), digests[1]);
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4);
    assert!(sizes[0] > 2 * sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
}

#[test]
fn a_compression_that_is_none_or_not_the_artifact_s_is_refused() {
    let place = Place::new();
    for wrong in ["brotli", "LZ4", "lz4:9", "zstd:0", "zstd:23", "zstd:", ""] {
        let complaint = [&format!("'{wrong}'"), "`none`, `lz4`, `zstd`", "from 1 to 22"];
        place.fails(
            &["pack", "root", "-o", "a.bottle", &format!("--compression={wrong}")],
            &complaint.map(AsRef::as_ref),
        );
    }
    assert_eq!(place.names(), ["root"]);
    place.succeeds(&["pack", "root", "-o", "a.bottle", "--compression", "zstd:2"]);
    let again = ["pack", "a.bottle", "-o", "b.bottle", "--compression", "lz4"];
    place.fails(&again, &["packed with compression zstd:2", "lz4 was asked for", "hint: "]);
    assert_eq!(place.names(), ["a.bottle", "root"]);
    // As it is, or as what it is, it may be copied.
    place.succeeds(&["pack", "a.bottle", "-o", "b.bottle"]);
    place.succeeds(&["pack", "a.bottle", "-o", "c.bottle", "--compression", "zstd:2"]);
    assert!(fs::read(place.path("a.bottle")).unwrap() == fs::read(place.path("c.bottle")).unwrap());
}

#[test]
fn damage_in_compressed_bytes_is_found() {
    let place = Place::new();
    let words: String = (0..100_000).map(|number| format!("word {number} ")).collect();
    fs::write(place.path("root/words"), words).unwrap();
    for compression in ["lz4", "zstd"] {
        place.succeeds(&["pack", "root", "-o", "a.bottle", "--force", "--compression", compression]);
        let good = fs::read(place.path("a.bottle")).unwrap();
        for at in [4096 + 17, 330_000, good.len() / 2] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(place.path("bad.bottle"), bytes).unwrap();
            let block = format!("the first at byte {}", at / 4096 * 4096);
            place.is_damaged("bad.bottle", &block);
        }
    }
}

#[test]
fn an_image_is_cached_once_for_each_compression() {
    let place = Place::new();
    for compression in ["lz4", "none", "zstd:1", "lz4"] {
        place.cache_it_with("root", compression);
    }
    let listed = place.json(&["images", "--json"]);
    let images = listed.as_array().unwrap();
    assert_eq!(images.len(), 3);
    assert!(
        images
            .iter()
            .all(|image| image["image_id"] == images[0]["image_id"] && image["sources"] == images[0]["sources"])
    );
    place.fails(&["images", "rm", "root"], &["any of 3 images", "lz4)", "none)", "zstd:1)", "hint: "]);
    for (left, image) in (0..3).rev().zip(images) {
        place.succeeds(&["images", "rm", image["digest"].as_str().unwrap()]);
        let listed = place.json(&["images", "--json"]);
        // The source is remembered as long as anything is there that it came to.
        assert_eq!(listed.as_array().unwrap().len(), left);
        assert!(listed.as_array().unwrap().iter().all(|image| image["sources"].as_array().unwrap().len() == 1));
    }
    // And `pack` takes of them what it was asked for.
    place.cache_it_with("root", "zstd:1");
    place.succeeds(&["pack", "root", "-o", "a.bottle", "--compression", "none"]);
    assert_eq!(place.json(&["inspect", "--json", "a.bottle"])["manifest"]["root"]["compression"], "none");
}

#[test]
fn an_artifact_comes_through_standard_input_too() {
    let place = Place::new();
    let digest = place.succeeds(&["pack", "root", "-o", "a.bottle"]);
    let mut command = place.command(&["pack", "-", "-o", "b.bottle"]);
    let output = command.stdin(fs::File::open(place.path("a.bottle")).unwrap()).output().unwrap();
    assert_eq!(succeeded(&output), digest);
    let mut child =
        place.command(&["pack", "-", "-o", "c.bottle"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let half = &fs::read(place.path("a.bottle")).unwrap()[..100_000];
    child.stdin.take().unwrap().write_all(half).unwrap();
    failed(&child.wait_with_output().unwrap(), &["standard input", "cut short", "hint: "]);
}

/// Whoever forgot the pipe would wait for ever.
#[test]
fn a_terminal_is_no_image() {
    let place = Place::new();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let output = place.command(&["pack", "-", "-o", "a.bottle"]).stdin(terminal.slave).output().unwrap();
    failed(&output, &["standard input is a terminal", "hint: pipe an image into it"]);
}

/// `pack <(command)`, and a pipe under a name of its own.
#[test]
fn an_image_comes_through_a_pipe_that_has_a_path() {
    let place = Place::new();
    let digest = place.succeeds(&["pack", "root", "-o", "a.bottle"]);
    let pipes = [
        "exec $0 pack <(cat a.bottle) -o b.bottle",
        "cat a.bottle | $0 pack /dev/stdin -o c.bottle",
        "mkfifo pipe && { cat a.bottle >pipe & } && $0 pack pipe -o d.bottle",
    ];
    for script in pipes {
        let mut bash = Command::new("bash");
        let bash = bash.args(["-c", script, PROGRAM]).current_dir(place.0.path());
        let output = bash.env("XDG_CACHE_HOME", place.path("cache")).output().unwrap();
        assert_eq!(succeeded(&output), digest, "{script}");
    }
}

#[test]
fn an_image_is_not_packed_over_itself_nor_onto_a_stream() {
    let place = Place::new();
    place.succeeds(&["pack", "root", "-o", "a.bottle"]);
    let before = fs::read(place.path("a.bottle")).unwrap();
    fs::hard_link(place.path("a.bottle"), place.path("same.bottle")).unwrap();
    for target in ["a.bottle", "./a.bottle", "same.bottle"] {
        place.fails(&["pack", "--force", "a.bottle", "-o", target], &["cannot be packed into itself", "hint: "]);
    }
    assert_eq!(fs::read(place.path("a.bottle")).unwrap(), before);
    place.fails(&["pack", "root", "-o", "-"], &["standard output", "`./-`"]);
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_force() {
    let place = Place::new();
    fs::write(place.path("a.bottle"), "mine").unwrap();
    place.fails(&["pack", "root", "-o", "a.bottle"], &["`a.bottle` is there already", "--force"]);
    assert_eq!(fs::read(place.path("a.bottle")).unwrap(), b"mine");
    place.succeeds(&["pack", "root", "-o", "a.bottle", "--force"]);
    place.succeeds(&["inspect", "--verify", "a.bottle"]);
}

#[test]
fn outputs_that_cannot_be() {
    let place = Place::new();
    fs::create_dir(place.path("dir")).unwrap();
    place.fails(&["pack", "root", "-o", "dir", "--force"], &["`dir` is a directory, and no file", "hint: "]);
    fs::write(place.path("plain"), "").unwrap();
    for directory in ["none/", "plain/"] {
        let said = format!("`{directory}` is the name of a directory");
        place.fails(&["pack", "root", "-o", directory], &[&said, "hint: name a file"]);
    }
    fs::remove_file(place.path("plain")).unwrap();
    place.fails(&["pack", "root", "-o", "none/a.bottle"], &["there is no directory `none`", "hint: "]);
    place.fails(&["pack", "root", "-o", "/proc/a.bottle"], &["/proc", "hint: "]);
    place.fails(&["pack", "none", "-o", "a.bottle"], &["none"]);
    place.fails(&["pack", "root"], &["--output"]);
    assert!(Command::new("mkfifo").arg(place.path("dir/fifo")).status().unwrap().success());
    place.fails(&["inspect", "dir/fifo"], &["dir/fifo"]);
    assert_eq!(place.names(), ["dir", "root"]);
}

#[test]
fn inspect_tells_what_it_is_and_names_what_is_wrong() {
    let place = Place::new();
    let digest = place.succeeds(&["pack", "root", "-o", "a.bottle"]);
    let text = place.succeeds(&["inspect", "a.bottle", "--verify"]);
    for part in [digest.trim_end(), "linux/amd64", "Verified"] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(!place.succeeds(&["inspect", "a.bottle"]).contains("Verified"));
    let json = place.json(&["inspect", "--json", "--verify", "a.bottle"]);
    assert_eq!((&json["verified"], &json["digest"]), (&true.into(), &digest.trim_end().into()));
    assert_eq!(json["manifest"]["source"]["kind"], "directory");
    let mut bytes = fs::read(place.path("a.bottle")).unwrap();
    bytes[4100] ^= 1;
    fs::write(place.path("bad.bottle"), bytes).unwrap();
    place.succeeds(&["inspect", "bad.bottle"]);
    place.is_damaged("bad.bottle", "the first at byte 4096");
    place.fails(&["inspect", "root"], &["root"]);
    fs::write(place.path("text"), "text").unwrap();
    place.fails(&["inspect", "text"], &["does not begin as an artifact does", "hint: "]);
    place.fails(&["inspect", "no-such-name"], &["no image is called `no-such-name`", "hint: "]);
}

#[test]
fn the_cache_is_listed_inspected_by_name_and_pruned() {
    let place = Place::new();
    assert_eq!(place.json(&["images", "--json"]), serde_json::json!([]));
    place.cache_it("root");
    let listed = place.json(&["images", "--json"]);
    let (digest, source) = (listed[0]["digest"].as_str().unwrap(), listed[0]["sources"][0].as_str().unwrap());
    assert_eq!(Path::new(source), place.path("root").canonicalize().unwrap());
    assert!(listed[0]["last_used"].as_u64() >= listed[0]["created"].as_u64());
    let table = place.succeeds(&["images"]);
    assert!(table.starts_with("NAME") && table.contains("root") && table.contains(&digest[7..19]), "{table}");
    assert!(place.succeeds(&["inspect", &digest[..15]]).contains(digest));
    let dry = place.json(&["images", "prune", "--dry-run", "--json"]);
    assert_eq!((&dry["removed"][0]["digest"], &dry["dry_run"]), (&digest.into(), &true.into()));
    assert!(place.succeeds(&["images", "prune", "--keep", "1"]).contains("freed 0 B"));
    assert_eq!(place.json(&["images", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(place.succeeds(&["images", "rm", "root"]).trim_end(), digest);
    place.fails(&["images", "rm", "root"], &["no image is called `root`"]);
    place.cache_it("root");
    assert!(place.succeeds(&["images", "prune"]).contains("removed"));
    assert_eq!(place.json(&["images", "--json"]), serde_json::json!([]));
}

#[test]
fn a_damaged_image_of_the_cache_is_told_how_to_get_rid_of() {
    let place = Place::new();
    place.cache_it("root");
    let listed = place.json(&["images", "--json"]);
    let (digest, path) = (listed[0]["digest"].as_str().unwrap(), listed[0]["path"].as_str().unwrap());
    let mut bytes = fs::read(path).unwrap();
    bytes[9000] ^= 1;
    fs::write(path, bytes).unwrap();
    let way_out = format!("hint: `bottle-vmm images rm {}`", &digest[7..19]);
    failed_with(1, &place.run(&["inspect", "--verify", "root"]), &["the first at byte 8192", &way_out]);
    assert_eq!(place.succeeds(&["pack", "root", "-o", "a.bottle"]).trim_end(), digest);
    place.succeeds(&["inspect", "--verify", "a.bottle"]);
    assert_eq!(place.json(&["images", "--json"]), serde_json::json!([]));
}

/// As in `docker save … >x.tar; bottle-vmm run --image x.tar`: too young to be known again without being read, but nameless it is not.
#[test]
fn an_image_that_was_written_a_moment_ago_goes_by_its_name() {
    let place = Place::new();
    fs::write(place.path("root/young"), "written now").unwrap();
    place.cache_it("root");
    let listed = place.json(&["images", "--json"]);
    let digest = listed[0]["digest"].as_str().unwrap();
    assert!(place.succeeds(&["images"]).lines().nth(1).is_some_and(|line| line.starts_with("root ")));
    let output = place.run(&["inspect", "./root"]);
    assert!(succeeded(&output).contains(digest));
    assert!(String::from_utf8_lossy(&output.stderr).contains("whether `./root` has changed since is not known"));
    assert_eq!(place.succeeds(&["images", "rm", "root"]).trim_end(), digest);
    place.fails(&["inspect", "./root"], &["root"]);
}

#[test]
fn a_path_where_nothing_is_is_not_what_the_cache_remembers_of_it() {
    let place = Place::new();
    place.cache_it("root");
    fs::rename(place.path("root"), place.path("gone")).unwrap();
    place.succeeds(&["inspect", "--verify", "root"]);
    for path in ["./root", place.path("root").to_str().unwrap()] {
        place.fails(&["inspect", "--verify", path], &["cannot open", path]);
    }
    fs::rename(place.path("gone"), place.path(".hidden")).unwrap();
    place.cache_it(".hidden");
    fs::rename(place.path(".hidden"), place.path("gone")).unwrap();
    let output = place.run(&["inspect", ".hidden"]);
    succeeded(&output);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// The file is looked at, and of an image that is another thing it is said how to look at that.
#[test]
fn a_file_goes_before_an_image_of_its_name() {
    let place = Place::new();
    place.cache_it("root");
    let listed = place.json(&["images", "--json"]);
    let digest = listed[0]["digest"].as_str().unwrap();
    fs::create_dir(place.path("sub")).unwrap();
    let inspected = |name: &str| {
        let output = place.command(&["inspect", name]).current_dir(place.path("sub")).output().unwrap();
        (succeeded(&output), String::from_utf8(output.stderr).unwrap())
    };
    assert!(inspected("root").0.contains(digest), "there is no such file yet");
    place.succeeds(&["pack", "root", "-o", "sub/root"]);
    assert_eq!(inspected("root").1, "", "it is the same");
    place.succeeds(&["pack", "root", "-f", "-o", "sub/root", "--compression", "none"]);
    let (shown, said) = inspected("root");
    assert!(!shown.contains(digest), "{shown}");
    assert_eq!(
        said,
        format!(
            "bottle-vmm: this is the file `root` of the current directory; an image of the cache has that name, too: `inspect {}`\n",
            &digest[7..19]
        )
    );
    let shown = shown.replace("Artifact     root", "Artifact     ./root");
    assert_eq!(inspected("./root"), (shown, String::new()), "which is a path and nothing else");
}

#[test]
fn progress_is_json_lines_on_request_and_nothing_off_a_terminal() {
    let place = Place::new();
    let output = place.run(&["pack", "root", "-o", "a.bottle", "--json"]);
    let events: Vec<serde_json::Value> =
        String::from_utf8(output.stderr).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<_> = events.iter().filter(|event| event["event"] == "step").collect();
    assert!(steps.len() >= 3 && steps.iter().any(|step| step["unit"] == "bytes"), "{events:?}");
    assert!(events.iter().any(|event| event["event"] == "progress" && event["done"] == event["total"]), "{events:?}");
    let refused = place.run(&["pack", "root", "-o", "a.bottle", "--progress", "json"]);
    let error: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(
        (&error["event"], &error["exit_code"], &error["hint"]),
        (&"error".into(), &125.into(), &"`--force` replaces it".into())
    );
    let refused = place.run(&["pack", "root", "-o", "a.bottle", "--json", "--progress", "none"]);
    serde_json::from_slice::<serde_json::Value>(&refused.stderr).unwrap();
    assert_eq!(place.run(&["pack", "root", "-o", "b.bottle"]).stderr, b"");
    assert_eq!(place.run(&["pack", "root", "-o", "c.bottle", "--json", "--progress", "none"]).stderr, b"");
}

/// A file that may not grow while the artifact is written: nothing of it remains, and the way out is told.
#[test]
fn a_full_disk_in_the_middle_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    // Enough for the pages that hold zeros to be holes, too little for the rest.
    let script = format!("ulimit -f 100; trap '' XFSZ; exec {PROGRAM} pack root -o a.bottle");
    let limited = |directory: &Path| {
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(directory).env("XDG_CACHE_HOME", place.path("cache"));
        command.output().unwrap()
    };
    failed(&limited(place.0.path()), &["bottle-vmm: cannot", "hint: make room"]);
    assert_eq!(place.names(), ["root"]);
}

/// Killed at any moment, packing leaves no file under the name, and the next try succeeds.
#[test]
fn a_killed_pack_leaves_nothing_under_the_name() {
    let place = Place::new();
    fs::write(place.path("root/large"), noise(60_000_000)).unwrap();
    for delay in [0, 5, 20, 40, 80] {
        let mut child = place.command(&["pack", "root", "-o", "a.bottle"]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        assert_eq!(place.path("a.bottle").exists(), finished, "after {delay} ms");
        let _ = fs::remove_file(place.path("a.bottle"));
        assert_eq!(place.names(), ["root"]);
    }
    place.succeeds(&["pack", "root", "-o", "a.bottle"]);
    place.succeeds(&["inspect", "--verify", "a.bottle"]);
}
