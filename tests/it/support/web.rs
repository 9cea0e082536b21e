//! A plain HTTP client: one request, one connection.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::wait::DEADLINE;

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Web(pub SocketAddr);

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.headers.lines().filter_map(|line| line.split_once(": "));
        pairs.into_iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|pair| pair.1)
    }
}

impl Web {
    /// GET.
    pub fn get(self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").expect("the server answers")
    }

    /// POST of JSON.
    pub fn post(self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).expect("the server answers")
    }

    /// POST of JSON to a server that may be gone.
    pub fn try_post(self, path: &str, body: &Value) -> io::Result<Reply> {
        let json = [("Content-Type", "application/json")];
        self.ask("POST", path, &json, &body.to_string())
    }

    /// Any request.
    pub fn ask(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            let _ = write!(request, "Host: {}\r\n", self.0);
        }
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        let _ = write!(request, "Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the reply was cut");
        let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(cut)?;
        let (line, headers) = head.split_once("\r\n").ok_or_else(cut)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Reply {
            status: status.ok_or_else(cut)?,
            headers: headers.to_owned(),
            body: body.to_owned(),
        })
    }
}
