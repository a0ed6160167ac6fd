//! Ports for servers that are started, killed and started again on the same address.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// A loopback port that is this owner's until it is dropped, also while nothing listens on it.
///
/// A port the system hands out for `:0` may be given to any outgoing connection as soon as it is released, and then a
/// server that was killed cannot come back. So these are taken from below the range the system hands out, and held by
/// a datagram socket of the same number, which stands in no listener's way and which every other owner's attempt meets.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: UdpSocket,
}

/// Ports in use lie from here to where the system's own range begins.
const FIRST: u16 = 12_000;

impl Port {
    /// Takes a port that nothing listens on and nobody else has taken.
    ///
    /// # Errors
    /// When none is left.
    pub fn take() -> anyhow::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let count = first_of_the_system().saturating_sub(FIRST).max(1);
        // Processes start at different places, so that two suites at once seldom try the same port.
        let start = u16::try_from(std::process::id() * 97 % u32::from(count)).unwrap_or_default();
        for _ in 0..count {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
            let offset = (u32::from(start) + u32::from(step)) % u32::from(count);
            let number = FIRST + u16::try_from(offset).unwrap_or_default();
            let Ok(held) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _held: held,
                });
            }
        }
        bail!("no port is free between {FIRST} and {}", FIRST + count)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Where the ports begin that the system gives to connections.
fn first_of_the_system() -> u16 {
    const USUAL: u16 = 32_768;
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|first| *first > FIRST)
        .unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_can_be_listened_on_and_is_not_taken_twice() {
        let ports: Vec<Port> = (0..50).map(|_| Port::take().expect("free")).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, numbers[0]));
        listener.expect("nothing but its owner listens there");
        UdpSocket::bind((Ipv4Addr::LOCALHOST, numbers[1])).expect_err("held");
        assert!(numbers.iter().all(|number| *number < first_of_the_system()));
    }
}
