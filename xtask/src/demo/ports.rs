//! Free ports on the loopback interface, for this run alone.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// A block of ports below the kernel's ephemeral range.
///
/// Its first port stays bound as long as this value lives: that is how two runs on one machine keep
/// apart, also while a killed peer does not hold its own ports.
pub(crate) struct Ports {
    next: u16,
    end: u16,
    _claim: TcpListener,
}

impl Ports {
    /// Claims a block; `seed` spreads the runs over the range.
    pub(crate) fn claim(seed: u32) -> Result<Self> {
        let blocks = u32::from((LAST - FIRST) / BLOCK_LEN);
        (0..blocks)
            .filter_map(|step| u16::try_from((seed.wrapping_add(step)) % blocks).ok())
            .find_map(|block| Self::block(FIRST + block * BLOCK_LEN))
            .context("no free ports on the loopback interface")
    }

    /// The next port that is free for both UDP and TCP.
    pub(crate) fn next(&mut self) -> Result<u16> {
        while self.next < self.end {
            let port = self.next;
            self.next += 1;
            if is_free(port) {
                return Ok(port);
            }
        }
        anyhow::bail!("the claimed ports are taken by somebody else")
    }

    fn block(first: u16) -> Option<Self> {
        let claim = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
        Some(Self { next: first + 1, end: first + BLOCK_LEN, _claim: claim })
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
const BLOCK_LEN: u16 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn two_runs_never_share_a_port() {
        let mut first = Ports::claim(7).unwrap();
        let mut second = Ports::claim(7).unwrap();
        let ports: BTreeSet<u16> =
            (0..10).flat_map(|_| [first.next().unwrap(), second.next().unwrap()]).collect();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let mut ports = Ports::claim(100).unwrap();
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, ports.next)).unwrap();
        assert_ne!(ports.next().unwrap(), taken.local_addr().unwrap().port());
    }
}
