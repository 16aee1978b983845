//! Which addresses requests may go to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses to which requests may go: public ones always, private ones by this rule, and those that hand
/// out credentials or exist on one cable only (link-local ones) never.
#[derive(Debug, Clone, Default)]
pub struct AddressRule {
    /// True if all private addresses are allowed.
    pub allow_private: bool,
    /// Servers that may have private addresses, of which scheme, host and port count: those that the user
    /// named.
    pub private_servers: Vec<Url>,
}

/// Error of a host whose addresses are not allowed.
#[derive(Debug)]
pub(super) struct ForbiddenAddress {
    host: String,
    address: IpAddr,
}

impl std::fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, address } = self;
        let kind = if is_link_local(*address) { "link-local" } else { "private" };
        if host.trim_matches(['[', ']']) == address.to_string() {
            write!(f, "{address} is a {kind} address")
        } else {
            write!(f, "{host} has the {kind} address {address}")
        }
    }
}

impl std::error::Error for ForbiddenAddress {}

impl AddressRule {
    /// Returns true if a request to this URL may go to a private address.
    pub(super) fn allows_private(&self, url: &Url) -> bool {
        self.allow_private
            || self.private_servers.iter().any(|server| server.origin() == url.origin())
    }

    /// Refuses a URL whose host is an address that is not allowed. Names are looked at when they are
    /// resolved.
    pub(super) fn check_host(&self, url: &Url) -> Result<(), ForbiddenAddress> {
        let Some(host) = url.host_str() else { return Ok(()) };
        let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return Ok(()) };
        if is_allowed(address, self.allows_private(url)) {
            return Ok(());
        }
        Err(ForbiddenAddress { host: host.to_owned(), address })
    }
}

/// Returns true if a request may go to an address, and to private ones with `allows_private`.
fn is_allowed(address: IpAddr, allows_private: bool) -> bool {
    !is_link_local(address) && (allows_private || is_public(address))
}

/// Addresses at which Azure, Alibaba and Oracle hand out what belongs to a machine.
const METADATA_V4: [[u8; 4]; 3] = [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]];

/// Resolver of names that leaves out the addresses that are not allowed.
#[derive(Debug, Clone)]
pub(super) struct CheckedResolver {
    pub(super) allows_private: bool,
    /// Hosts of proxies, which resolve the names of the servers themselves.
    pub(super) proxies: Vec<String>,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        let allows_private = self.allows_private || is_proxy;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // The port is put in by the connection.
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let mut allowed = Vec::new();
            for address in &found {
                if is_allowed(address.ip(), allows_private) {
                    allowed.push(*address);
                }
            }
            match (allowed.is_empty(), found.first()) {
                (false, _) => Ok(Box::new(allowed.into_iter()) as Addrs),
                (true, Some(address)) => {
                    Err(Box::new(ForbiddenAddress { host, address: address.ip() }) as _)
                }
                (true, None) => {
                    Err(Box::new(io::Error::new(io::ErrorKind::NotFound, "no address")) as _)
                }
            }
        })
    }
}

/// Returns the hosts of the proxies that the environment names.
pub(super) fn proxy_hosts() -> Vec<String> {
    let mut hosts = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        for name in [name.to_owned(), name.to_lowercase()] {
            let text = std::env::var(name).unwrap_or_default();
            // A proxy may be written without a scheme.
            let text = if text.contains("://") { text } else { format!("http://{text}") };
            let url = text.parse::<Url>().ok();
            hosts.extend(url.and_then(|url| url.host_str().map(str::to_owned)));
        }
    }
    hosts
}

/// Returns true if an address lies on the same cable, as those at which clouds hand out a machine's
/// credentials do: `169.254.0.0/16`, `fe80::/10`, Amazon's `fd00:ec2::/32`, Google's `fd20:ce::/32`, and
/// single ones of Azure, Alibaba and Oracle.
fn is_link_local(address: IpAddr) -> bool {
    match unmap(address) {
        IpAddr::V4(address) => address.is_link_local() || METADATA_V4.contains(&address.octets()),
        IpAddr::V6(address) => {
            let start = &address.segments()[..2];
            address.is_unicast_link_local()
                || start == [0xfd00, 0x0ec2]
                || start == [0xfd20, 0x00ce]
        }
    }
}

/// Returns true if an address belongs to a machine on the open internet. The others are those of
/// <https://www.iana.org/assignments/iana-ipv4-special-registry> and its sister for IPv6 that are not
/// globally reachable.
fn is_public(address: IpAddr) -> bool {
    match unmap(address) {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_this_network = first == 0;
    let is_carrier_grade = first == 100 && (64..128).contains(&second);
    let is_protocol_assignment = (first, second, third) == (192, 0, 0);
    let is_benchmark = first == 198 && (18..20).contains(&second);
    let is_reserved = first >= 240;
    !(is_this_network
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || is_carrier_grade
        || is_protocol_assignment
        || is_benchmark
        || is_reserved)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // 2000::/3 is all that is given out. Of it 2001:db8::/32 stands for examples, and 2002::/16 and
    // 64:ff9b::/96, which is outside, hold addresses of IPv4.
    let segments = address.segments();
    segments[0] & 0xe000 == 0x2000
        && segments[0] != 0x2002
        && segments[..2] != [0x2001, 0x0db8]
        && segments[..2] != [0x2001, 0x0000]
}

/// Returns the address of IPv4 that one of IPv6 stands for, if it does: mapped, compatible, behind NAT64
/// (`64:ff9b::/96`), or of 6to4 (`2002::/16`).
fn unmap(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let join = |high: u16, low: u16| {
        let ([first, second], [third, fourth]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(first, second, third, fourth))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if v6 > Ipv6Addr::LOCALHOST => join(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => join(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in
            ["8.8.8.8", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2600:1f18::1", "::ffff:8.8.8.8"]
        {
            assert!(is_allowed(parse(text), false), "{text}");
        }
    }

    #[test]
    fn private_addresses_need_leave() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "2001:db8::1",
            "::7f00:1",
        ] {
            assert!(!is_allowed(parse(text), false), "{text}");
            assert!(is_allowed(parse(text), true), "{text}");
        }
    }

    #[test]
    fn addresses_that_hand_out_credentials_are_never_allowed() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd20:ce::254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
        ] {
            assert!(!is_allowed(parse(text), true), "{text}");
        }
    }

    #[test]
    fn a_named_server_may_be_private_on_its_own_port() {
        let rule = AddressRule {
            private_servers: vec!["http://LS.local:8080/x".parse().unwrap()],
            ..Default::default()
        };
        for (url, expected) in [
            ("http://ls.local:8080/y", true),
            ("http://ls.local/x", false),
            ("https://ls.local:8080/x", false),
            ("http://other.local:8080/x", false),
        ] {
            assert_eq!(rule.allows_private(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_host_that_is_an_address_is_checked_in_every_spelling() {
        let rule = AddressRule::default();
        // The parser of URLs writes all of them as dotted numbers, or in brackets.
        for url in [
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:a00:1]/",
        ] {
            let error = rule.check_host(&url.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains("private address"), "{error}");
        }
        let metadata =
            rule.check_host(&"http://169.254.169.254/latest".parse().unwrap()).unwrap_err();
        assert_eq!(metadata.to_string(), "169.254.169.254 is a link-local address");
        assert!(rule.check_host(&"http://localhost/".parse().unwrap()).is_ok());
        assert!(rule.check_host(&"https://8.8.8.8/".parse().unwrap()).is_ok());
    }
}
