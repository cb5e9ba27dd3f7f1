//! Connections: how many there may be, and how long each may keep the server waiting.
//!
//! hyper serves them, below axum, so that heads have a deadline; an idle connection is one whose next head does not come. A
//! write has one, too. Whoever is refused is told so over a connection of its own, of which there are few at any time.

mod peers;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Method, Request, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::answers::respond;
use super::stopped;
use dataflows::answer::Failure;
use dataflows::configuration::HttpSettings;
use peers::Peers;

/// How many bytes the head of a request may have, and about how many of an answer wait for the socket beside the page that
/// is being written.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// How many connections at a time are told that there are too many; others are closed without a word.
const REFUSALS_MAX: usize = 64;

/// How long whoever is refused may take to ask.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

/// How long a connection that is closed is still read from, so that its last answer is not lost to what was not read.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// How long connections may still take at shutdown.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How long nothing is accepted where the system has no more files or memory for it.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Asks that a connection be closed behind the answer that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing(Arc<Notify>);

impl Closing {
    /// From now on no further request is taken.
    pub(super) fn close(&self) {
        self.0.notify_one();
    }
}

/// Serves connections until the server is stopped.
pub(super) async fn serve_connections(
    listener: TcpListener,
    router: Router,
    settings: Arc<HttpSettings>,
    mut stopping: watch::Receiver<bool>,
) {
    let peers = Peers::new(settings.connections_max, settings.peer_connections_max);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut open = JoinSet::new();
    loop {
        let (stream, peer): (TcpStream, SocketAddr) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            },
            Some(ended) = open.join_next(), if !open.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection of the HTTP server panicked");
                }
                continue;
            }
            () = stopped(&mut stopping) => break,
        };
        let (settings, stopping) = (Arc::clone(&settings), stopping.clone());
        match peers.admit(peer.ip()) {
            Ok(place) => {
                let answers = Answers::Router(router.clone());
                let head = settings.head;
                open.spawn(async move {
                    serve_connection(stream, answers, head, &settings, stopping).await;
                    drop(place);
                });
            }
            Err(failure) => {
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    let head = settings.head.min(REFUSAL_MAX);
                    open.spawn(async move {
                        serve_connection(stream, Answers::Refusal(failure), head, &settings, stopping).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop(listener);
    // Whoever is not done by then is cut off.
    let all = async { while open.join_next().await.is_some() {} };
    let _ = timeout(SHUTDOWN_MAX, all).await;
}

/// Waits after an error of accepting, unless it was that of one connection.
async fn pause(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "the HTTP server can accept no connection");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Who answers the requests of a connection.
#[derive(Clone)]
enum Answers {
    Router(Router),
    /// Nobody: this is told, and the connection is closed.
    Refusal(Failure),
}

impl Answers {
    async fn answer(self, mut request: Request<Incoming>, closing: Closing) -> Response {
        // A body that nobody takes is not read; what follows it can't be found then.
        let has_body = !request.body().is_end_stream();
        let takes_body = request.method() == Method::POST;
        let mut response = match self {
            Answers::Refusal(failure) => {
                closing.close();
                let mut response = respond(failure.into_response());
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            Answers::Router(router) => {
                request.extensions_mut().insert(closing.clone());
                match TowerToHyperService::new(router).call(request.map(Body::new)).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        if has_body && !(takes_body && response.status().is_success()) {
            closing.close();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

async fn serve_connection(
    stream: TcpStream,
    answers: Answers,
    head: Duration,
    settings: &HttpSettings,
    mut stopping: watch::Receiver<bool>,
) {
    // Frames of subscriptions are short, and are wanted at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection delays what is short");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(settings.write));
    let closing = Closing::default();
    let for_answers = closing.clone();
    let service = service_fn(move |request| {
        let (answers, closing) = (answers.clone(), for_answers.clone());
        let answer: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> =
            Box::pin(async move { Ok(answers.answer(request, closing).await) });
        answer
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut is_closing = false;
    let served = loop {
        tokio::select! {
            served = std::future::poll_fn(|context| connection.poll_without_shutdown(context)) => break served,
            () = closing.0.notified(), if !is_closing => {}
            () = stopped(&mut stopping), if !is_closing => {}
        }
        is_closing = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    let parts = connection.into_parts();
    let stream = parts.io.into_inner();
    match served {
        // Of an idle one nothing was read: it is closed without a word.
        Err(error) if error.is_timeout() && !parts.read_buf.is_empty() => tell_slow(stream, head).await,
        Err(error) if error.is_timeout() => {}
        // What was read could not be parsed, which hyper told already; or the connection broke, or nothing could be written.
        Err(error) if error.is_parse() => linger(stream).await,
        Err(error) => tracing::debug!(%error, "a connection ended"),
        Ok(()) => linger(stream).await,
    }
}

/// Says that a head did not come in time, which hyper does not.
async fn tell_slow(mut stream: Pin<Box<TimeoutStream<TcpStream>>>, head: Duration) {
    let head_ms = head.as_millis();
    let failure = Failure::too_slow(format!("the head of a request has to come within {head_ms} ms (`head_ms`)"));
    let body = failure.into_response().body;
    let text = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    if stream.write_all(text.as_bytes()).await.is_ok() {
        linger(stream).await;
    }
}

/// Closes the way to the client and reads on for a moment: to close with something unread would take the last answer away
/// from whoever still writes.
async fn linger(mut stream: Pin<Box<TimeoutStream<TcpStream>>>) {
    let closing = async {
        let mut unread = [0; 4_096];
        stream.shutdown().await?;
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // It is closed in any case.
    let _ = timeout(LINGER_MAX, closing).await;
}
