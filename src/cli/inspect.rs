//! `bottle-vmm inspect`: what an artifact says of itself, and whether it is whole.

use super::args::InspectArgs;
use super::images::{Summary, print_json};
use super::out;
use super::progress;
use super::report::{Failure, Voice};
use crate::image::artifact::{Artifact, ArtifactError, Manifest};
use crate::image::{self, Cache, Entry, ImageError};
use indicatif::HumanBytes;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::process::ExitCode;

/// What `--json` prints.
#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    summary: Summary,
    /// Only with `--verify`; without success there is nothing to print.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    manifest: &'a Manifest,
}

/// It was looked at, and is damaged: for a script another thing than one that could not be looked at.
const DAMAGED: u8 = 1;

pub fn run(args: &InspectArgs, voice: Voice) -> Result<ExitCode, Failure> {
    let artifact = find(&args.name, voice)?;
    if args.verify {
        let progress = progress::of(args.progress, args.json);
        let path = artifact.path().to_owned();
        artifact.verify(&*progress).map_err(|source| {
            let failure = judged(ImageError::Artifact { path, source });
            match Cache::open_default() {
                Ok(cache) if cache.keeps(&artifact) => failure.with_hint(of_cached(&artifact)),
                _ => failure,
            }
        })?;
    }
    if args.json {
        let verified = args.verify.then_some(true);
        return print_json(&Inspected { summary: Summary::of(&artifact), verified, manifest: artifact.manifest() });
    }
    print(&artifact, args.verify)?;
    Ok(ExitCode::SUCCESS)
}

/// The way out where the damaged one is not the user's to copy.
fn of_cached(artifact: &Artifact) -> String {
    let short: String = artifact.digest().hex().chars().take(12).collect();
    format!("`bottle-vmm images rm {short}` removes it from the cache; the next `run` or `pack` makes it anew")
}

fn judged(error: ImageError) -> Failure {
    let damaged = matches!(&error, ImageError::Artifact { source, .. } if source.is_damage());
    let failure = Failure::from(error);
    if damaged { failure.with_code(DAMAGED) } else { failure }
}

/// A file that is one, or what an image at that path came to; where nothing has that path, a name of the cache.
fn find(name: &Path, voice: Voice) -> Result<Artifact, Failure> {
    let cache = Cache::open_default();
    let begins = name.components().next();
    let is_only_path = matches!(begins, Some(Component::RootDir | Component::CurDir | Component::ParentDir));
    let may_be_path = name.as_os_str().as_bytes().contains(&b'/');
    if !is_only_path && !image::exists(name) {
        // `containers-storage:localhost/agent` has a slash, too; what is neither is told to be no path.
        match cache.as_ref().map(|cache| cache.find(&name.to_string_lossy())) {
            Ok(Ok(entry)) => return Ok(entry.artifact),
            Ok(Err(error)) if !may_be_path => return Err(error.into()),
            _ => {}
        }
    }
    let cache = cache.ok();
    if let Some(other) = cache.as_ref().filter(|_| !may_be_path).and_then(|cache| namesake(name, cache)) {
        voice.note(&other);
    }
    if let Some(remembered) = cache.as_ref().and_then(|cache| image::recall(name, cache)) {
        return Ok(remembered);
    }
    let no_artifact = match image::open_artifact(name) {
        Err(
            error @ (ImageError::Artifact { source: ArtifactError::NotAnArtifact | ArtifactError::Read(_), .. }
            | ImageError::Io { .. }),
        ) => error,
        opened => return opened.map_err(judged),
    };
    match cache.and_then(|cache| image::last_known(name, &cache)) {
        Some(Entry { artifact, .. }) => {
            voice.note(&format!(
                "whether `{}` has changed since is not known: this is what it was when `run` last packed it",
                name.display()
            ));
            Ok(artifact)
        }
        None => Err(judged(no_artifact)),
    }
}

/// Of one image, whatever their compression.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let id = |entry: &Entry| entry.artifact.manifest().source.id;
    id(one) == id(other)
}

/// What to say of other images that the cache has under the name of a file.
fn namesake(name: &Path, cache: &Cache) -> Option<String> {
    let text = name.to_string_lossy();
    let other = match cache.find(&text) {
        Ok(entry) if image::last_known(name, cache).is_some_and(|own| is_same(&own, &entry)) => return None,
        Ok(entry) => {
            let digest = entry.artifact.digest();
            if image::open_artifact(name).is_ok_and(|same| same.digest() == digest) {
                return None;
            }
            let short: String = digest.hex().chars().take(12).collect();
            format!("an image of the cache has that name, too: `inspect {short}`")
        }
        Err(ImageError::Ambiguous { .. }) => "images of the cache have that name, too: `images` lists them".to_owned(),
        Err(_) => return None,
    };
    Some(format!("this is the file `{}` of the current directory; {other}", text.escape_debug()))
}

fn print(artifact: &Artifact, verified: bool) -> Result<(), Failure> {
    let Manifest { created_by, config, source, root, tree, .. } = artifact.manifest();
    let words = |words: &[String]| words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" ");
    let mut lines = vec![
        ("Artifact", artifact.path().display().to_string()),
        ("Digest", artifact.digest().to_string()),
        ("Image ID", source.id.to_string()),
        ("Created by", created_by.clone()),
        ("Platform", artifact.platform().to_string()),
        ("Size", HumanBytes(artifact.bytes()).to_string()),
        ("Root", format!("{}, {:?}, compression {}", HumanBytes(root.bytes), root.file_system, root.compression)),
        ("Root digest", tree.root_digest.to_string()),
        ("Entrypoint", words(&config.entrypoint)),
        ("Command", words(&config.cmd)),
        ("User", config.user.clone()),
        ("Directory", config.working_dir.clone()),
        ("Ports", words(&config.exposed_ports)),
        ("Stop signal", config.stop_signal.clone().unwrap_or_default()),
    ];
    lines.extend(config.env.iter().map(|variable| ("Variable", variable.clone())));
    lines.extend(config.labels.iter().map(|(name, value)| ("Label", format!("{name}={value}"))));
    lines.extend(source.layers.iter().map(|layer| ("Layer", layer.to_string())));
    if verified {
        lines.push(("Verified", "every byte is the one that was written".to_owned()));
    }
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        out::line(format_args!("{name:<12} {}", clean(&value)))?;
    }
    Ok(())
}

/// A word as it would have to be typed.
fn shown(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("{word:?}") }
}

/// What an image says must not drive the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_image_are_told_apart_and_cannot_drive_a_terminal() {
        assert_eq!(shown("--flag=a/b"), "--flag=a/b");
        assert_eq!((shown("two words"), shown("")), ("\"two words\"".to_owned(), "\"\"".to_owned()));
        assert_eq!(clean("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
