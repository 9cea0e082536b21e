//! How often a peer may ask: a bucket per address, held as the one instant at which it is full again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Peers that are remembered at once. When so many are short of tokens, a new one is refused: it may
/// be the next of many addresses of one sender.
const PEERS_MAX: usize = 65_536;

/// Requests of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Limiter {
    /// What one request costs.
    cost: Duration,
    /// What a full bucket holds.
    depth: Duration,
    /// When each peer's bucket is full again; absent means full. Written by whichever connection asks.
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        let cost = Duration::from_secs(1) / rate.per_second.max(1);
        Self { cost, depth: cost * rate.burst.max(1), full_at: Mutex::default() }
    }

    /// Takes a token, or says how long until there is one.
    pub(super) fn take(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= PEERS_MAX {
            full_at.retain(|_, full_at| *full_at > now);
        }
        let peer = network(peer);
        let known = full_at.get(&peer).copied();
        if known.is_none() && full_at.len() >= PEERS_MAX {
            return Err(self.cost);
        }
        let then = known.unwrap_or(now).max(now) + self.cost;
        match then.checked_duration_since(now + self.depth) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                full_at.insert(peer, then);
                Ok(())
            }
        }
    }
}

/// Whom an address stands for: an IPv6 host has a whole /64 to send from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_each_peer_has_its_own() {
        let limiter = Limiter::new(Rate { per_second: 10, burst: 3 });
        let (ada, bob) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let start = Instant::now();
        let mut passed =
            |at_ms: u64| limiter.take(ada, start + Duration::from_millis(at_ms)).is_ok();
        assert_eq!(
            [0, 0, 0, 0, 99, 100, 100, 200].map(&mut passed),
            [true, true, true, false, false, true, false, true]
        );
        assert_eq!(limiter.take(ada, start + Duration::from_millis(200)), Err(limiter.cost));
        assert_eq!(limiter.take(bob, start), Ok(()));
    }

    #[test]
    fn the_addresses_of_one_network_share_a_bucket() {
        let limiter = Limiter::new(Rate { per_second: 1, burst: 1 });
        let now = Instant::now();
        let mut take = |peer: &str| limiter.take(peer.parse().unwrap(), now).is_ok();
        let peers =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"];
        assert_eq!(peers.map(&mut take), [true, false, true, true, false]);
    }

    #[test]
    fn the_memory_of_peers_is_bounded() {
        let limiter = Limiter::new(Rate { per_second: 1, burst: 1 });
        let now = Instant::now();
        let peer = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..PEERS_MAX as u32 {
            limiter.take(peer(n), now).unwrap();
        }
        let newcomer = peer(PEERS_MAX as u32);
        assert!(limiter.take(newcomer, now).is_err());
        assert!(limiter.take(newcomer, now + Duration::from_secs(2)).is_ok());
        assert_eq!(limiter.full_at.lock().unwrap().len(), 1);
    }
}
