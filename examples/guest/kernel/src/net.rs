//! The virtio network device (virtio 1.2, sections 4.2 and 5.1) as a smoltcp device.

mod buffers;
mod transport;

use guest_kernel::CommandLine;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use crate::machine::Registers;
use buffers::{FRAME_LEN, Receive, Transmit};
use transport::{COUNT, RECEIVE, SEND, Started};

pub(crate) use transport::NetError;

/// The network device.
#[derive(Debug)]
pub(crate) struct Net {
    device: Registers,
    pin: Option<u8>,
    mac: EthernetAddress,
    receive: Receive,
    transmit: Transmit,
}

impl Net {
    /// Starts the first network device that the command line names.
    ///
    /// # Errors
    /// See [`NetError`].
    #[cold]
    pub(crate) fn find(command_line: &CommandLine<'static>) -> Result<Self, NetError> {
        let (window, device) = command_line
            .windows("virtio_mmio.device")
            .filter_map(|window| Some((window, Registers::new(window)?)))
            .find(|(_, device)| transport::is_net(device))
            .ok_or(NetError::NoDevice)?;
        let Started { mac, receive, send } = transport::start(&device)?;
        let (receive, transmit) = (Receive::new(receive), Transmit::new(send));
        let mut net = Self {
            device,
            pin: window.pin,
            mac: EthernetAddress(mac),
            receive,
            transmit,
        };
        transport::run(&net.device);
        if net.receive.queue.publish() {
            transport::notify(&net.device, RECEIVE);
        }
        Ok(net)
    }

    /// The I/O APIC pin of the device.
    pub(crate) fn pin(&self) -> Option<u8> {
        self.pin
    }

    /// The address of this end of the link.
    pub(crate) fn mac(&self) -> EthernetAddress {
        self.mac
    }

    /// The next received frame, which the next call of smoltcp will receive.
    pub(crate) fn peek(&self) -> Option<&[u8]> {
        self.receive.frame()
    }

    /// Hands over what has been sent, and received buffers in batches: the device is told only if it asked.
    pub(crate) fn flush(&mut self) {
        const BATCH: u16 = COUNT / 2;
        if self.transmit.queue.publish() {
            transport::notify(&self.device, SEND);
        }
        if self.receive.queue.unpublished() >= BATCH && self.receive.queue.publish() {
            transport::notify(&self.device, RECEIVE);
        }
    }

    /// Acknowledges an interrupt. Which one it was is not asked: reading that costs ten times as much.
    pub(crate) fn acknowledge(&self) {
        transport::acknowledge(&self.device);
    }

    /// Asks for an interrupt when there is something to do; true if there is already.
    pub(crate) fn arm(&mut self) -> bool {
        let received = self.receive.queue.arm();
        if self.transmit.free != 0 {
            self.transmit.queue.disarm();
            return received;
        }
        let blocked = !self.transmit.queue.arm();
        received || !blocked
    }

    /// Whether nothing can be sent until the device gives a buffer back.
    pub(crate) fn is_blocked(&mut self) -> bool {
        !self.transmit.has_room()
    }
}

impl Device for Net {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let near = self.receive.queue.peek()?.id;
        let has_room = self.transmit.has_room();
        has_room.then_some((
            Received(&mut self.receive),
            Sending {
                half: &mut self.transmit,
                near,
            },
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        let near = self.receive.last;
        let has_room = self.transmit.has_room();
        has_room.then_some(Sending {
            half: &mut self.transmit,
            near,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities
    }
}

/// A received frame, to be read once.
#[derive(Debug)]
pub(crate) struct Received<'a>(&'a mut Receive);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(self.0.frame().unwrap_or_default());
        self.0.recycle();
        result
    }
}

/// Room for a frame to send.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    half: &'a mut Transmit,
    near: u16,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.half.send(self.near, len, f)
    }
}
