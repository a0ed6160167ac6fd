//! A slow line: a forwarder that stands before a server and delays what goes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use miroir_dev::cluster::Port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The forwarder. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Forwarder {
    /// Where it listens.
    pub address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    _running: JoinSet<()>,
    _port: Port,
}

impl Forwarder {
    /// Begins to forward to `target`, which need not listen yet, without delay.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let port = Port::take()?;
        let listener = TcpListener::bind(("127.0.0.1", port.number())).await?;
        let delay_ms = Arc::<AtomicU64>::default();
        let address = listener.local_addr()?;
        let mut running = JoinSet::new();
        running.spawn(accept(listener, target, Arc::clone(&delay_ms)));
        Ok(Self {
            address,
            delay_ms,
            _running: running,
            _port: port,
        })
    }

    /// Delays everything from now on by this long, in each direction.
    pub fn delay(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(by_ms, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, delay_ms: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        connections.spawn(connect(client, target, Arc::clone(&delay_ms)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, target: SocketAddr, delay_ms: Arc<AtomicU64>) {
    // A server that does not listen is a connection that ends at once.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        copy(from_client, to_server, &delay_ms),
        copy(from_server, to_client, &delay_ms)
    );
}

/// Passes bytes on until either side ends.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay_ms: &AtomicU64) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let delay = delay_ms.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
