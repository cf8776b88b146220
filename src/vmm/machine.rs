//! The boot story: descriptors and numbers in, a running guest out.

use super::boot::{self, BootError, BootSpec, Entry, kernel_command_line};
use super::bus::Bus;
use super::devices::reset::{AcpiRegisters, KeyboardController};
use super::devices::serial::{LineSink, SerialPort};
use super::devices::virtio::blk::Block;
use super::devices::virtio::mmio::{MmioTransport, MmioWindow, QUEUE_NOTIFY};
use super::devices::virtio::net::Net;
use super::devices::virtio::rng::Entropy;
use super::devices::virtio::vsock::{GuestCid, Vsock};
use super::devices::virtio::{Notification, VirtioDevice};
use super::event_loop::{EventLoop, EventLoopError, Registrar, SharedDevice};
use super::irq::Irq;
use super::memory::{self, GuestRam, MemoryError};
use super::spec::MachineSpec;
use super::stop::{DiskFault, Stop, StopReason};
use super::vcpu::stats::ExitCounter;
use super::vcpu::{self, VcpuContext};
use super::x86_64::cpuid::{self, CpuidError};
use super::x86_64::layout;
use super::x86_64::registers::{self, RegistersError};
use kvm_bindings::{KVM_CAP_PMU_CAPABILITY, KVM_PIT_SPEAKER_DUMMY, KVM_PMU_CAP_DISABLE, kvm_enable_cap};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};
use std::error::Error;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier, Mutex, mpsc};

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("KVM cannot {what}")]
    Kvm {
        what: &'static str,
        #[source]
        source: kvm_ioctls::Error,
    },
    #[error("KVM runs at most {max} vCPUs here, {asked} were asked for")]
    TooManyVcpus { asked: u8, max: usize },
    #[error("a machine has room for {max} virtio devices, {asked} were asked for")]
    TooManyDevices { asked: usize, max: usize },
    #[error("cannot {what}")]
    Host {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Cpuid(#[from] CpuidError),
    #[error(transparent)]
    Registers(#[from] RegistersError),
    #[error(transparent)]
    EventLoop(#[from] EventLoopError),
    #[error("a thread of the monitor cannot be guarded")]
    Guard(#[source] GuardError),
    #[error("a virtio queue cannot be made")]
    Queue(#[from] virtio_queue::Error),
}

/// Bytes of stack of a vCPU thread: the exit loop is shallow, and a default stack of 2 MiB may be given a whole huge page.
const VCPU_STACK: usize = 256 << 10;

/// What happens on the way; must not block.
pub struct Observer {
    /// Guest memory holds everything the kernel needs.
    pub memory_ready: Box<dyn Fn() + Send>,
    /// About to enter the guest for the first time.
    pub entering: Box<dyn Fn() + Send>,
    /// The guest reached the monitor for the first time.
    pub guest_alive: Box<dyn Fn() + Send + Sync>,
    pub console: LineSink,
    /// The host cannot write a disk of the guest's (an errno). The guest has an I/O error for it and goes on.
    pub unwritable: Arc<dyn Fn(i32) + Send + Sync>,
}

/// Why a guard failed; what guards do is not the machine's business.
pub type GuardError = Box<dyn Error + Send + Sync>;

/// What each thread does to itself when all of them exist and the guest has not run. Nothing is entered before all succeeded.
pub struct Guards {
    /// In each vCPU thread, with its number.
    pub vcpu: Box<dyn Fn(u8) -> Result<(), GuardError> + Send + Sync>,
    /// In the thread that serves devices, as the last.
    pub devices: Box<dyn FnOnce() -> Result<(), GuardError>>,
}

/// What was heard while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The guest may be entered.
    Enter,
    Nothing,
}

/// A machine that is built and has not run yet.
pub struct Machine {
    vcpus: Vec<VcpuFd>,
    /// Of every vCPU, or none: a sum over some would pass for the whole.
    exits: Option<Vec<ExitCounter>>,
    context: Arc<VcpuContext>,
    event_loop: EventLoop,
    entering: Box<dyn Fn() + Send>,
    /// Kept open as long as the machine runs.
    _vm: VmFd,
}

impl Machine {
    /// Builds the machine: memory, interrupt controllers, devices, kernel, vCPUs, in this order.
    ///
    /// # Errors
    /// [`MachineError`], naming the part that could not be made.
    pub fn build(spec: MachineSpec, observer: Observer) -> Result<Self, MachineError> {
        let kvm = open_kvm(spec.kvm);
        let vm = kvm.create_vm().map_err(kvm_error("create a virtual machine"))?;
        let ram = memory::map(spec.memory_mib, spec.advise_huge_pages)?;
        memory::attach(&vm, &ram)?;
        switch_performance_counters_off(&vm);
        create_interrupt_controllers(&vm)?;

        let stop = Arc::new(Stop::new().map_err(host_error("make an eventfd"))?);
        let mut wiring = Wiring::new(&vm, &ram)?;
        for (index, disk) in spec.disks.into_iter().enumerate() {
            let (stop, unwritable) = (Arc::clone(&stop), Arc::clone(&observer.unwritable));
            let alarm = move |offset, fault| match fault {
                DiskFault::Unwritable { errno } => unwritable(errno),
                fault => stop.request(StopReason::Disk { index, offset, fault }),
            };
            let block = Block::new(disk, Box::new(alarm)).map_err(host_error("read the size of a disk"))?;
            wiring.add(|_| block)?;
        }
        let (entropy, ports) = (spec.entropy, spec.vsock_ports);
        wiring.add(|registrar| Vsock::new(GuestCid::ONLY, ports, registrar))?;
        wiring.add(|_| Entropy::new(entropy))?;
        if let Some(net) = spec.net {
            wiring.add_fallible(|registrar| {
                let backend = (net.backend)(registrar)?;
                Ok(Net::new(net.config, backend))
            })?;
        }
        let Wiring { windows, mmio, event_loop, .. } = wiring;

        let entry = boot::load(
            &ram,
            &BootSpec {
                kernel: &spec.kernel,
                modules: spec.modules.as_ref(),
                agent: spec.agent,
                cmdline: &kernel_command_line(&windows, spec.verbose_console, &spec.cmdline),
                vcpus: spec.vcpus,
                windows: &windows,
            },
        )?;
        (observer.memory_ready)();
        let vcpus = create_vcpus(&kvm, &vm, spec.vcpus, entry)?;
        let exits = vcpus.iter().map(ExitCounter::open).collect();
        let context = VcpuContext {
            mmio,
            ports: ports_bus(observer.console),
            stop,
            first_exit: observer.guest_alive,
            alive: AtomicBool::new(false),
        };
        Ok(Self { vcpus, exits, context: Arc::new(context), event_loop, entering: observer.entering, _vm: vm })
    }

    /// Serves devices on this thread once every thread is guarded, and runs the guest to its end when [`Heard::Enter`] is heard:
    /// until then devices can be spoken with that no guest has touched. `launcher` hanging up ends it too; when it sends something,
    /// `heard` is called with the number of VM exits so far.
    ///
    /// The vCPU threads may still be inside the guest when this returns: the process is expected to end.
    ///
    /// # Errors
    /// When a thread cannot be started or guarded, or the event loop fails.
    pub fn run(
        self,
        launcher: RawFd,
        guards: Guards,
        mut heard: impl FnMut(Option<u64>) -> Heard,
    ) -> Result<StopReason, MachineError> {
        let Self { vcpus, exits, context, event_loop, entering, _vm } = self;
        let entry = start_vcpus(vcpus, &context, guards.vcpu)?;
        (guards.devices)().map_err(MachineError::Guard)?;
        // The end of the process tears them down. Were it done here, in a debug build the standard library would look at each
        // descriptor with fcntl(2) before it closes it, which the sandbox has no reason to allow.
        let kept = ManuallyDrop::new((exits, context, event_loop, _vm));
        let (exits, context, event_loop, _) = &*kept;
        let total = || exits.as_ref()?.iter().map(ExitCounter::read).sum();
        let mut entry = Some(entry);
        let heard = || {
            if heard(total()) == Heard::Enter
                && let Some(entry) = entry.take()
            {
                entering();
                entry.wait();
            }
        };
        Ok(event_loop.run(&context.stop, launcher, heard)?)
    }
}

/// Starts the vCPU threads and sees them guarded. They enter the guest when the barrier is passed; on an error they never do.
fn start_vcpus(
    vcpus: Vec<VcpuFd>,
    context: &Arc<VcpuContext>,
    guard: Box<dyn Fn(u8) -> Result<(), GuardError> + Send + Sync>,
) -> Result<Arc<Barrier>, MachineError> {
    let count = vcpus.len();
    let (guard, entry) = (Arc::new(guard), Arc::new(Barrier::new(count + 1)));
    let (report, guarded) = mpsc::channel();
    for (index, vcpu) in (0u8..).zip(vcpus) {
        let (context, guard, entry, report) =
            (Arc::clone(context), Arc::clone(&guard), Arc::clone(&entry), report.clone());
        let thread = move || {
            // Nobody listens only if another thread failed before.
            let _ = report.send(guard(index));
            entry.wait();
            vcpu::run(vcpu, index, &context);
        };
        std::thread::Builder::new()
            .name(format!("vcpu_{index}"))
            .stack_size(VCPU_STACK)
            .spawn(thread)
            .map_err(host_error("start a vCPU thread"))?;
    }
    drop(report);
    for _ in 0..count {
        guarded.recv().unwrap_or_else(|gone| Err(gone.into())).map_err(MachineError::Guard)?;
    }
    Ok(entry)
}

fn kvm_error(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Kvm { what, source }
}

fn host_error(what: &'static str) -> impl Fn(std::io::Error) -> MachineError {
    move |source| MachineError::Host { what, source }
}

#[expect(unsafe_code, reason = "kvm-ioctls takes over a descriptor in no other way")]
fn open_kvm(kvm: File) -> Kvm {
    use std::os::fd::{FromRawFd, IntoRawFd};
    // SAFETY: the descriptor is open, and ours to give away.
    unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) }
}

/// A guest must not program the host's performance counters; on AMD they are there whatever CPUID says. KVM older than Linux 5.18 cannot
/// switch them off.
fn switch_performance_counters_off(vm: &VmFd) {
    let mut capability = kvm_enable_cap { cap: KVM_CAP_PMU_CAPABILITY, ..Default::default() };
    capability.args[0] = KVM_PMU_CAP_DISABLE.into();
    let _ = vm.enable_cap(&capability);
}

/// PIC, I/O APIC and local APICs in the kernel; the PIT, too, for kernels that calibrate against it.
fn create_interrupt_controllers(vm: &VmFd) -> Result<(), MachineError> {
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP).map_err(kvm_error("place its identity map"))?;
    let tss = usize::try_from(layout::KVM_TSS).unwrap_or(0);
    vm.set_tss_address(tss).map_err(kvm_error("place its task state segment"))?;
    vm.create_irq_chip().map_err(kvm_error("create the interrupt controllers"))?;
    // With the port 0x61 of a PC behind it, whose bits tell of its outputs and of no bus errors.
    let pit = kvm_bindings::kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).map_err(kvm_error("create the interval timer"))
}

