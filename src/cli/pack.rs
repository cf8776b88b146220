//! `bottle-vmm pack`: an image becomes one file.

use super::args::PackArgs;
use super::images::{Summary, print_json, source};
use super::out;
use super::progress;
use super::report::Failure;
use crate::image::{self, Cache, Output};
use std::process::ExitCode;

pub fn run(args: &PackArgs) -> Result<ExitCode, Failure> {
    let output = Output::new(&args.output, args.force);
    let progress = progress::of(args.progress, args.json);
    let artifact = image::pack(&source(&args.image), &output, &Cache::open_default()?, &*progress)?;
    drop(progress);
    if args.json {
        return print_json(&Summary::of(&artifact));
    }
    out::line(format_args!("{}", artifact.digest()))?;
    Ok(ExitCode::SUCCESS)
}
