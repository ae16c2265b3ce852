//! How connections are accepted, bounded and ended.
//!
//! actix-web's own server limits the time of a connection's first head and nothing else. This one is made of the same
//! parts with one more: `GuardedStream` stands between the socket and HTTP, and ends a connection whose client sends a
//! head too slowly, whichever request it is, or does not take what was written. Whatever is held for the client is
//! released with the connection.
//!
//! Routes, credentials and bodies are left to others; they reach the [`Connection`] of a request by
//! [`Connection::of`].

mod address;
mod answer;
mod connection;
mod pace;
mod refusal;
mod stream;

pub use address::{AddressBlock, ClientAddress, TrustedProxies, TrustedProxiesFault};
pub use connection::Connection;
pub use pace::is_too_slow;

use crate::metrics::{Metrics, TransportMetrics};
use actix_http::error::DispatchError;
use actix_http::{ConnectionType, HttpService, Protocol, Request, Response};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory, fn_service,
    map_config,
};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use actix_web::http::StatusCode;
use address::AddressCounts;
use answer::AnswerBody;
use callscope_analytics::shares::Shares;
use connection::AnswerHolder;
use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::GuardedStream;
use tokio::net::{TcpSocket, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 2048;

/// Bytes that the kernel keeps of what was written to a connection: it counts twice as much, its own overhead included.
/// Left to itself it keeps up to 4 MiB, which a client that does not read would hold, and takes more only when a third
/// of that has gone: a slow client would look like one that has stopped.
const SEND_BUFFER_BYTES: u32 = 128 << 10;

/// A tenant has this fraction of the bytes of answers.
const ANSWER_PARTS: usize = 4;

/// How long the rest of an unread body is read and thrown away, so that the client sees the answer.
const LINGER: Duration = Duration::from_secs(1);

/// The bounds of connections.
#[derive(Clone, Debug)]
pub struct TransportLimits {
    /// Threads that serve them.
    pub workers: usize,
    /// Most connections at one time.
    pub connections_max: usize,
    /// Most connections, and requests in flight, of one address (of IPv6: of one /64).
    pub connections_per_address_max: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// How long a connection may be idle between two requests; zero closes it after its first answer.
    pub keep_alive: Duration,
    /// How long a head may take, from its first byte on.
    pub header_timeout: Duration,
    /// How long a client may take to accept what was written.
    pub write_timeout: Duration,
    /// Fewest bytes that a client must send of a body, or take of an answer, each second.
    pub transfer_rate_min: u32,
    /// How long a body may be waited for before that counts.
    pub transfer_grace: Duration,
    /// Most bytes of answers that are in memory; of one tenant, or of one address without a credential, a quarter.
    pub answer_bytes_max: usize,
    /// How long requests in flight may take when the server stops.
    pub shutdown_timeout: Duration,
}

/// What all connections share.
pub struct Transport {
    limits: TransportLimits,
    /// Connections by the address of the peer.
    connections: Arc<AddressCounts>,
    /// Requests in flight that came through trusted proxies, by the address of the client.
    requests: Arc<AddressCounts>,
    /// Bytes of answers that were not yet taken by the socket.
    answers: Arc<Shares<AnswerHolder>>,
    metrics: TransportMetrics,
    is_stopping: AtomicBool,
}

impl Transport {
    /// Bounds without connections yet, counted in `metrics`.
    #[must_use]
    pub fn new(limits: TransportLimits, metrics: &Metrics) -> Arc<Self> {
        let counts = || AddressCounts::new(limits.connections_per_address_max);
        let (connections, requests) = (counts(), counts());
        let answers = Shares::new(limits.answer_bytes_max, limits.answer_bytes_max / ANSWER_PARTS);
        let (metrics, is_stopping) = (metrics.transport.clone(), AtomicBool::new(false));
        Arc::new(Self { limits, connections, requests, answers, metrics, is_stopping })
    }

    /// Gives clients that do not read only a short time from now on. To be called before the server is stopped.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Bytes of answers that are in memory.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.answers.held()
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// Listens on an address. Must be called inside a runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Serves an application on a listener. The server runs when it is awaited.
pub fn serve<F, I, S, B>(transport: &Arc<Transport>, listener: TcpListener, app: F) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let limits = &transport.limits;
    let builder = Server::build()
        .workers(limits.workers)
        .max_concurrent_connections(limits.connections_max.div_ceil(limits.workers))
        .shutdown_timeout(limits.shutdown_timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let (transport, address) = (Arc::clone(transport), listener.local_addr()?);
    let builder = builder.listen("callscope", listener, move || {
        let stopping = stopping.clone();
        let app = app().into_factory().map_err(|error| error.into().error_response());
        let app = map_config(app, |()| AppConfig::default());
        let http = HttpService::build()
            .keep_alive(transport.limits.keep_alive)
            // The stream's work, for every request.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .local_addr(address)
            .on_connect_ext(|stream: &GuardedStream, extensions| {
                extensions.insert(stream.connection().clone());
            })
            .finish(apply_fn_factory(app, answer));
        let (http, transport) = (Rc::new(http), Arc::clone(&transport));
        fn_factory(move || {
            let (http, transport) = (Rc::clone(&http), Arc::clone(&transport));
            async move {
                let http = Rc::new(http.new_service(()).await?);
                Ok::<_, ()>(fn_service(move |io| converse(Rc::clone(&http), Arc::clone(&transport), io)))
            }
        })
    })?;
    Ok(builder.run())
}

/// One connection, from its acceptance to its end.
async fn converse<H>(http: Rc<H>, transport: Arc<Transport>, io: TcpStream) -> Result<(), DispatchError>
where
    H: Service<(GuardedStream, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    let Some(stream) = GuardedStream::accept(io, transport) else { return Ok(()) };
    let (connection, peer) = (stream.connection().clone(), stream.peer());
    let ended = http.call((stream, Protocol::Http1, Some(peer))).await;
    if let Err(DispatchError::Parse(error)) = &ended {
        connection.log_malformed(error);
    }
    ended
}

/// Hands one request to the application, and tells the connection when its answer ends.
fn answer<A, R, B>(
    request: Request,
    app: &A,
) -> impl Future<Output = Result<Response<AnswerBody<B>>, A::Error>> + use<A, R, B>
where
    A: Service<Request, Response = R>,
    R: Into<Response<B>>,
    B: MessageBody,
{
    let in_progress = request.conn_data::<Connection>().map(Connection::begin);
    let request = pace::pace(request);
    let answer = app.call(request);
    async move {
        let mut response: Response<B> = answer.await?.into();
        if response.status() == StatusCode::REQUEST_TIMEOUT {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(response.map_body(|_, body| AnswerBody::new(body, in_progress)))
    }
}
