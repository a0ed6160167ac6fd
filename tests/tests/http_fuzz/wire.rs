//! HTTP as bytes: a client library would not send most of what is sent here.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Where requests go.
#[derive(Debug)]
pub struct Wire {
    address: String,
}

impl Wire {
    pub fn to(url: &str) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("not plain HTTP")?;
        Ok(Self {
            address: address.to_owned(),
        })
    }

    /// Sends a request that asks for the connection to be closed, and reads until it is.
    pub async fn send(&self, request: &[u8]) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).await?;
        // A server may answer and close before it has read everything; what it answered counts.
        let _ = stream.write_all(request).await;
        let mut read = Vec::new();
        let ended = stream.read_to_end(&mut read).await;
        match (parse(&read), ended) {
            (Some(answer), _) => Ok(answer),
            (None, Ok(_)) => bail!("not an answer: {:?}", String::from_utf8_lossy(&read)),
            (None, Err(error)) => Err(error).context("no answer"),
        }
    }
}

fn parse(read: &[u8]) -> Option<Answer> {
    let end = read.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&read[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if status == 100 {
        // What was asked with `expect: 100-continue` is answered after that.
        return parse(&read[end + 4..]);
    }
    let body = &read[end + 4..];
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunked(body)?
    } else {
        body.to_vec()
    };
    Some(Answer { status, body })
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|part| part == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?, 16).ok()?;
        body = &body[line + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}
