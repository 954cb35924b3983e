//! The virtio network device (virtio 1.2, sections 4.2 and 5.1) as a smoltcp device.

use core::cell::UnsafeCell;
use core::fmt;

use guest_kernel::{CommandLine, Queue, Ring, Window};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use crate::machine::Registers;

/// Buffers in each direction.
const COUNT: u16 = 32;
const LEN: usize = 32;
/// `struct virtio_net_hdr` as version 1 has it; all zero, since no offload is negotiated.
const HEADER_LEN: usize = 12;
const FRAME_LEN: usize = 1514;
const BUFFER_LEN: usize = HEADER_LEN + FRAME_LEN;
/// Where the sending buffer of a page begins.
const SEND_AT: usize = 2048;

/// Both rings, in the hot page.
#[unsafe(link_section = ".hot.rings")]
static RINGS: [Ring<LEN>; 2] = [Ring::new(), Ring::new()];
const RECEIVE: u16 = 0;
const SEND: u16 = 1;

/// One receiving and one sending buffer. A reply is put beside its request, so that a wake writes one page for both.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

// SAFETY: `Net` alone uses the pages, and there is one `Net`; see `Receive::frame` and `Transmit::buffer`.
unsafe impl Sync for Page {}

static PAGES: [Page; LEN] = [const { Page(UnsafeCell::new([0; 4096])) }; LEN];

/// Registers of a virtio-mmio device, version 2.
mod register {
    pub(super) const MAGIC: usize = 0x000;
    pub(super) const VERSION: usize = 0x004;
    pub(super) const DEVICE_ID: usize = 0x008;
    pub(super) const DEVICE_FEATURES: usize = 0x010;
    pub(super) const DEVICE_FEATURES_SELECT: usize = 0x014;
    pub(super) const DRIVER_FEATURES: usize = 0x020;
    pub(super) const DRIVER_FEATURES_SELECT: usize = 0x024;
    pub(super) const QUEUE_SELECT: usize = 0x030;
    pub(super) const QUEUE_LEN_MAX: usize = 0x034;
    pub(super) const QUEUE_LEN: usize = 0x038;
    pub(super) const QUEUE_READY: usize = 0x044;
    pub(super) const QUEUE_NOTIFY: usize = 0x050;
    pub(super) const INTERRUPT_ACK: usize = 0x064;
    pub(super) const STATUS: usize = 0x070;
    /// Low and high halves of the descriptor, available and used rings' addresses.
    pub(super) const QUEUE_ADDRESSES: [[usize; 2]; 3] = [[0x080, 0x084], [0x090, 0x094], [0x0a0, 0x0a4]];
    pub(super) const CONFIG: usize = 0x100;
}

const FEATURE_MAC: u64 = 1 << 5;
const FEATURE_EVENT_INDEX: u64 = 1 << 29;
const FEATURE_VERSION_1: u64 = 1 << 32;

