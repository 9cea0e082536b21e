//! A client of the stamping API: one connection, one request at a time, and no more HTTP than that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Connects to `host:port`.
    pub fn connect(host: &str) -> Self {
        let stream = TcpStream::connect(host).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket takes a timeout");
        stream.set_nodelay(true).expect("the socket takes an option");
        Self { stream: BufReader::new(stream), host: host.to_owned() }
    }

    /// The status and the JSON of a reply.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn get(&mut self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").expect("the server replies")
    }

    /// The status and the text of a reply.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn text(&mut self, path: &str) -> (u16, String) {
        let (status, body) = self.exchange("GET", path, "").expect("the server replies");
        (status, String::from_utf8(body).expect("the reply is UTF-8"))
    }

    /// As [`get`](Self::get), of a request with a body.
    pub fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.try_post(path, body).expect("the server replies")
    }

    /// As [`post`](Self::post), of a server that may die meanwhile.
    pub fn try_post(&mut self, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        self.ask("POST", path, &body.to_string())
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let (status, body) = self.exchange(method, path, body)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length is a number");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status.expect("a status is a number"), body))
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
