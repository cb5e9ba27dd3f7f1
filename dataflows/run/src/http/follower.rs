//! A subscription as server-sent events.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream;
use tokio::sync::watch;

use super::{Shared, stopped};
use dataflows::answer::Failure;
use dataflows::answer::subscribe::{Frame, Page, RingId, Subscription, Taken, disconnected_frame, token_in};

/// How many frames go into one write.
const FRAMES_PER_CHUNK_MAX: usize = 1_000;

/// The parameters that say where a subscription begins.
const START_PARAMETERS: [&str; 3] = ["token", "as_of", "as_of_ms"];

/// The events of a follower, until it ends.
pub(super) fn stream_events(follower: Follower) -> axum::response::Response {
    let events = stream::unfold(follower, |mut follower| async move {
        let chunk = follower.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), follower))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

/// A subscriber's connection. Its ring goes with it.
pub(super) struct Follower {
    shared: Shared,
    news: watch::Receiver<()>,
    subscription: Subscription,
    ring: RingId,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    Following,
    Ended,
}

impl Follower {
    /// Lets somebody follow a view. A browser that comes back asks at the address at which it began, and says how far it is
    /// in `last_event_id`: that counts then.
    pub(super) fn begin(
        shared: Shared,
        view: &str,
        mut query: Vec<(String, String)>,
        last_event_id: Option<&str>,
    ) -> Result<Follower, Failure> {
        if let Some(token) = last_event_id {
            query.retain(|(name, _)| !START_PARAMETERS.contains(&name.as_str()));
            query.push(("token".to_owned(), token.to_owned()));
        }
        let subscription = Subscription::begin(&shared.published.read(), view, &query)?;
        let ring = shared.published.hub().admit(subscription.view())?;
        let news = shared.published.news.subscribe();
        Ok(Follower { shared, news, subscription, ring, stage: Stage::Reading })
    }

    /// The next events; none after the last.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.stage != Stage::Ended && *self.shared.stopping.borrow() {
                return Some(self.end("shutting down"));
            }
            // News from here on wakes up below, even if it comes before one waits for it.
            self.news.borrow_and_update();
            match self.take() {
                Taken::Frames(frames) => return Some(events_of(&frames)),
                Taken::Ended => return None,
                Taken::Idle => {}
            }
            tokio::select! {
                _ = self.news.changed() => {}
                () = stopped(&mut self.shared.stopping) => {}
            }
        }
    }

    fn take(&mut self) -> Taken {
        loop {
            match self.stage {
                Stage::Ended => return Taken::Ended,
                Stage::Following => return self.shared.published.hub().take(self.ring, FRAMES_PER_CHUNK_MAX),
                Stage::Reading => match self.subscription.page(&self.shared.published.read()) {
                    Page::Frames(frames) => return Taken::Frames(frames),
                    Page::Ended => self.stage = Stage::Ended,
                    // Refused, if a tick passed since the page was read: then the next page has it.
                    Page::CaughtUp(upper) if self.shared.published.hub().follow(self.ring, upper) => {
                        self.stage = Stage::Following;
                    }
                    Page::CaughtUp(_) => {}
                },
            }
        }
    }

    fn end(&mut self, reason: &str) -> Bytes {
        let token = match self.stage {
            Stage::Following => self.shared.published.hub().token(self.ring),
            Stage::Reading | Stage::Ended => self.subscription.token(),
        };
        self.stage = Stage::Ended;
        events_of(&[disconnected_frame(reason, token.as_deref())])
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.published.hub().remove(self.ring);
    }
}

fn events_of(frames: &[Frame]) -> Bytes {
    let mut events = String::with_capacity(frames.iter().map(|frame| frame.len() + 8).sum());
    for frame in frames {
        // A browser that comes back says the last one of these as `Last-Event-ID`.
        if let Some(token) = token_in(frame) {
            events.push_str("id: ");
            events.push_str(token);
            events.push('\n');
        }
        events.push_str("data: ");
        events.push_str(frame);
        events.push_str("\n\n");
    }
    Bytes::from(events)
}