fn create_vcpus(kvm: &Kvm, vm: &VmFd, count: u8, entry: Entry) -> Result<Vec<VcpuFd>, MachineError> {
    let max = usize::try_from(kvm.check_extension_int(Cap::MaxVcpus)).unwrap_or(1).max(1);
    if usize::from(count) > max {
        return Err(MachineError::TooManyVcpus { asked: count, max });
    }
    let template = cpuid::template(kvm, count)?;
    let mut vcpus = Vec::with_capacity(count.into());
    for index in 0..count {
        let vcpu = vm.create_vcpu(index.into()).map_err(kvm_error("create a vCPU"))?;
        let cpuid = cpuid::for_vcpu(&template, index)?;
        vcpu.set_cpuid2(&cpuid).map_err(kvm_error("set a vCPU's features"))?;
        if index == 0 {
            registers::set_up_boot_processor(&vcpu, entry)?;
        }
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}

fn ports_bus(console: LineSink) -> Bus {
    let mut ports = Bus::default();
    ports.insert(layout::SERIAL_PORT.into(), 8, Arc::new(SerialPort::new(console)));
    ports.insert(layout::I8042_PORT.into(), 1, Arc::new(KeyboardController));
    ports.insert(layout::ACPI_SLEEP_CONTROL_PORT.into(), 3, Arc::new(AcpiRegisters));
    ports
}

/// Connects virtio devices: a window and a pin each, eventfds for notifications, an irqfd for interrupts.
struct Wiring<'a> {
    vm: &'a VmFd,
    ram: &'a GuestRam,
    windows: Vec<MmioWindow>,
    mmio: Bus,
    event_loop: EventLoop,
}

