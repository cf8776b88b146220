//! `bottle-vmm pack`: an image becomes one file.

use super::args::PackArgs;
use super::images::{self, Summary, origin, print_json, source};
use super::out;
use super::progress;
use super::report::Failure;
use crate::builder;
use crate::image::{self, Output};
use std::path::Path;
use std::process::ExitCode;

pub fn run(args: &PackArgs) -> Result<ExitCode, Failure> {
    if args.output == Path::new("-") {
        let hint = "name a file with `-o`, or `./-` for one of that name";
        return Err(Failure::new("an artifact cannot be written to standard output", Some(hint.to_owned())));
    }
    let output = Output::new(&args.output, args.force);
    let progress = progress::of(args.progress, args.json);
    let cache = images::cache(args.compression)?;
    let image = args.image.as_deref();
    let artifact = match (origin(image, args.dockerfile.as_deref(), args.context.as_deref()), image) {
        (Some(origin), _) => builder::pack(&origin, &output, &cache, &*progress)?,
        // The command line has either.
        (None, image) => image::pack(&source(image.unwrap_or(Path::new("-"))), &output, &cache, &*progress)?,
    };
    drop(progress);
    if args.json {
        return print_json(&Summary::of(&artifact));
    }
    out::line(format_args!("{}", artifact.digest()))?;
    Ok(ExitCode::SUCCESS)
}
