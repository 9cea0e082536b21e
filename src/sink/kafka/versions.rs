//! The first question of every Kafka client, asked by hand: which requests do you understand?
//!
//! librdkafka asks it too, and where the broker hangs up it only tries again. Here the answer tells a
//! broker that is too old from one that expects TLS, before anybody has logged in. Blocks.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::model::rung::{Height, Rung};
use crate::sink::Endpoint;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// ApiVersions, version 0, number 1, of a client called "stampd".
const QUESTION: &[u8] = b"\0\0\0\x10\0\x12\0\0\0\0\0\x01\0\x06stampd";

/// Requests and the versions of theirs that we cannot do without: both came with Kafka 0.11, which
/// brought headers.
const NEEDED: [(i16, i16); 2] = [(0, 3), (1, 4)];

/// An answer is some hundred bytes.
const ANSWER_BYTES_MAX: u32 = 64 << 10;

/// Asks a broker, and says how it answers in a word for people.
///
/// # Errors
/// The rung that does not hold. What cannot be connected to, or does not answer in time, is for others
/// to tell: none.
pub(super) fn check(endpoint: &Endpoint) -> Result<Option<String>, Rung> {
    match converse(endpoint) {
        Ok(answer) if is_recent(&answer) => Ok(Some("Kafka 0.11 or newer".to_owned())),
        Ok(_) => Err(Rung::park(
            Height::Version,
            format!("{endpoint} is older than Kafka 0.11: upgrade the brokers"),
        )),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let expects = if endpoint.tls.is_some() { "no TLS" } else { "TLS" };
            let text = format!(
                "{endpoint} hangs up on the first request: it expects {expects} where [kafka] \
                 security says otherwise, or it is older than Kafka 0.10"
            );
            Err(Rung::park(Height::Version, text))
        }
        Err(_) => Ok(None),
    }
}

fn converse(endpoint: &Endpoint) -> io::Result<Vec<u8>> {
    let mut addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?;
    let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match &endpoint.tls {
        None => ask(stream),
        Some(tls) => {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
            let session = ClientConnection::new(Arc::clone(&tls.0), name);
            ask(StreamOwned::new(session.map_err(io::Error::other)?, stream))
        }
    }
}

fn ask(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(QUESTION)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(hung_up)?;
    let length = u32::from_be_bytes(length).min(ANSWER_BYTES_MAX);
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).map_err(hung_up)?;
    Ok(answer)
}

/// A reset is as good as a farewell.
fn hung_up(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset => io::ErrorKind::UnexpectedEof.into(),
        _ => error,
    }
}

/// Whether an answer names the versions that we need: a number, an error, and then each request with
/// its lowest and its highest version.
fn is_recent(answer: &[u8]) -> bool {
    let Some((_, versions)) = answer.split_at_checked(10) else { return false };
    let number = |bytes: &[u8], at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
    NEEDED.iter().all(|(request, wanted)| {
        versions
            .chunks_exact(6)
            .any(|entry| number(entry, 0) == *request && number(entry, 4) >= *wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_says_its_own_length() {
        let (length, rest) = QUESTION.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()), rest.len() as u32);
    }

    #[test]
    fn a_broker_without_headers_is_too_old() {
        let answer = |produce: u8, fetch: u8| {
            let head = [0, 0, 0, 1, 0, 0, 0, 0, 0, 2];
            let entries = [0, 0, 0, 0, 0, produce, 0, 1, 0, 0, 0, fetch];
            [&head[..], &entries[..]].concat()
        };
        assert!(is_recent(&answer(3, 4)));
        assert!(is_recent(&answer(12, 17)));
        assert!(!is_recent(&answer(2, 4)));
        assert!(!is_recent(&answer(3, 3)));
        assert!(!is_recent(b""));
        assert!(!is_recent(b"HTTP/1.1 400 Bad Request\r\n"));
    }
}
