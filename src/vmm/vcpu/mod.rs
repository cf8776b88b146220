//! One vCPU: a thread that enters the guest, and turns each exit into a bus access or the end of the machine.

pub mod stats;

use super::bus::{Bus, Effect};
use super::stop::{Stop, StopReason};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// KVM_SYSTEM_EVENT_* (linux/kvm.h).
const SYSTEM_EVENT_SHUTDOWN: u32 = 1;

/// What all vCPUs share.
pub struct VcpuContext {
    pub mmio: Bus,
    pub ports: Bus,
    pub stop: Arc<Stop>,
    /// Told once, when the guest first reaches the monitor: the kernel's first sign of life, whatever its console.
    pub first_exit: Box<dyn Fn() + Send + Sync>,
    pub alive: AtomicBool,
}

impl VcpuContext {
    fn sign_of_life(&self) {
        if !self.alive.load(Ordering::Relaxed) && !self.alive.swap(true, Ordering::Relaxed) {
            (self.first_exit)();
        }
    }

    fn act(&self, effect: Effect) -> bool {
        match effect {
            Effect::None => return true,
            Effect::Reset => self.stop.request(StopReason::Reset),
            Effect::PowerOff => self.stop.request(StopReason::PowerOff),
        }
        false
    }
}

/// Runs the vCPU until the machine stops.
pub fn run(vcpu: VcpuFd, index: u8, context: &Arc<VcpuContext>) {
    // The end of the process closes it (see `Machine::run`).
    let mut vcpu = ManuallyDrop::new(vcpu);
    while step(&mut vcpu, index, context) {}
}

/// One entry and the exit that follows. False ends the thread.
fn step(vcpu: &mut VcpuFd, index: u8, context: &VcpuContext) -> bool {
    let broken = |detail: String| {
        context.stop.request(StopReason::Vcpu { index, detail });
        false
    };
    let exit = match vcpu.run() {
        Ok(exit) => exit,
        Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => return true,
        Err(error) => return broken(format!("KVM_RUN: {error}")),
    };
    context.sign_of_life();
    match exit {
        VcpuExit::IoIn(port, data) => {
            context.ports.read(port.into(), data);
            true
        }
        VcpuExit::IoOut(port, data) => context.act(context.ports.write(port.into(), data)),
        VcpuExit::MmioRead(address, data) => {
            context.mmio.read(address, data);
            true
        }
        VcpuExit::MmioWrite(address, data) => context.act(context.mmio.write(address, data)),
        VcpuExit::Intr | VcpuExit::Hlt | VcpuExit::IrqWindowOpen => true,
        VcpuExit::Shutdown => {
            context.stop.request(StopReason::Shutdown);
            false
        }
        VcpuExit::SystemEvent(kind, _) => {
            context.act(if kind == SYSTEM_EVENT_SHUTDOWN { Effect::PowerOff } else { Effect::Reset })
        }
        VcpuExit::FailEntry(reason, cpu) => broken(format!("entry failed: hardware reason {reason:#x} on CPU {cpu}")),
        VcpuExit::InternalError => broken(internal_error(vcpu)),
        other => broken(format!("exit not understood: {other:?}")),
    }
}

/// The suberror tells what KVM could not do (1: emulate an instruction); the instruction pointer tells where.
fn internal_error(vcpu: &mut VcpuFd) -> String {
    let at = vcpu.get_regs().map_or(0, |regs| regs.rip);
    format!(
        "KVM internal error at guest address {at:#x}; on a host without VMX or SVM this is an instruction that its KVM cannot emulate"
    )
}
