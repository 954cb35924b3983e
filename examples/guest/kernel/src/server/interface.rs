//! The network interface: addresses, and the one neighbor on the link.

use alloc::vec;
use core::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpCidr,
    Ipv4Cidr, Ipv4Packet,
};

use crate::net::Net;

const ADDRESS: Ipv4Cidr = Ipv4Cidr::new(Ipv4Addr::new(10, 0, 2, 15), 24);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// An interface whose random state starts from `seed`.
pub(super) fn new(seed: u64, net: &mut Net, now: Instant) -> Interface {
    let mut config = Config::new(net.mac().into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, net, now);
    interface.update_ip_addrs(|addresses| {
        // The list is empty and holds at least one.
        let _ = addresses.push(IpCidr::Ipv4(ADDRESS));
    });
    // As above.
    let _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);
    interface
}

/// A host on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbor {
    mac: EthernetAddress,
    address: Ipv4Addr,
}

/// The neighbor to which a reply to `frame` goes.
pub(super) fn neighbor(frame: &[u8]) -> Option<Neighbor> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let source = Ipv4Packet::new_checked(frame.payload()).ok()?.src_addr();
    let address = if ADDRESS.contains_addr(&source) {
        source
    } else {
        GATEWAY
    };
    Some(Neighbor {
        mac: frame.src_addr(),
        address,
    })
}

/// Makes `neighbor` known by the answer that asking for it would get: a peer's first segment need not wait for that.
pub(super) fn learn(interface: &mut Interface, neighbor: Neighbor, mac: EthernetAddress, now: Instant) {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: neighbor.mac,
        source_protocol_addr: neighbor.address,
        target_hardware_addr: mac,
        target_protocol_addr: ADDRESS.address(),
    };
    let ethernet = EthernetRepr {
        src_addr: neighbor.mac,
        dst_addr: mac,
        ethertype: EthernetProtocol::Arp,
    };
    let mut frame = EthernetFrame::new_unchecked([0; ANSWER_LEN]);
    ethernet.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    let mut answer = Answer(Some(frame.into_inner()));
    interface.poll_ingress_single(now, &mut answer, &mut SocketSet::new([]));
}

/// An Ethernet header and an ARP packet.
const ANSWER_LEN: usize = 14 + 28;

/// A device that has one frame to receive and drops what is sent.
struct Answer(Option<[u8; ANSWER_LEN]>);

struct Frame([u8; ANSWER_LEN]);

struct Nowhere;

impl Device for Answer {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Nowhere;

    fn receive(&mut self, _now: Instant) -> Option<(Frame, Nowhere)> {
        Some((Frame(self.0.take()?), Nowhere))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Nowhere> {
        Some(Nowhere)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities
    }
}

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Nowhere {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut vec![0; len])
    }
}
