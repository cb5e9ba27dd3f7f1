//! Answers as HTTP has them: whole ones, whose bytes are counted where they may be many, and listings page by page.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, spawn_blocking};

use super::Shared;
use super::connections::Closing;
use dataflows::answer::{self, Answer, Failure, Pages, Piece, Request};

/// In such slices answers are handed on that are held as a whole: what was handed on is not held here any more.
const SLICE_BYTES: usize = 64 << 10;

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// An answer that is small.
pub(super) fn respond(response: answer::Response) -> Response {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, JSON, response.body).into_response()
}

/// An answer that may be large: its bytes count until the client has taken them.
pub(super) fn respond_held(response: answer::Response, held: OwnedSemaphorePermit) -> Response {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let length = response.body.len();
    let slices = stream::unfold((Bytes::from(response.body), held), |(mut rest, held)| async move {
        let slice = rest.split_to(rest.len().min(SLICE_BYTES));
        (!slice.is_empty()).then_some((Ok::<_, Infallible>(slice), (rest, held)))
    });
    (status, JSON, [(header::CONTENT_LENGTH, length)], Body::from_stream(slices)).into_response()
}

/// An answer about rows. Of a listing that has several pages each is read when the client has taken the one before.
pub(super) async fn answer_rows(shared: Shared, request: Request, closing: Closing) -> Response {
    let begin = read(&shared, move |views| {
        answer::begin(views, &request).map(|answer| match answer {
            Answer::Whole(text) => (Piece::Last(text), None),
            Answer::Pages(mut pages) => (pages.next(views), Some(pages)),
        })
    });
    match begin.await {
        Ok(Ok((Piece::More(text), Some(pages)))) => {
            let listing = Listing { shared, pages: Some(pages), first: Some(text), closing };
            let pages = stream::try_unfold(listing, |mut listing| async move {
                Ok::<_, JoinError>(listing.next().await?.map(|page| (page, listing)))
            });
            (JSON, Body::from_stream(pages)).into_response()
        }
        Ok(Ok((Piece::More(text) | Piece::Last(text) | Piece::Broken(text), _))) => (JSON, text).into_response(),
        Ok(Err(failure)) => respond(failure.into_response()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Reads from the views. It may look at many rows: the threads that serve everyone else are not held up by it, and few of
/// those that are read at once.
async fn read<T: Send + 'static>(
    shared: &Shared,
    read: impl FnOnce(&answer::Views) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let _turn = shared.readers.acquire().await.expect("nobody closes it");
    let published = Arc::clone(&shared.published);
    spawn_blocking(move || read(&published.read())).await
}

/// A listing on its way to a client.
struct Listing {
    shared: Shared,
    /// None behind the last page.
    pages: Option<Box<Pages>>,
    first: Option<String>,
    closing: Closing,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Bytes>, JoinError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first.into()));
        }
        while let Some(mut pages) = self.pages.take() {
            let (piece, pages) = read(&self.shared, move |views| (pages.next(views), pages)).await?;
            match piece {
                Piece::More(text) if text.is_empty() => self.pages = Some(pages),
                Piece::More(text) => {
                    self.pages = Some(pages);
                    return Ok(Some(text.into()));
                }
                Piece::Last(text) => return Ok(Some(text.into())),
                Piece::Broken(text) => {
                    self.closing.close();
                    return Ok(Some(text.into()));
                }
            }
        }
        Ok(None)
    }
}

/// What a client is told where too many bytes are held.
pub(super) fn too_much_is_held() -> Failure {
    Failure::busy(
        "as many bytes of other requests and answers are held as may be (`held_bytes_max`); ask again in a moment",
    )
}