/// Why there is no network.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetError {
    /// No window on the command line is a network device of version 2.
    NoDevice,
    /// The device lacks a feature of [`Net::find`]'s; this is what it offers.
    Features(u64),
    /// The device has no such queue, or a shorter one.
    QueueLen(u16, u32),
    /// The device did not accept the features it had offered.
    Refused,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("no virtio-mmio network device (version 2) on the command line"),
            Self::Features(offered) => {
                write!(f, "network device offers {offered:#x}, without VERSION_1 or EVENT_IDX")
            }
            Self::QueueLen(queue, max) => write!(f, "network queue {queue} has {max} of {COUNT} descriptors"),
            Self::Refused => f.write_str("network device refused the features it offers"),
        }
    }
}

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
    pub(crate) fn find(command_line: &CommandLine<'static>) -> Result<Self, NetError> {
        let (window, device) = command_line
            .windows("virtio_mmio.device")
            .filter_map(|window| Some((window, Registers::new(window)?)))
            .find(|(_, device)| is_net(device))
            .ok_or(NetError::NoDevice)?;
        Self::start(window, device)
    }

    /// Initialises the device in the order of virtio 1.2, section 3.1.1.
    fn start(window: Window, device: Registers) -> Result<Self, NetError> {
        const ACKNOWLEDGE: u32 = 1;
        const DRIVER: u32 = 2;
        const DRIVER_OK: u32 = 4;
        const FEATURES_OK: u32 = 8;
        device.write(register::STATUS, 0);
        device.write(register::STATUS, ACKNOWLEDGE);
        device.write(register::STATUS, ACKNOWLEDGE | DRIVER);
        let features = negotiate(&device)?;
        device.write(register::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if device.read(register::STATUS) & FEATURES_OK == 0 {
            return Err(NetError::Refused);
        }
        let mac = if features & FEATURE_MAC == 0 { [0x52, 0x54, 0, 0x12, 0x34, 0x56] } else { mac(&device) };
        let receive = Receive::new(queue(&device, RECEIVE)?);
        let transmit = Transmit::new(queue(&device, SEND)?);
        device.write(register::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        let mut net = Self { device, pin: window.pin, mac: EthernetAddress(mac), receive, transmit };
        net.receive.refill();
        if net.receive.queue.publish() {
            net.device.write(register::QUEUE_NOTIFY, u32::from(RECEIVE));
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
            self.device.write(register::QUEUE_NOTIFY, u32::from(SEND));
        }
        if self.receive.queue.unpublished() >= BATCH && self.receive.queue.publish() {
            self.device.write(register::QUEUE_NOTIFY, u32::from(RECEIVE));
        }
    }

    /// Acknowledges an interrupt. Which one it was is not asked: reading that costs ten times as much.
    pub(crate) fn acknowledge(&self) {
        const USED_BUFFER: u32 = 1;
        self.device.write(register::INTERRUPT_ACK, USED_BUFFER);
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

fn is_net(device: &Registers) -> bool {
    const MAGIC: u32 = 0x7472_6976;
    const VERSION: u32 = 2;
    const NET: u32 = 1;
    device.read(register::MAGIC) == MAGIC
        && device.read(register::VERSION) == VERSION
        && device.read(register::DEVICE_ID) == NET
}

fn negotiate(device: &Registers) -> Result<u64, NetError> {
    const NEEDED: u64 = FEATURE_EVENT_INDEX | FEATURE_VERSION_1;
    let half = |select| {
        device.write(register::DEVICE_FEATURES_SELECT, select);
        u64::from(device.read(register::DEVICE_FEATURES))
    };
    let offered = half(0) | half(1) << 32;
    if offered & NEEDED != NEEDED {
        return Err(NetError::Features(offered));
    }
    let accepted = offered & (NEEDED | FEATURE_MAC);
    for (select, half) in (0..).zip(halves(accepted)) {
        device.write(register::DRIVER_FEATURES_SELECT, select);
        device.write(register::DRIVER_FEATURES, half);
    }
    Ok(accepted)
}

fn mac(device: &Registers) -> [u8; 6] {
    let [a, b, c, d] = device.read(register::CONFIG).to_le_bytes();
    let [e, f, ..] = device.read(register::CONFIG + 4).to_le_bytes();
    [a, b, c, d, e, f]
}

/// Sets a queue up on its ring.
fn queue(device: &Registers, index: u16) -> Result<Queue<LEN>, NetError> {
    let ring = &RINGS[usize::from(index)];
    device.write(register::QUEUE_SELECT, u32::from(index));
    let max = device.read(register::QUEUE_LEN_MAX);
    if max < u32::from(COUNT) {
        return Err(NetError::QueueLen(index, max));
    }
    device.write(register::QUEUE_LEN, u32::from(COUNT));
    for (registers, address) in register::QUEUE_ADDRESSES.into_iter().zip(ring.addresses()) {
        let halves = halves(gpa(address));
        for (register, half) in registers.into_iter().zip(halves) {
            device.write(register, half);
        }
    }
    device.write(register::QUEUE_READY, 1);
    Ok(Queue::new(ring))
}

fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Memory is mapped one to one.
fn gpa(address: *const u8) -> u64 {
    u64::try_from(address.expose_provenance()).unwrap_or(u64::MAX)
}

fn buffer(id: u16, at: usize) -> *mut u8 {
    PAGES[usize::from(id) % LEN].0.get().cast::<u8>().wrapping_add(at)
}

/// The receiving half.
#[derive(Debug)]
struct Receive {
    queue: Queue<LEN>,
    /// The buffer received last.
    last: u16,
}

impl Receive {
    fn new(queue: Queue<LEN>) -> Self {
        for id in 0..COUNT {
            queue.describe(id, gpa(buffer(id, 0)), u32::try_from(BUFFER_LEN).ok());
        }
        Self { queue, last: 0 }
    }

    fn refill(&mut self) {
        for id in 0..COUNT {
            self.queue.offer(id);
        }
    }

    /// The next received frame; empty if the device gave a length that cannot be.
    fn frame(&self) -> Option<&[u8]> {
        let used = self.queue.peek()?;
        let len = usize::try_from(used.len).unwrap_or(0);
        let frame_len = if (HEADER_LEN..=BUFFER_LEN).contains(&len) { len - HEADER_LEN } else { 0 };
        // SAFETY: within the page, initialised, and the driver's: the device has given the buffer back, and
        // it is offered again only by `RxToken::consume`, which needs this half mutably.
        Some(unsafe { core::slice::from_raw_parts(buffer(used.id, HEADER_LEN), frame_len) })
    }
}

/// The sending half.
#[derive(Debug)]
struct Transmit {
    queue: Queue<LEN>,
    /// One bit for each buffer that the device does not have.
    free: u32,
}

impl Transmit {
    fn new(queue: Queue<LEN>) -> Self {
        for id in 0..COUNT {
            queue.describe(id, gpa(buffer(id, SEND_AT)), None);
        }
        Self { queue, free: u32::MAX }
    }

    /// Whether there is a free buffer, after a look at what has been sent.
    fn has_room(&mut self) -> bool {
        while let Some(used) = self.queue.take() {
            self.free |= 1 << used.id;
        }
        self.free != 0
    }

    /// A free buffer: that of page `near` if possible. Only after [`has_room`](Self::has_room).
    fn pick(&mut self, near: u16) -> u16 {
        let near = 1_u32 << (near % COUNT);
        let bit = if self.free & near != 0 { near } else { self.free & self.free.wrapping_neg() };
        self.free &= !bit;
        u16::try_from(bit.trailing_zeros()).unwrap_or(0) % COUNT
    }

    fn send<R>(&mut self, near: u16, frame_len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let id = self.pick(near);
        let len = HEADER_LEN + frame_len.min(FRAME_LEN);
        // SAFETY: within the page, initialised, and the driver's: the device gave the buffer back or never had it, and
        // gets it only below. The header in front stays as zero as it is.
        let frame = unsafe { core::slice::from_raw_parts_mut(buffer(id, SEND_AT + HEADER_LEN), len - HEADER_LEN) };
        let result = fill(frame);
        self.queue.set_len(id, u32::try_from(len).unwrap_or(0));
        self.queue.offer(id);
        result
    }
}

impl Device for Net {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let near = self.receive.queue.peek()?.id;
        let has_room = self.transmit.has_room();
        has_room.then_some((Received(&mut self.receive), Sending { half: &mut self.transmit, near }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        let near = self.receive.last;
        let has_room = self.transmit.has_room();
        has_room.then_some(Sending { half: &mut self.transmit, near })
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
        if let Some(used) = self.0.queue.take() {
            self.0.last = used.id;
            self.0.queue.offer(used.id);
        }
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
