//! When did the kernel take each datagram? The library's runtime, with an ear at its UDP sockets.
//!
//! The kernel's time stamp is of the moment at which a packet is there, however long the viewers' one thread
//! is busy with others. So what is measured is the sender.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, Transmit,
};

use crate::tally::Tally;
use crate::wall_now;

/// Several pictures for each viewer, for while their one thread is busy. A plain user gets what the system allows.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// The library's runtime, whose sockets count.
#[derive(Debug)]
pub struct Tapped {
    pub inner: Arc<dyn Runtime>,
    pub tally: Arc<Mutex<Tally>>,
}

struct TappedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    tally: Arc<Mutex<Tally>>,
}

impl fmt::Debug for TappedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl AsyncUdpSocket for TappedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }
    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.inner.poll_send(cx, transmit)
    }
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let read = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = read {
            let mut tally = self.tally.lock().expect("no panic under it");
            for (buf, meta) in bufs.iter().zip(&*meta).take(count) {
                let arrived: Duration = meta.timestamp.unwrap_or_else(wall_now);
                for datagram in buf[..meta.len.min(buf.len())].chunks(meta.stride.max(1)) {
                    tally.take(datagram, arrived);
                }
            }
        }
        read
    }
}

impl Runtime for Tapped {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }
    fn spawn_reactor(
        &self,
        reactor_pool_size: usize,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Box<dyn JoinHandle> {
        self.inner.spawn_reactor(reactor_pool_size, future)
    }
    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let larger = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES);
        if larger.is_err() {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
        }
        let inner = self.inner.wrap_udp_socket(socket)?;
        Ok(Arc::new(TappedSocket { inner, tally: self.tally.clone() }))
    }
    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }
    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.inner.connect_tcp(address)
    }
    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        self.inner.resolve_host(host)
    }
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.inner.sleep(duration)
    }
    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(period)
    }
    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }
}