impl<'a> Wiring<'a> {
    fn new(vm: &'a VmFd, ram: &'a GuestRam) -> Result<Self, MachineError> {
        Ok(Self { vm, ram, windows: Vec::new(), mmio: Bus::default(), event_loop: EventLoop::new()? })
    }

    fn next_window(&self) -> Result<MmioWindow, MachineError> {
        let index = self.windows.len();
        let max = layout::GSI_COUNT - layout::FIRST_DEVICE_GSI;
        match u32::try_from(index) {
            Ok(index) if index < max => {
                let length = u32::try_from(layout::VIRTIO_MMIO_SIZE).unwrap_or(0);
                let base = u32::try_from(layout::VIRTIO_MMIO).unwrap_or(0) + index * length;
                Ok(MmioWindow { base, length, gsi: layout::FIRST_DEVICE_GSI + index })
            }
            _ => Err(MachineError::TooManyDevices { asked: index + 1, max: max as usize }),
        }
    }

    fn add<D: VirtioDevice + 'static>(&mut self, make: impl FnOnce(Registrar) -> D) -> Result<(), MachineError> {
        self.add_fallible(|registrar| Ok(make(registrar)))
    }

    fn add_fallible<D, M>(&mut self, make: M) -> Result<(), MachineError>
    where
        D: VirtioDevice + 'static,
        M: FnOnce(Registrar) -> Result<D, MachineError>,
    {
        let window = self.next_window()?;
        let registrar = self.event_loop.next_registrar();
        let device = make(registrar.clone())?;
        let irq = Irq::new().map_err(host_error("make an eventfd"))?;
        self.vm.register_irqfd(irq.line(), window.gsi).map_err(kvm_error("wire an interrupt"))?;
        let queues = 0..u16::try_from(device.queue_sizes().len()).unwrap_or(0);
        let notifications = queues.map(|queue| self.wire_notification(&registrar, window, queue));
        let notifications = notifications.collect::<Result<_, _>>()?;
        let device: SharedDevice = Arc::new(Mutex::new(device));
        let transport = MmioTransport::new(Arc::clone(&device), self.ram.clone(), irq, notifications)?;
        self.mmio.insert(window.base.into(), window.length.into(), Arc::new(transport));
        self.event_loop.add(device);
        self.windows.push(window);
        Ok(())
    }

    fn wire_notification(
        &self,
        registrar: &Registrar,
        window: MmioWindow,
        queue: u16,
    ) -> Result<Notification, MachineError> {
        let notification = Notification::new().map_err(host_error("make an eventfd"))?;
        let address = IoEventAddress::Mmio(u64::from(window.base) + QUEUE_NOTIFY);
        self.vm
            .register_ioevent(notification.event(), &address, u32::from(queue))
            .map_err(kvm_error("wire a notification"))?;
        registrar.watch_queue(notification.as_raw_fd(), queue)?;
        Ok(notification)
    }
}
