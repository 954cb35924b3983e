//! A guest behind virtqueues, and the event loop it shares with its device.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use event_manager::{EventManager, SubscriberOps};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::irq::IrqLine;
use crate::virtio::device::VirtioDevice;
use crate::virtio::net::usernet::guest::Guest;
use crate::virtio::net::usernet::time::Millis;
use crate::virtio::net::usernet::{Spare, UserNet, UserNetConfig, UserNetHandle};
use crate::virtio::registers as reg;
use crate::virtio::testing::{DriverQueue, WRITE, memory, negotiate, set_up_queue, write_register};
use crate::virtio::{Net, NetDevice, TransportState};

pub(super) const PORT: u16 = 80;
const SIZE: u16 = 16;
const RECEIVE: (u64, u64) = (0x1_0000, 0x4_0000);
const TRANSMIT: (u64, u64) = (0x2_0000, 0x8_0000);
const STEP: u64 = 0x1000;
const HEADER: usize = 12;

type Shared = Arc<Mutex<NetDevice<UserNet>>>;

/// The guest's driver and what runs above it.
pub(super) struct GuestSide {
    pub(super) mem: Arc<GuestMemoryMmap>,
    receive: DriverQueue,
    transmit: DriverQueue,
    pub(super) stack: Guest,
    backlog: VecDeque<Vec<u8>>,
    pub(super) now: Millis,
}

/// The host's side of the machine: what a restore makes anew.
pub(super) struct Host {
    pub(super) device: Shared,
    pub(super) handle: UserNetHandle,
    events: EventManager<Shared>,
}

pub(super) struct Machine {
    pub(super) guest: GuestSide,
    pub(super) host: Host,
}

pub(super) fn config(spares: usize) -> UserNetConfig {
    let spares = if spares > 0 {
        vec![Spare {
            port: PORT,
            count: spares,
        }]
    } else {
        Vec::new()
    };
    let mut config = UserNetConfig {
        spares,
        ..UserNetConfig::default()
    };
    config.net.queue_size = SIZE;
    config
}

impl Host {
    pub(super) fn new(mem: &Arc<GuestMemoryMmap>, config: UserNetConfig) -> Self {
        let irq = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let link = UserNet::new(config.clone()).unwrap();
        let handle = link.handle();
        let net = Net::new(&config.net, link).unwrap();
        let device = NetDevice::new(net, Arc::clone(mem), IrqLine::new(irq)).unwrap();
        let device = Arc::new(Mutex::new(device));
        let mut events = EventManager::new().unwrap();
        events.add_subscriber(Arc::clone(&device));
        Host {
            device,
            handle,
            events,
        }
    }

    pub(super) fn transport(&self) -> TransportState {
        self.device.lock().unwrap().state()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.with_link(|net| net.is_quiet())
    }

    /// Does something with the link behind the device.
    pub(super) fn with_link<T>(&self, act: impl FnOnce(&mut UserNet) -> T) -> T {
        act(self.device.lock().unwrap().device_mut().backend_mut())
    }

    /// Serves what is ready; waits for something if `timeout_ms` is not zero.
    fn serve(&mut self, timeout_ms: i32) -> usize {
        let mut served = self.events.run_with_timeout(timeout_ms).unwrap();
        let mut all = served;
        while served > 0 {
            served = self.events.run_with_timeout(0).unwrap();
            all += served;
        }
        all
    }
}

impl GuestSide {
    fn offer_receive(&mut self, index: u16) {
        let gpa = RECEIVE.1 + STEP * u64::from(index);
        self.receive.offer_one(index, gpa, 2048, WRITE);
    }

