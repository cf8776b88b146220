//! The ways a guest ends: the keyboard controller's reset line, and the ACPI sleep and reset registers.
//!
//! At worst a guest ends itself.

use super::super::bus::{BusDevice, Effect};
use super::super::x86_64::layout;

/// Port 0x64: the reset line of a keyboard controller that is not there.
///
/// Its status says "output buffer full, input buffer empty", for ever: a driver that probes for a controller finds one that cannot be
/// emptied and gives up after a few reads, and `reboot=k`, which waits for an empty input buffer, does not wait.
#[derive(Debug)]
pub struct KeyboardController;

const STATUS_OUTPUT_FULL: u8 = 1;

/// "Pulse output line 0", which is the CPU's reset line.
const PULSE_RESET: u8 = 0xfe;

impl BusDevice for KeyboardController {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(STATUS_OUTPUT_FULL);
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Effect {
        if data == [PULSE_RESET] { Effect::Reset } else { Effect::None }
    }
}

/// Sleep control, sleep status and reset, a byte each (ACPI 6.5 §4.8.3.7, §4.8.3.6), from [`layout::ACPI_SLEEP_CONTROL_PORT`] on.
#[derive(Debug)]
pub struct AcpiRegisters;

const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u32 = 2;

impl BusDevice for AcpiRegisters {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Effect {
        const SLEEP: u64 = 0;
        const RESET: u64 = (layout::ACPI_RESET_PORT - layout::ACPI_SLEEP_CONTROL_PORT) as u64;
        const POWER_OFF: u8 = SLEEP_ENABLE | (layout::ACPI_S5_SLEEP_TYPE << SLEEP_TYPE_SHIFT);
        match (offset, data) {
            (SLEEP, [POWER_OFF]) => Effect::PowerOff,
            (RESET, [layout::ACPI_RESET_VALUE]) => Effect::Reset,
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_commands_end_the_machine() {
        for value in 0..=255 {
            assert_eq!(KeyboardController.write(0, &[value]) == Effect::Reset, value == 0xfe);
            assert_eq!(AcpiRegisters.write(0, &[value]) == Effect::PowerOff, value == 0x34);
            assert_eq!(AcpiRegisters.write(2, &[value]) == Effect::Reset, value == 1);
            assert_eq!(AcpiRegisters.write(1, &[value]), Effect::None);
        }
        assert_eq!(KeyboardController.write(0, &[0xfe, 0]), Effect::None);
    }

    #[test]
    fn the_controller_takes_a_reset_at_once_and_looks_broken_to_a_probe() {
        let mut data = [0xff];
        KeyboardController.read(0, &mut data);
        assert_eq!(data[0] & 0b11, 0b01);
    }
}
