//! An intelligence service that does as a test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// What it does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It answers.
    Good,
    /// It takes the question and says nothing.
    Silent,
    /// It hangs up.
    HangsUp,
    /// 422: it does not take this question.
    Refuses,
    /// 500.
    Broken,
    /// 302 to elsewhere.
    Redirects,
    /// A page for people.
    Page,
    /// JSON that is none of its kind.
    OtherJson,
    /// A good reply with what no body can hold.
    Unfit,
    /// A reply that does not end.
    Endless,
}

impl Mode {
    pub const BAD: [Self; 8] = [
        Self::Silent,
        Self::HangsUp,
        Self::Broken,
        Self::Redirects,
        Self::Page,
        Self::OtherJson,
        Self::Unfit,
        Self::Endless,
    ];
}

/// It listens until it is dropped.
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    mode: Mutex<Mode>,
    asked: AtomicUsize,
    stop: AtomicBool,
}

impl Service {
    pub fn start(mode: Mode) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), mode)
    }

    /// Where one was before.
    pub fn start_at(url: &str, mode: Mode) -> Self {
        Self::listen(TcpListener::bind(url.trim_start_matches("http://")).unwrap(), mode)
    }

    fn listen(listener: TcpListener, mode: Mode) -> Self {
        let address = listener.local_addr().unwrap();
        let (asked, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { mode: Mutex::new(mode), asked, stop });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&listener, &of_thread));
        Self { address, shared, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        let (stream, shared) = (stream.unwrap(), Arc::clone(shared));
        std::thread::spawn(move || converse(stream, &shared));
    }
}

/// One question a connection: then a service that is dropped is gone.
fn converse(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    let Some(question) = read(&mut reader) else { return };
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let mode = *shared.mode.lock().unwrap();
    let good = json!({"status": "success", "data": {
        "intelligence": {"context": question["context"], "confidence_score": 0.5},
        "patterns": [], "relationships": [],
    }});
    let reply = match mode {
        Mode::Good => page("200 OK", &good.to_string()),
        Mode::Silent => {
            // Until the other side gives up.
            let _ = reader.read(&mut [0]);
            return;
        }
        Mode::HangsUp => return,
        Mode::Refuses => page("422 Unprocessable Content", "{}"),
        Mode::Broken => page("500 Internal Server Error", &good.to_string()),
        Mode::Redirects => page("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
        Mode::Page => page("200 OK", "<html>"),
        Mode::OtherJson => page("200 OK", "[1, 2]"),
        Mode::Unfit => page("200 OK", r#"{"status":"success","data":{"a":"\u0000"}}"#),
        Mode::Endless => {
            let mut stream = reader.into_inner();
            let begun =
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"success\",\"data\":\"");
            let mut more = begun.is_ok();
            while more {
                more = stream.write_all(&[b'x'; 4096]).is_ok();
            }
            return;
        }
    };
    // A client that gave up does not hear it.
    let _ = reader.into_inner().write_all(reply.as_bytes());
}

fn page(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a question; none when the client leaves.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).unwrap())
}
