//! Addresses of hosts: names that other hosts may not have yet, and the own address on the network
//! that leads to them.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

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

/// Returns the address of this host on the interface that leads to `peer`, which is a name. The
/// name in `resourceconfig.json` may be of an interface that does not exist (the SageMaker SDK's
/// local mode names one), so the system's routes decide. Nothing is sent.
pub fn local_address_toward(peer: &str) -> io::Result<IpAddr> {
    let peer = resolve(peer, 1)?;
    let any: SocketAddr = if peer.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_toward_this_machine_is_loopback() {
        assert!(local_address_toward("127.0.0.1").unwrap().is_loopback());
        assert!(local_address_toward("no-such-host.invalid").is_err());
    }
}
