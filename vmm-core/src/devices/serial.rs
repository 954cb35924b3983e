//! A 16550 whose output is kept: the last of what the guest printed.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

use crate::bus::BusDevice;
use crate::irq::IrqLine;

/// What is kept of a guest's output.
const KEPT_BYTES: usize = 64 * 1024;

/// The end of what a guest printed, shared by the device and the VM's handles.
#[derive(Debug, Clone, Default)]
pub(crate) struct SerialLog(Arc<Mutex<VecDeque<u8>>>);

impl SerialLog {
    /// The last 64 KiB, as text. Bytes that are not UTF-8 are replaced; the text is the guest's and not to be trusted.
    pub(crate) fn text(&self) -> String {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(log.make_contiguous()).into_owned()
    }
}

impl Write for SerialLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = (log.len() + bytes.len())
            .saturating_sub(KEPT_BYTES)
            .min(log.len());
        log.drain(..over);
        log.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pulse(IrqLine);

impl Trigger for Pulse {
    type E = io::Error;

    fn trigger(&self) -> Result<(), Self::E> {
        self.0.trigger()
    }
}

/// The device.
pub(crate) struct SerialPort(Serial<Pulse, NoEvents, SerialLog>);

impl SerialPort {
    pub(crate) fn new(irq: IrqLine, log: SerialLog) -> Self {
        Self(Serial::new(Pulse(irq), log))
    }
}

impl BusDevice for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let (Ok(offset), [value]) = (u8::try_from(offset), data) {
            *value = self.0.read(offset);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let (Ok(offset), [value]) = (u8::try_from(offset), data) {
            // The log takes everything, and a lost interrupt of an output-only port loses nothing.
            let _ = self.0.write(offset, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let mut log = SerialLog::default();
        for _ in 0..KEPT_BYTES {
            log.write_all(b"ab").unwrap();
        }
        log.write_all("end\u{e9}".as_bytes()).unwrap();
        let text = log.text();
        assert_eq!(text.len(), KEPT_BYTES);
        assert!(text.ends_with("end\u{e9}"));
    }
}
