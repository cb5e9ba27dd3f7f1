//! The HTTP server: the pure answers of [`dataflows::answer`], mounted, and subscriptions as server-sent events.
//!
//! It runs on threads of its own. The engine meets it in [`Published`] alone: it publishes a tick there and goes on;
//! nobody who reads, however slowly, is waited for beyond the one page or listing that is being read.

mod admission;
mod follower;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{QueryRejection, StringRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::IntoResponse;
use tokio::sync::watch;

use operators::index::ApplyError;
use operators::time::{Tick, TimeMs};

use super::command_desk::{self, ASKED_BYTES_MAX, CommandDesk};
use dataflows::answer::subscribe::{Hub, HubBounds};
use dataflows::answer::{Failure, Request, Response, Views, answer};
use dataflows::commands::Kind;
use dataflows::view::{ChangeList, ViewId};

use admission::{admit, check_command, host_of};
use follower::{Follower, stream_events};

/// How many parameters a question may have.
const PARAMETERS_MAX: usize = 32;

/// How long a parameter's value may be, in bytes.
const PARAMETER_BYTES_MAX: usize = 16 << 10;

/// How long requests that are under way at shutdown may still take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// What the engine publishes and readers read.
pub struct Published {
    views: RwLock<Views>,
    hub: Mutex<Hub>,
    /// Changes with every tick.
    news: watch::Sender<()>,
    clock: Option<fn() -> TimeMs>,
    history: OnceLock<AskHistory>,
    commands: OnceLock<Arc<CommandDesk>>,
}

/// Answers a question about history, by its parameters; may take its time.
pub type AskHistory = Box<dyn Fn(&[(String, String)]) -> Response + Send + Sync>;

impl Published {
    /// Publishes `views` from now on. With a `clock`, answers outlive themselves by it; without, by the ticks' own time.
    pub fn new(views: Views, bounds: HubBounds, clock: Option<fn() -> TimeMs>) -> Published {
        Published {
            hub: Mutex::new(Hub::new(views.run(), bounds)),
            views: RwLock::new(views),
            news: watch::Sender::new(()),
            clock,
            history: OnceLock::new(),
            commands: OnceLock::new(),
        }
    }

    /// From now on commands are taken.
    pub fn set_commands(&self, desk: Arc<CommandDesk>) {
        if self.commands.set(desk).is_err() {
            tracing::warn!("there are two command logs; the first one is written to");
        }
    }

    /// From now on `ask` answers `/v1/history`.
    pub fn set_history(&self, ask: AskHistory) {
        if self.history.set(ask).is_err() {
            tracing::warn!("history is kept twice; the first one answers");
        }
    }

    /// Publishes a tick, as [`Views::apply_tick`] does, and passes it on to whoever follows.
    pub fn apply_tick(
        &self,
        tick: Tick,
        time_ms: TimeMs,
        changes: Vec<(ViewId, Box<dyn ChangeList>)>,
        sealed_through: Vec<(String, TimeMs)>,
    ) -> Result<(), ApplyError> {
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        views.apply_tick(tick, time_ms, changes, sealed_through)?;
        drop(views);
        // Subscribers may read the tick from the views before it is in their rings; the hub keeps it from coming twice.
        // Views before hub: the order in which everyone takes the two.
        let views = self.read();
        self.hub().publish(&views);
        drop(views);
        self.news.send_replace(());
        Ok(())
    }

    /// The views as they are published; while they are held, no tick can be.
    pub fn read(&self) -> RwLockReadGuard<'_, Views> {
        self.views.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many subscribers are connected.
    pub fn subscribers(&self) -> usize {
        self.hub().subscribers()
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Someone listens there already.
    #[error(
        "could not listen on {address}, since another process does; stop it, or pass --listen with another address \
         (a port of 0 takes any that is free)"
    )]
    Taken {
        /// Where.
        address: String,
    },
    /// It is no address of this machine, or not allowed.
    #[error("could not listen on {address}; pass --listen with an address of this machine, such as 127.0.0.1:8080")]
    Unavailable {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The machine refused threads or the like.
    #[error("could not start the HTTP server's threads")]
    Threads {
        /// Why.
        source: io::Error,
    },
}

/// A server that answers until it is shut down or dropped.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts to answer on `listen`, such as `127.0.0.1:8080`.
pub fn serve(listen: &str, published: Arc<Published>) -> Result<Server, ServeError> {
    let unavailable = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::Taken { address: listen.to_owned() },
        _ => ServeError::Unavailable { address: listen.to_owned(), source },
    };
    let listener = TcpListener::bind(listen).map_err(unavailable)?;
    listener.set_nonblocking(true).map_err(unavailable)?;
    let address = listener.local_addr().map_err(unavailable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("aisle-http")
        .enable_all()
        .build()
        .map_err(|source| ServeError::Threads { source })?;
    let (stop, stopping) = watch::channel(false);
    let shared = Shared { published, stopping, listen_host: host_of(listen).into() };
    let run = move || {
        if let Err(error) = runtime.block_on(answer_until(shared, listener)) {
            tracing::error!(%address, %error, "the HTTP server ended");
        }
        // Whoever still holds a connection is not waited for.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("aisle-http".to_owned()).spawn(run);
    let thread = thread.map_err(|source| ServeError::Threads { source })?;
    Ok(Server { address, stop, thread: Some(thread) })
}

impl Server {
    /// Where it listens, with the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, ends subscriptions with their tokens, and returns once all are answered or cut off.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(address = %self.address, "the HTTP server's thread panicked");
        }
    }
}

