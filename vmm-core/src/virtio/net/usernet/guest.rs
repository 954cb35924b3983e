//! A guest for tests: smoltcp on a wire of frames.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use super::config::{GUEST, HOST};
use super::time::Millis;
use crate::virtio::net::config::NetConfig;

/// The guest's end of the link: frames that came, and frames to go.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) received: VecDeque<Vec<u8>>,
    pub(crate) sent: VecDeque<Vec<u8>>,
}

pub(crate) struct Received(Vec<u8>);
pub(crate) struct Send<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Send<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Send<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Send<'_>)> {
        Some((Received(self.received.pop_front()?), Send(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Send<'_>> {
        Some(Send(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A guest with TCP sockets.
pub(crate) struct Guest {
    pub(crate) wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let mut wire = Wire::default();
        let mac = HardwareAddress::Ethernet(EthernetAddress(NetConfig::default().mac.0));
        let mut interface = Interface::new(Config::new(mac), &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::Ipv4(Ipv4Cidr::new(Ipv4Address::from(GUEST.octets()), 24));
            addresses.push(own).unwrap();
        });
        interface
            .routes_mut()
            .add_default_ipv4_route(Ipv4Address::from(HOST.octets()))
            .unwrap();
        Guest {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    /// Adds a socket that waits for one connection to `port`.
    pub(crate) fn listen(&mut self, port: u16, receive_bytes: usize, send_bytes: usize) -> SocketHandle {
        let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
        let mut socket = Socket::new(buffer(receive_bytes), buffer(send_bytes));
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn interface(&mut self) -> (&mut Interface, &mut SocketSet<'static>) {
        (&mut self.interface, &mut self.sockets)
    }

    /// Works until there is nothing more to do at `now`.
    pub(crate) fn poll(&mut self, now: Millis) {
        let now = Instant::from_millis(i64::try_from(now.0).unwrap());
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}
