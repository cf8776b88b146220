//! Builds the guest agent, which the program carries: PID 1 of every guest has to be there before any disk is.
//!
//! It is another program for another machine, so it is built apart: its own target directory, its own profile, static and without
//! relocations (nothing has to be relocated when PID 1 starts).

use std::env;
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    for path in ["guest/agent", "guest/protocol", "Cargo.lock", "Cargo.toml", "build.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let target_dir = out.join("guest");
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--locked",
            "--package",
            "bottle-agent",
            "--profile",
            "agent",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        // What the outer build set for itself: its flags, and the wrapper that makes rustc a linter.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER");
    let status = build.status().expect("cargo can be started again");
    assert!(status.success(), "the guest agent does not build");
    let built = target_dir.join(TARGET).join("agent/bottle-agent");
    println!("cargo::rustc-env=BOTTLE_AGENT={}", built.display());
}