#[derive(Clone)]
struct Shared {
    published: Arc<Published>,
    stopping: watch::Receiver<bool>,
    /// The host of the address that it was told to listen on.
    listen_host: Arc<str>,
}

async fn answer_until(shared: Shared, listener: TcpListener) -> io::Result<()> {
    let (mut stopping, mut also_stopping) = (shared.stopping.clone(), shared.stopping.clone());
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .fallback(handle)
        .layer(DefaultBodyLimit::max(ASKED_BYTES_MAX))
        .layer(middleware::from_fn_with_state(shared.clone(), admit))
        .with_state(shared);
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stopped(&mut stopping).await;
    });
    let cut_off = async {
        stopped(&mut also_stopping).await;
        tokio::time::sleep(SHUTDOWN_MAX).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = cut_off => Ok(()),
    }
}

/// Returns once the server is to stop, which it also is when nobody can tell it so any more.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

/// Everything arrives here, so that what there is and what there is not is said in one place, [`dataflows::answer`].
async fn handle(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    body: Result<String, StringRejection>,
) -> axum::response::Response {
    if Kind::at(uri.path()).is_some() && shared.published.commands.get().is_some() {
        return take_command(shared.published, &method, uri.path(), &headers, query, body).await;
    }
    let query = match checked(&method, query) {
        Ok(query) => query,
        Err(failure) => return respond(failure.into_response()),
    };
    let path = uri.path();
    if let Some(view) = path.strip_prefix("/v1/views/").and_then(|rest| rest.strip_suffix("/changes")) {
        let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        return match Follower::begin(shared, view, query, last_event_id) {
            Ok(follower) => stream_events(follower),
            Err(failure) => respond(failure.into_response()),
        };
    }
    let published = shared.published;
    let request = Request { path: path.to_owned(), query, at_ms: published.clock.map(|clock| clock()) };
    if request.path.trim_end_matches('/') == "/v1/history" && published.history.get().is_some() {
        let asked = tokio::task::spawn_blocking(move || published.history.get().map(|ask| ask(&request.query)));
        return match asked.await {
            Ok(Some(response)) => respond(response),
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
    }
    if !path.starts_with("/v1/views/") {
        return respond(answer(&published.read(), &request));
    }
    // A listing may look at every row of a view; the threads that serve everyone else are not held up by it.
    let listing = tokio::task::spawn_blocking(move || answer(&published.read(), &request));
    match listing.await {
        Ok(response) => respond(response),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Takes a command: a path that says which kind, and a body that says what is asked.
async fn take_command(
    published: Arc<Published>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    body: Result<String, StringRejection>,
) -> axum::response::Response {
    if method != Method::POST {
        return respond(Failure::command_needed().into_response());
    }
    if let Err(failure) = check_command(headers) {
        return respond(failure.into_response());
    }
    let query = match checked(&Method::GET, query) {
        Ok(query) => query,
        Err(failure) => return respond(failure.into_response()),
    };
    let request = Request { path: path.to_owned(), query, at_ms: None };
    let asked = match body {
        Ok(asked) => asked,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("at most {ASKED_BYTES_MAX} bytes are taken at once; send fewer lines at a time");
            return respond(Failure::too_large(message).into_response());
        }
        Err(rejection) => return respond(Failure::bad_request(rejection.body_text()).into_response()),
    };
    // It waits for the disk and for a tick.
    let taking = tokio::task::spawn_blocking(move || {
        published.commands.get().map(|desk| command_desk::answer(desk, &published, &request, &asked))
    });
    match taking.await {
        Ok(Some(response)) => respond(response),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn checked(
    method: &Method,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Vec<(String, String)>, Failure> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Failure::method_not_allowed());
    }
    let Query(query) = query.map_err(|error| Failure::bad_request(error.body_text()))?;
    if query.len() > PARAMETERS_MAX {
        return Err(Failure::bad_request(format!("at most {PARAMETERS_MAX} parameters are allowed")));
    }
    match query.iter().find(|(_, value)| value.len() > PARAMETER_BYTES_MAX) {
        None => Ok(query),
        Some((name, _)) => {
            Err(Failure::bad_request(format!("the value of {name:?} is longer than {PARAMETER_BYTES_MAX} bytes")))
        }
    }
}

fn respond(response: Response) -> axum::response::Response {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], response.body).into_response()
}
