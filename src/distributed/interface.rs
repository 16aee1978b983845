//! The name of the network interface that leads to another host, which NCCL has to be told.

use std::fs;
use std::net::Ipv4Addr;

/// The system's routes (<https://man7.org/linux/man-pages/man5/proc_net.5.html>).
const ROUTE_TABLE: &str = "/proc/net/route";

/// Returns the name of the interface by which the system sends to an address, such as `eth0`.
pub(super) fn interface_toward(peer: Ipv4Addr) -> Option<String> {
    find_route(&fs::read_to_string(ROUTE_TABLE).ok()?, peer)
}

/// Finds the interface in a table of routes. Of several routes the narrowest one counts, as for the
/// system.
fn find_route(table: &str, peer: Ipv4Addr) -> Option<String> {
    let mut best: Option<(u32, &str)> = None;
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, _, _, _, _, mask, ..] = columns[..] else { continue };
        let (Some(destination), Some(mask)) = (parse_address(destination), parse_address(mask))
        else {
            continue;
        };
        let is_narrower = best.is_none_or(|(other, _)| mask.count_ones() > other);
        if u32::from(peer) & mask == destination && is_narrower {
            best = Some((mask.count_ones(), interface));
        }
    }
    best.map(|(_, interface)| interface.to_owned())
}

/// Parses an address of the table: hexadecimal digits of the bytes in reverse.
fn parse_address(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok().map(u32::swap_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t010A0A0A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth2\t00A8A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
no line
";

    #[test]
    fn the_narrowest_route_counts() {
        let find = |address: &str| find_route(TABLE, address.parse().unwrap());
        assert_eq!(find("8.8.8.8").as_deref(), Some("eth0"));
        assert_eq!(find("169.254.3.4").as_deref(), Some("eth1"));
        assert_eq!(find("192.168.168.9").as_deref(), Some("eth2"));
        assert_eq!(find("192.168.169.9").as_deref(), Some("eth0"));
        assert_eq!(find_route("", "1.2.3.4".parse().unwrap()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read(table in "(\\PC{0,40}\n){0,6}") {
            let _ = find_route(&table, Ipv4Addr::LOCALHOST);
        }
    }
}
