//! Addresses of hosts: names that other hosts may not have yet, and the own address on the network
//! that leads to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// Looks up a host's name. A name that is not known yet is an error.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    // Networks of containers have IPv4 addresses, and may have IPv6 ones that lead nowhere.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    match addresses.into_iter().next() {
        Some(address) => Ok(address),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
    }
}

/// How this host reaches another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Address of this host that the other one sees.
    pub local_address: IpAddr,
    /// Name of the network interface, such as `eth0`, if the system tells.
    pub interface: Option<String>,
}

impl Route {
    /// Returns the route of a host to itself.
    pub fn loopback() -> Self {
        Self { local_address: Ipv4Addr::LOCALHOST.into(), interface: None }
    }

    /// Asks the system how to reach `peer`, which is a name. The name in `resourceconfig.json` may be
    /// of an interface that does not exist (the SageMaker SDK's local mode names one), so the
    /// system's routes decide. Nothing is sent.
    pub fn find(peer: &str) -> io::Result<Self> {
        let peer = resolve(peer, 1)?;
        let any: SocketAddr = if peer.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(peer)?;
        let local_address = socket.local_addr()?.ip();
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let own = interfaces.into_iter().find(|interface| interface.ip() == local_address);
        Ok(Self { local_address, interface: own.map(|interface| interface.name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_to_this_machine_is_loopback() {
        let route = Route::find("127.0.0.1").unwrap();
        assert!(route.local_address.is_loopback());
        assert_eq!(route.interface.as_deref(), Some("lo"));
        assert!(Route::find("no-such-host.invalid").is_err());
    }
}
