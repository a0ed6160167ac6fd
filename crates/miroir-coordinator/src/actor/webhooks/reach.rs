//! Which addresses webhooks may have.
//!
//! Whoever may make a webhook must not thereby reach what only the coordinators can: other services of their machines and of the
//! network they stand in. So, as on a Meilisearch node, only addresses of the public internet are posted to, and those that the
//! configuration allows. Names are resolved first and judged by what is connected to, so that a name cannot change its mind.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use ipnet::IpNet;

/// Networks that are not of the public internet: IANA's special-purpose address registries, and multicast.
const NOT_PUBLIC: [&str; 24] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Where webhooks may be.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    closed: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

impl Reach {
    /// The public internet, and `allowed`.
    pub(super) fn new(allowed: &[IpNet]) -> Self {
        let parse = |text: &&str| text.parse().expect("the table holds networks");
        Self {
            closed: NOT_PUBLIC.iter().map(parse).collect(),
            allowed: allowed.to_vec(),
        }
    }

    /// Whether `address` may be posted to.
    fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        within(&self.allowed) || !within(&self.closed)
    }

    /// The addresses of a `host:port` that may be posted to.
    ///
    /// # Errors
    /// When the name has no address, or none of them may be posted to.
    pub(super) fn resolve(&self, place: &str) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = place.to_socket_addrs()?.collect();
        let covered: Vec<SocketAddr> = found
            .into_iter()
            .filter(|address| self.covers(address.ip()))
            .collect();
        if covered.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "its address is of a private network; `webhooks.allowed_networks` of the coordinators can allow it",
            ));
        }
        Ok(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_closed_until_they_are_allowed() {
        let closed = Reach::new(&[]);
        let open = Reach::new(&["10.1.0.0/16".parse().expect("a network")]);
        // Address; whether it is covered by itself, and with 10.1.0.0/16 allowed.
        let table = [
            ("1.1.1.1", true, true),
            ("172.15.0.1", true, true),
            ("2606:4700::1111", true, true),
            ("127.0.0.1", false, false),
            ("10.1.2.3", false, true),
            ("10.2.2.3", false, false),
            ("169.254.169.254", false, false),
            ("172.31.0.1", false, false),
            ("192.168.0.1", false, false),
            ("0.0.0.0", false, false),
            ("255.255.255.255", false, false),
            ("::", false, false),
            ("::1", false, false),
            ("fd00::1", false, false),
            ("fe80::1", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("::ffff:10.1.2.3", false, true),
        ];
        for (text, alone, allowed) in table {
            let address = text.parse().expect("an address");
            assert_eq!(
                (closed.covers(address), open.covers(address)),
                (alone, allowed),
                "{text}"
            );
        }
    }

    #[test]
    fn names_are_judged_by_their_addresses() {
        let error = Reach::new(&[])
            .resolve("localhost:80")
            .expect_err("loopback");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let loopback = ["127.0.0.0/8", "::1/128"].map(|text| text.parse().expect("a network"));
        let found = Reach::new(&loopback)
            .resolve("localhost:80")
            .expect("allowed");
        assert!(!found.is_empty());
    }
}
