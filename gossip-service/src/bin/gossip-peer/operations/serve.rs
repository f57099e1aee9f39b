//! Listening: plain on loopback, or over mutual TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::tls::{Acceptor, ServerStream};

/// Serves until the future is dropped.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
    router: Router,
) -> io::Result<()> {
    match tls {
        None => axum::serve(listener, router).await,
        Some(tls) => axum::serve(TlsListener::start(listener, tls)?, router).await,
    }
}

/// Connections whose clients have shown a certificate. Handshakes run beside one another, bounded in
/// number and in time, so that nobody holds up the others.
struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(ServerStream, SocketAddr)>,
    _stop: DropGuard,
}

impl TlsListener {
    fn start(listener: TcpListener, tls: Arc<Acceptor>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let tasks = TaskTracker::new();
            stopped.run_until_cancelled(accept(listener, tls, sender, &tasks)).await;
        });
        Ok(Self { address, ready, _stop: stop.drop_guard() })
    }
}

async fn accept(
    listener: TcpListener,
    tls: Arc<Acceptor>,
    sender: mpsc::Sender<(ServerStream, SocketAddr)>,
    tasks: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let (tls, sender) = (Arc::clone(&tls), sender.clone());
        tasks.spawn(async move {
            let _place = place;
            match shake_hands(&tls, stream).await {
                // Nobody listens any more once the endpoint stops.
                Ok(stream) => drop(sender.send((stream, from)).await),
                Err(error) => debug!(%from, %error, "operations client refused"),
            }
        });
    }
}

async fn shake_hands(tls: &Acceptor, stream: TcpStream) -> io::Result<ServerStream> {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
    handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl Listener for TlsListener {
    type Io = ServerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// Handshakes under way, and clients that wait to be served.
const HANDSHAKES_MAX: usize = 32;

/// How long a client may take to show its certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait after the system had no connection to give.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
