//! The lower rungs of the probe ladder: route, DNS, TCP, TLS. The rungs above belong to the sink.
//!
//! The rung that fails is the text a person reads, so it says what to do. Nothing is left open: a
//! probe's sockets are closed when it returns.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::model::rung::{Height, Rung, Step};
use crate::sink::{Endpoint, Tls};

/// How long a rung may take. SYN is sent at 0, 1 and 3 s, so 3 s see two repetitions through.
const RUNG_TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses that documentation may use: nobody is there, but a route leads to them.
const ANYWHERE: [&str; 2] = ["192.0.2.1:9", "[2001:db8::1]:9"];

/// Climbs to the first endpoint that holds. When none does, the highest rung that failed is told.
pub async fn climb(endpoints: &[Endpoint]) -> Result<(), Rung> {
    let mut highest: Option<Rung> = None;
    for endpoint in endpoints {
        match climb_to(endpoint, &mut Vec::new()).await {
            Ok(()) => return Ok(()),
            Err(rung) if highest.as_ref().is_none_or(|other| other.height < rung.height) => {
                highest = Some(rung);
            }
            Err(_) => {}
        }
    }
    highest.map_or(Ok(()), Err)
}

/// Climbs to one endpoint and tells every rung, up to the one that does not hold.
pub async fn steps(endpoint: &Endpoint) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Err(rung) = climb_to(endpoint, &mut steps).await {
        steps.push(rung.into());
    }
    steps
}

async fn climb_to(endpoint: &Endpoint, steps: &mut Vec<Step>) -> Result<(), Rung> {
    let addresses = resolve(endpoint).await?;
    let ips: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    steps.push(Step::holds(Height::Dns, ips.join(", ")));
    let stream = connect(endpoint, &addresses).await?;
    steps.push(Step::holds(Height::Tcp, format!("{endpoint} accepts connections")));
    if let Some(tls) = &endpoint.tls {
        shake_hands(endpoint, stream, tls).await?;
        steps.push(Step::holds(Height::Tls, format!("the certificate is {}'s", endpoint.host)));
    }
    Ok(())
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Rung> {
    let host = &endpoint.host;
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    let why = match timeout(RUNG_TIMEOUT, lookup_host((host.as_str(), endpoint.port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    if !has_any_route() {
        return Err(Rung::retry(Height::Route, no_route(endpoint)));
    }
    Err(Rung::retry(
        Height::Dns,
        format!("{host} does not resolve ({why}): check the name, the network's DNS or the VPN"),
    ))
}

/// Whether packets could leave this machine at all. Connecting a UDP socket sends none.
fn has_any_route() -> bool {
    ANYWHERE.iter().any(|address| {
        let own = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        UdpSocket::bind(own).and_then(|socket| socket.connect(address)).is_ok()
    })
}

async fn connect(endpoint: &Endpoint, addresses: &[SocketAddr]) -> Result<TcpStream, Rung> {
    // All addresses of a name share the time of one rung.
    let patience = RUNG_TIMEOUT / u32::try_from(addresses.len().clamp(1, 8)).unwrap_or(8);
    let mut last = None;
    for address in addresses {
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(refusal(endpoint, &last.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
}

fn refusal(endpoint: &Endpoint, error: &io::Error) -> Rung {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Rung::retry(Height::Route, no_route(endpoint))
        }
        io::ErrorKind::ConnectionRefused => Rung::retry(
            Height::Tcp,
            format!("nothing listens at {endpoint}: start the server, or check the port"),
        ),
        io::ErrorKind::TimedOut => Rung::retry(
            Height::Tcp,
            format!("{endpoint} does not answer: a VPN may be down or a firewall in the way"),
        ),
        _ => Rung::retry(Height::Tcp, format!("{endpoint} cannot be connected to: {error}")),
    }
}

fn no_route(endpoint: &Endpoint) -> String {
    format!("no network leads to {endpoint}: connect this machine, or its VPN")
}

async fn shake_hands(endpoint: &Endpoint, stream: TcpStream, tls: &Tls) -> Result<(), Rung> {
    let fell = |why: String| Rung::retry(Height::Tls, format!("TLS with {endpoint} fails: {why}"));
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|_| fell("its name cannot be in a certificate".to_owned()))?;
    let session =
        ClientConnection::new(Arc::clone(&tls.0), name).map_err(|error| fell(error.to_string()))?;
    match timeout(RUNG_TIMEOUT, drive(session, &stream)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(fell(error.to_string())),
        Err(_) => Err(fell("no answer; it may not speak TLS on this port".to_owned())),
    }
}

/// Drives a handshake to its end and says goodbye.
async fn drive(mut session: ClientConnection, stream: &TcpStream) -> io::Result<()> {
    let mut wire = Wire(stream);
    while session.is_handshaking() {
        if session.wants_write() {
            stream.writable().await?;
            would_block_is_fine(session.write_tls(&mut wire))?;
        } else {
            stream.readable().await?;
            match would_block_is_fine(session.read_tls(&mut wire))? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(_) => {
                    session.process_new_packets().map_err(io::Error::other)?;
                }
                None => {}
            }
        }
    }
    session.send_close_notify();
    // The handshake holds; whether the goodbye arrives does not matter.
    while session.wants_write() && session.write_tls(&mut wire).is_ok_and(|sent| sent > 0) {}
    Ok(())
}

fn would_block_is_fine(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// A tokio stream as rustls reads and writes it.
struct Wire<'a>(&'a TcpStream);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
