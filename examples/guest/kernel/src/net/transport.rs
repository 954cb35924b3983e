//! The virtio-mmio transport: finding the device, starting it, telling it.

use core::fmt;

use guest_kernel::{Queue, Ring};

use crate::machine::Registers;

/// Buffers in each direction.
pub(super) const COUNT: u16 = 32;
/// The same, as a length.
pub(super) const LEN: usize = 32;

/// Index of the queue of received frames.
pub(super) const RECEIVE: u16 = 0;
/// Index of the queue of frames to send.
pub(super) const SEND: u16 = 1;

/// Both rings, in the hot page.
#[unsafe(link_section = ".hot.rings")]
static RINGS: [Ring<LEN>; 2] = [Ring::new(), Ring::new()];

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
    /// Low halves of the descriptor, available and used rings' addresses; each one's high half is the next register.
    pub(super) const QUEUE_ADDRESSES: [usize; 3] = [0x080, 0x090, 0x0a0];
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
    /// The device lacks a feature of the two that the driver needs; this is what it offers.
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
                write!(
                    f,
                    "network device offers {offered:#x}, without VERSION_1 or EVENT_IDX"
                )
            }
            Self::QueueLen(queue, max) => write!(f, "network queue {queue} has {max} of {COUNT} descriptors"),
            Self::Refused => f.write_str("network device refused the features it offers"),
        }
    }
}

/// What starting the device gives.
pub(super) struct Started {
    pub(super) mac: [u8; 6],
    pub(super) receive: Queue<LEN>,
    pub(super) send: Queue<LEN>,
}

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;

/// Initialises the device in the order of virtio 1.2, section 3.1.1, up to the point where it may [`run`].
pub(super) fn start(device: &Registers) -> Result<Started, NetError> {
    device.write(register::STATUS, 0);
    device.write(register::STATUS, ACKNOWLEDGE | DRIVER);
    let features = negotiate(device)?;
    device.write(register::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if device.read(register::STATUS) & FEATURES_OK == 0 {
        return Err(NetError::Refused);
    }
    let mac = if features & FEATURE_MAC == 0 {
        [0x52, 0x54, 0, 0x12, 0x34, 0x56]
    } else {
        mac(device)
    };
    Ok(Started {
        mac,
        receive: queue(device, RECEIVE)?,
        send: queue(device, SEND)?,
    })
}

/// Lets the device use its queues.
pub(super) fn run(device: &Registers) {
    device.write(register::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/// Tells the device that a queue has new buffers.
pub(super) fn notify(device: &Registers, queue: u16) {
    device.write(register::QUEUE_NOTIFY, u32::from(queue));
}

/// Acknowledges a used-buffer interrupt.
pub(super) fn acknowledge(device: &Registers) {
    const USED_BUFFER: u32 = 1;
    device.write(register::INTERRUPT_ACK, USED_BUFFER);
}

/// Whether this is a network device of the version that we speak.
pub(super) fn is_net(device: &Registers) -> bool {
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
    for (register, address) in register::QUEUE_ADDRESSES.into_iter().zip(ring.addresses()) {
        let [low, high] = halves(gpa(address));
        device.write(register, low);
        // It is zero since the reset, and each access is an exit.
        if high != 0 {
            device.write(register + 4, high);
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
pub(super) fn gpa(address: *const u8) -> u64 {
    u64::try_from(address.expose_provenance()).unwrap_or(u64::MAX)
}
