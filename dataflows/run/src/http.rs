//! The HTTP server: the pure answers of [`dataflows::answer`], mounted, and subscriptions as server-sent events.
//!
//! It runs on threads of its own. The engine meets it in [`Published`] alone: it publishes a tick there and goes on;
//! nobody who reads, however slowly, is waited for beyond the one page or listing that is being read.

mod admission;
mod answers;
mod connections;
mod follower;
mod questions;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, request};
use axum::middleware;
use axum::response::IntoResponse;
use tokio::sync::{Semaphore, watch};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::CorsLayer;

use operators::index::ApplyError;
use operators::time::{Tick, TimeMs};

use super::command_desk::{self, CommandDesk};
use dataflows::answer::subscribe::{Hub, HubBounds};
use dataflows::answer::{Failure, Request, Response, Views, answer};
use dataflows::commands::Kind;
use dataflows::configuration::HttpSettings;
use dataflows::view::{ChangeList, ViewId};

use admission::{admit, check_command, host_of};
use answers::{answer_rows, respond, respond_held, too_much_is_held};
use connections::{Closing, serve_connections};
use follower::{Follower, stream_events};
use questions::{parameters, read_body};

/// How many threads read rows at once; whoever asks beyond that waits for a turn.
const READERS_MAX: usize = 4;

/// How many questions about history are looked up at once, each of which may hold many rows; others wait for a turn.
const HISTORY_READERS_MAX: usize = 4;

/// How many commands may wait at once, each of which has a thread; others are told to come back.
const COMMANDS_MAX: usize = 64;

/// Answers that are smaller are not worth to be compressed, in bytes.
const COMPRESSED_BYTES_MIN: u16 = 1_024;

/// For how long a browser may remember what pages of which sites may ask.
const PREFLIGHT_MAX: Duration = Duration::from_secs(600);

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
pub fn serve(listen: &str, published: Arc<Published>, settings: HttpSettings) -> Result<Server, ServeError> {
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
    let shared = Shared {
        published,
        stopping,
        listen_host: host_of(listen).into(),
        held: Arc::new(Semaphore::new(settings.held_bytes_max as usize)),
        settings: Arc::new(settings),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
        history_readers: Arc::new(Semaphore::new(HISTORY_READERS_MAX)),
        commands: Arc::new(Semaphore::new(COMMANDS_MAX)),
    };
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
    settings: Arc<HttpSettings>,
    /// Counts the bytes of bodies and whole answers.
    held: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    history_readers: Arc<Semaphore>,
    commands: Arc<Semaphore>,
}

async fn answer_until(shared: Shared, listener: TcpListener) -> io::Result<()> {
    let (stopping, settings) = (shared.stopping.clone(), Arc::clone(&shared.settings));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let is_compressed = SizeAbove::new(COMPRESSED_BYTES_MIN).and(NotForContentType::SSE);
    let mut router = Router::new()
        .fallback(handle)
        .with_state(shared.clone())
        .layer(CompressionLayer::new().compress_when(is_compressed));
    if !settings.origins.is_empty() {
        router = router.layer(cors(&settings.origins));
    }
    let router = router.layer(middleware::from_fn_with_state(shared, admit));
    serve_connections(listener, router, settings, stopping).await;
    Ok(())
}

/// What pages of these sites may ask: they may read.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([HeaderName::from_static("last-event-id")])
        .max_age(PREFLIGHT_MAX)
}

/// Returns once the server is to stop, which it also is when nobody can tell it so any more.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

/// Everything arrives here, so that what there is and what there is not is said in one place, [`dataflows::answer`]. The body
/// is read only of a command.
async fn handle(
    State(shared): State<Shared>,
    Extension(closing): Extension<Closing>,
    request: request::Request<Body>,
) -> axum::response::Response {
    let (head, body) = request.into_parts();
    let answered = match Kind::at(head.uri.path()) {
        Some(_) if shared.published.commands.get().is_some() => take_command(&shared, &head, body).await,
        _ => read(shared, &head, closing).await,
    };
    answered.unwrap_or_else(|failure| respond(failure.into_response()))
}

/// Answers a question.
async fn read(shared: Shared, head: &request::Parts, closing: Closing) -> Result<axum::response::Response, Failure> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Failure::method_not_allowed());
    }
    let (path, query) = (head.uri.path(), parameters(query_of(&head.uri))?);
    if let Some(view) = path.strip_prefix("/v1/views/").and_then(|rest| rest.strip_suffix("/changes")) {
        let last_event_id =
            head.headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        return Follower::begin(shared, view, query, last_event_id).map(stream_events);
    }
    let request = Request { path: path.to_owned(), query, at_ms: shared.published.clock.map(|clock| clock()) };
    if path.trim_end_matches('/') == "/v1/history" && shared.published.history.get().is_some() {
        return read_history(&shared, request).await;
    }
    if path.starts_with("/v1/views/") {
        return Ok(answer_rows(shared, request, closing).await);
    }
    Ok(respond(answer(&shared.published.read(), &request)))
}

async fn read_history(shared: &Shared, request: Request) -> Result<axum::response::Response, Failure> {
    let _turn = shared.history_readers.acquire().await.expect("nobody closes it");
    let published = Arc::clone(&shared.published);
    let asked = tokio::task::spawn_blocking(move || published.history.get().map(|ask| ask(&request.query)));
    let Ok(Some(response)) = asked.await else { return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response()) };
    let bytes = u32::try_from(response.body.len()).map_err(|_| Failure::too_large("ask for less time"))?;
    let held = Arc::clone(&shared.held).try_acquire_many_owned(bytes).map_err(|_| too_much_is_held())?;
    Ok(respond_held(response, held))
}

/// Takes a command: a path that says which kind, and a body that says what is asked.
async fn take_command(shared: &Shared, head: &request::Parts, body: Body) -> Result<axum::response::Response, Failure> {
    if head.method != Method::POST {
        return Err(Failure::command_needed());
    }
    check_command(&head.headers)?;
    let query = parameters(query_of(&head.uri))?;
    let request = Request { path: head.uri.path().to_owned(), query, at_ms: None };
    let turn = Arc::clone(&shared.commands).try_acquire_owned().map_err(|_| {
        Failure::busy(format!(
            "{COMMANDS_MAX} other commands are being taken, which is the most; ask again in a moment"
        ))
    })?;
    let (asked, held) = read_body(body, &shared.settings, &shared.held).await?;
    // It waits for the disk and for a tick.
    let published = Arc::clone(&shared.published);
    let taking = tokio::task::spawn_blocking(move || {
        let answer = published.commands.get().map(|desk| command_desk::answer(desk, &published, &request, &asked));
        drop(turn);
        answer
    });
    match taking.await {
        // An answer is about as large as what was asked.
        Ok(Some(response)) => Ok(respond_held(response, held)),
        _ => Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    }
}

fn query_of(uri: &Uri) -> &str {
    uri.query().unwrap_or_default()
}
