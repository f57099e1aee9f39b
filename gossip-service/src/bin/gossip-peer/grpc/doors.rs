//! How many connections a server holds, in all and from one address.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Counts the open connections by address.
#[derive(Clone, Default)]
pub(super) struct Doors(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

impl Doors {
    /// Takes a connection in, or says why not.
    pub(super) fn admit(&self, stream: TcpStream, from: IpAddr) -> Result<Admitted, &'static str> {
        let mut open = self.open();
        if open.values().sum::<usize>() >= CONNECTIONS_MAX {
            return Err("too many connections are open here");
        }
        let count = open.entry(from).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return Err("too many connections are open from its address");
        }
        *count += 1;
        Ok(Admitted { stream, place: Place { doors: self.clone(), from } })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the connections counted, until it is dropped.
struct Place {
    doors: Doors,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.doors.open();
        if let Some(count) = open.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.from);
            }
        }
    }
}

/// A connection that counts for as long as it is open.
pub(super) struct Admitted {
    stream: TcpStream,
    #[expect(dead_code, reason = "held for its drop")]
    place: Place,
}

impl Connected for Admitted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connections held at once.
const CONNECTIONS_MAX: usize = 1024;
/// Of them from one address: a site behind one address has so many peers, and a stranger no more.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_are_bounded_by_address_and_in_all_and_closed_ones_make_room() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let doors = Doors::default();
        let from = |host: usize| IpAddr::from([10, 0, 0, host as u8]);
        let mut held = Vec::new();
        for host in 0..CONNECTIONS_MAX / CONNECTIONS_PER_ADDRESS_MAX {
            for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
                let stream = TcpStream::connect(to).await.unwrap();
                held.push(doors.admit(stream, from(host)).ok().unwrap());
                listener.accept().await.unwrap();
            }
            if host == 0 {
                let stream = TcpStream::connect(to).await.unwrap();
                assert!(doors.admit(stream, from(host)).err().unwrap().contains("its address"));
            }
        }
        let admit = async || doors.admit(TcpStream::connect(to).await.unwrap(), from(99));
        assert!(admit().await.err().unwrap().contains("open here"));
        held.pop();
        assert!(admit().await.is_ok());
        drop(held);
        assert!(doors.open().is_empty());
    }
}
