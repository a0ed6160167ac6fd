//! A node that does what it is told: answers, lies, stalls or dies.

use miroir_meili::{NodeClient, Secret, http_client};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The key that the fake's client holds.
pub const KEY: &str = "a-master-key";

/// What the fake does with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes and closes.
    SendAndClose(Vec<u8>),
    /// Reads the request and never answers.
    Hang,
    /// Closes after reading the first bytes of the request.
    CloseEarly,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    /// The value of a header, or "" if it was not sent.
    pub fn header(&self, name: &str) -> String {
        let found = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        found.unwrap_or_default()
    }
}

/// A running fake. It ends with the value.
pub struct Fake {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Fake {
    /// Starts a fake that performs `acts` in turn, one a request, then hangs.
    pub async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("bound address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
        let record = seen.clone();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, acts.clone(), record.clone()));
            }
        });
        Self { url, seen, server }
    }

    /// A client of this fake with a short bound on a call.
    pub fn client(&self) -> NodeClient {
        client(&self.url).with_timeout(Duration::from_millis(400))
    }

    /// The requests that arrived whole, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while locked").clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A client of any URL.
pub fn client(url: &str) -> NodeClient {
    let http = http_client(Duration::from_millis(300)).expect("client");
    NodeClient::new(http, url, Some(Secret::new(KEY))).expect("a loopback URL")
}

/// An HTTP answer with a JSON body.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    answer(status, "Content-Type: application/json\r\n", body)
}

/// An HTTP answer with the given further headers, each ended by CR LF.
pub fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

async fn serve(
    mut stream: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let next = || acts.lock().expect("no panic while locked").pop_front();
    let mut buffer = Vec::new();
    loop {
        // The act is taken with the first byte, so that it can spoil the reading too.
        if buffer.is_empty() && !read_some(&mut stream, &mut buffer).await {
            return;
        }
        let act = next().unwrap_or(Act::Hang);
        if matches!(act, Act::CloseEarly) {
            return;
        }
        let Some(request) = read_request(&mut stream, &mut buffer).await else {
            return;
        };
        seen.lock().expect("no panic while locked").push(request);
        match act {
            Act::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::SendAndClose(bytes) => {
                // The client may be gone already; that is its right.
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Hang => std::future::pending().await,
            Act::CloseEarly => return,
        }
    }
}

async fn read_some(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(buffer).await, Ok(n) if n > 0)
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if !read_some(stream, buffer).await {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut seen = Seen {
        line: head.lines().next()?.to_owned(),
        head,
        body: Vec::new(),
    };
    let length: usize = seen.header("content-length").parse().unwrap_or(0);
    while buffer.len() < head_end + length {
        if !read_some(stream, buffer).await {
            return None;
        }
    }
    seen.body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(seen)
}
