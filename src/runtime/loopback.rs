//! Which hosts are this machine by their very spelling.

use std::net::IpAddr;

/// Whether a host, written without brackets, is on this machine. A name is not looked up: who answers
/// for it can change.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A host without the brackets of an IPv6 address.
pub fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