    /// Takes what came, lets the stack work, and hands out what it says. Answers whether anything moved.
    fn work(&mut self, host: &Host) -> bool {
        let mut moved = false;
        while let Some((index, len)) = self.receive.used() {
            let index = u16::try_from(index).unwrap();
            let mut frame = vec![0; usize::try_from(len).unwrap()];
            self.mem
                .read_slice(&mut frame, GuestAddress(RECEIVE.1 + STEP * u64::from(index)))
                .unwrap();
            self.stack.wire.received.push_back(frame.split_off(HEADER));
            self.offer_receive(index);
            moved = true;
        }
        self.receive.set_used_event(self.receive.seen);
        self.stack.poll(self.now);
        self.backlog.append(&mut self.stack.wire.sent);
        while self.transmit.used().is_some() {}
        let mut notify = false;
        while let Some(frame) = self.backlog.front() {
            if self.transmit.available.wrapping_sub(self.transmit.seen) == SIZE {
                break;
            }
            let index = self.transmit.available % SIZE;
            let gpa = TRANSMIT.1 + STEP * u64::from(index);
            self.mem
                .write_slice(&[&[0; HEADER], &frame[..]].concat(), GuestAddress(gpa))
                .unwrap();
            let len = u32::try_from(HEADER + frame.len()).unwrap();
            // As a driver with EVENT_IDX decides (virtio 1.2, section 2.7.10).
            notify |= self.transmit.avail_event() == self.transmit.available;
            self.transmit.offer_one(index, gpa, len, 0);
            self.backlog.pop_front();
            moved = true;
        }
        if notify {
            host.device
                .lock()
                .unwrap()
                .ioeventfds()
                .nth(1)
                .unwrap()
                .fd
                .write(1)
                .unwrap();
        }
        moved
    }
}

impl Machine {
    pub(super) fn new(config: UserNetConfig) -> Self {
        let mem = memory();
        let host = Host::new(&mem, config);
        let guest = GuestSide {
            receive: DriverQueue::new(&mem, RECEIVE.0, SIZE),
            transmit: DriverQueue::new(&mem, TRANSMIT.0, SIZE),
            stack: Guest::new(),
            backlog: VecDeque::new(),
            now: Millis(0),
            mem,
        };
        let mut machine = Machine { guest, host };
        machine.boot();
        machine
    }

    fn boot(&mut self) {
        {
            let mut device = self.host.device.lock().unwrap();
            let features = device.device().features();
            negotiate(&mut *device, features);
            set_up_queue(&mut *device, 0, &self.guest.receive.state());
            set_up_queue(&mut *device, 1, &self.guest.transmit.state());
            write_register(&mut *device, reg::STATUS, 15);
        }
        for index in 0..SIZE {
            self.guest.offer_receive(index);
        }
    }

    /// Runs both sides until neither has anything to do. Answers whether either had.
    pub(super) fn run(&mut self) -> bool {
        let mut moved = false;
        loop {
            let served = self.host.serve(0);
            if !self.guest.work(&self.host) && served == 0 {
                return moved;
            }
            moved = true;
        }
    }

    /// Lets each side work once, so that things stay under way.
    pub(super) fn step(&mut self) {
        self.host.events.run_with_timeout(0).unwrap();
        self.guest.work(&self.host);
    }

    /// Runs both sides until `done`, waiting for timers in between.
    pub(super) fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Machine) -> bool) {
        let mut waited = 0;
        while waited < 200 {
            let moved = self.run();
            if done(self) {
                return;
            }
            if !moved {
                self.host.serve(100);
                self.guest.now = self.guest.now.plus(20);
                waited += 1;
            }
        }
        panic!("waited in vain for {what}");
    }

    pub(super) fn listen(&mut self) -> SocketHandle {
        let socket = self.guest.stack.listen(PORT, 8192, 8192);
        self.guest.stack.socket(socket).set_ack_delay(None);
        socket
    }

    /// The guest's application: sends back what it receives, and closes when the host has.
    pub(super) fn echo(&mut self, socket: SocketHandle) {
        let socket = self.guest.stack.socket(socket);
        while socket.can_recv() && socket.can_send() {
            let room = socket.send_capacity() - socket.send_queue();
            let mut bytes = vec![0; room];
            let count = socket.recv_slice(&mut bytes).unwrap();
            socket.send_slice(&bytes[..count]).unwrap();
        }
        if socket.state() == State::CloseWait && !socket.can_recv() {
            socket.close();
        }
    }

    pub(super) fn state(&mut self, socket: SocketHandle) -> State {
        self.guest.stack.socket(socket).state()
    }
}

/// What a non-blocking stream has, and whether that is all it will ever have.
pub(super) fn read_all(stream: &UnixStream) -> (Vec<u8>, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match (&mut &*stream).read(&mut buffer) {
            Ok(0) => return (bytes, true),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (bytes, false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (bytes, true),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) fn write(stream: &UnixStream, bytes: &[u8]) -> usize {
    match (&mut &*stream).write(bytes) {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}
