//! Everything that is true of x86-64 only: the address map, what the kernel is told of the machine, what a CPU looks like.

pub mod acpi;
pub mod boot_params;
pub mod cpuid;
pub mod layout;
pub mod mp_table;
pub mod registers;
