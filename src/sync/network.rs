//! Changes of the network: what makes it worth looking at a closed road again.
//!
//! On Linux the kernel tells of links, addresses and routes over a netlink socket, so that nothing
//! has to poll. Elsewhere, and where the socket cannot be had, nothing is told, and reach knocks.

use std::time::{Duration, Instant};

use crate::runtime::clock::Clock;
use crate::runtime::time::Timestamp;

/// A wall clock that ran this much ahead of the monotonic one means that the machine slept.
const SLEPT_MIN: Duration = Duration::from_secs(10);

/// The kernel's news of the network.
#[derive(Debug)]
pub(super) struct Changes(Option<os::Socket>);

impl Changes {
    /// Listens from now on.
    pub(super) fn listen() -> Self {
        let socket = os::Socket::open();
        Self(socket.inspect_err(|error| tracing::debug!(%error, "no news of the network")).ok())
    }

    /// Returns when the network has changed. Cancel-safe: a change that is not waited for is
    /// returned the next time.
    pub(super) async fn changed(&self) {
        match &self.0 {
            Some(socket) => socket.changed().await,
            None => std::future::pending().await,
        }
    }
}

/// Notices that the machine slept, by two clocks of which only one stands still meanwhile.
#[derive(Debug)]
pub(super) struct Sleep {
    clock: Clock,
    at: (Instant, Timestamp),
}

impl Sleep {
    pub(super) fn new(clock: Clock) -> Self {
        let at = (Instant::now(), clock.now());
        Self { clock, at }
    }

    /// Whether the machine slept since the last call.
    pub(super) fn slept(&mut self) -> bool {
        let before = std::mem::replace(&mut self.at, (Instant::now(), self.clock.now()));
        let awake = self.at.0.saturating_duration_since(before.0);
        self.at.1.since(before.1) > awake + SLEPT_MIN
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use tokio::net::UnixDatagram;

    /// RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// A datagram socket to the kernel. tokio has no type for netlink, and the one for Unix datagrams
    /// asks of its descriptor only what any datagram socket does.
    #[derive(Debug)]
    pub(super) struct Socket(UnixDatagram);

    impl Socket {
        pub(super) fn open() -> io::Result<Self> {
            let socket = socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
                None, // protocol 0 is NETLINK_ROUTE
            )?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            UnixDatagram::from_std(OwnedFd::into(socket)).map(Self)
        }

        pub(super) async fn changed(&self) {
            // What changed does not matter, only that something did; an error means that some of it
            // was lost, which is news as well.
            let mut message = [0; 4096];
            let _ = self.0.recv(&mut message).await;
            while self.0.try_recv(&mut message).is_ok() {}
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use std::io;

    #[derive(Debug)]
    pub(super) enum Socket {}

    impl Socket {
        pub(super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        #[expect(clippy::unused_async, reason = "the signature of the other platform's")]
        pub(super) async fn changed(&self) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_of_the_wall_clock_alone_is_a_sleep() {
        let clock = Clock::mock(Timestamp::from_nanos(0));
        let mut sleep = Sleep::new(clock.clone());
        assert!(!sleep.slept());
        clock.advance(Duration::from_mins(5));
        assert!(sleep.slept());
        assert!(!sleep.slept());
    }
}
