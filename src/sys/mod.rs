//! The few system calls that neither std nor nix offers in the form needed, each as a safe function. [unsafe]

pub mod descriptors;
pub mod environ;
pub mod held_signals;
pub mod mapped;
pub mod passing;
pub mod positioned;
pub mod routing;
pub mod vectored;
