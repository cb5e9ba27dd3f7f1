//! Why a question has no answer: a status, a stable code, and a sentence that says what to do instead.

use serde_json::json;

use operators::index::ReadError;

use crate::answer::{ENDPOINTS, Response};
use crate::view::ViewId;

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// As in HTTP.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Failure {
    /// The question itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure { status: 400, code: "bad_request", message: message.into() }
    }

    /// A parameter that is needed is not there.
    pub fn missing(parameter: &str) -> Failure {
        Failure::bad_request(format!("the parameter `{parameter}` is missing"))
    }

    /// The method is none that reads.
    pub fn method_not_allowed() -> Failure {
        let message = "only GET is answered: views are read here, records come in by their sources".to_owned();
        Failure { status: 405, code: "method_not_allowed", message }
    }

    /// Whoever asks is not to be answered.
    pub fn forbidden(message: impl Into<String>) -> Failure {
        Failure { status: 403, code: "forbidden", message: message.into() }
    }

    /// A command is not sent as what it has to be.
    pub fn unsupported_media_type(known: &[&str]) -> Failure {
        let message = format!("a command needs the header `Content-Type: {}`", known.join("` or `"));
        Failure { status: 415, code: "unsupported_media_type", message }
    }

    /// Something else goes by the same name.
    pub fn conflict(message: impl Into<String>) -> Failure {
        Failure { status: 409, code: "conflict", message: message.into() }
    }

    /// As many follow as there may be.
    pub fn too_many_subscribers(subscribers_max: usize) -> Failure {
        let message = format!("{subscribers_max} subscribers are connected, which is the most; try again later");
        Failure { status: 503, code: "too_many_subscribers", message }
    }

    /// The tick or time lies before history.
    pub fn gone(message: impl Into<String>) -> Failure {
        Failure { status: 410, code: "gone", message: message.into() }
    }

    /// The tick or time is not published.
    pub fn not_yet_published(message: impl Into<String>) -> Failure {
        Failure { status: 404, code: "not_yet_published", message: message.into() }
    }

    /// The answer would be larger than answers may be.
    pub fn too_large(message: impl Into<String>) -> Failure {
        Failure { status: 413, code: "too_large", message: message.into() }
    }

    /// What was sent did not come in time.
    pub fn too_slow(message: impl Into<String>) -> Failure {
        Failure { status: 408, code: "too_slow", message: message.into() }
    }

    /// One address has as many connections as it may have.
    pub fn too_many_of_peer(connections_max: usize) -> Failure {
        let message = format!(
            "{connections_max} connections from this address are open, which is the most (`peer_connections_max`); \
             close some of them"
        );
        Failure { status: 429, code: "too_many_connections", message }
    }

    /// There are as many connections as there may be.
    pub fn too_many_connections(connections_max: usize) -> Failure {
        let message = format!(
            "{connections_max} connections are open, which is the most (`connections_max`); try again in a moment"
        );
        Failure { status: 503, code: "too_many_connections", message }
    }

    /// As much is asked at once as there may be.
    pub fn busy(message: impl Into<String>) -> Failure {
        Failure { status: 503, code: "busy", message: message.into() }
    }

    /// A command could not be made durable.
    pub fn not_taken(message: impl Into<String>) -> Failure {
        Failure { status: 503, code: "not_taken", message: message.into() }
    }

    /// The way of a command, asked without one.
    pub fn command_needed() -> Failure {
        let message = "this takes commands: POST lines of JSON to it".to_owned();
        Failure { status: 405, code: "method_not_allowed", message }
    }

    /// No history is kept.
    pub fn no_history() -> Failure {
        let message =
            "no history is kept; `[history]` of the configuration, or the build, does not ask for it".to_owned();
        Failure { status: 404, code: "no_history", message }
    }

    /// What history is read from can't be read now.
    pub fn history_unavailable(message: impl Into<String>) -> Failure {
        Failure { status: 503, code: "history_unavailable", message: message.into() }
    }

    /// A file of history is not as it was written.
    pub fn history_damaged(message: impl Into<String>) -> Failure {
        Failure { status: 500, code: "history_damaged", message: message.into() }
    }

    /// The first tick is not published yet.
    pub fn starting() -> Failure {
        let message = "no tick is published yet; try again in a moment".to_owned();
        Failure { status: 503, code: "starting", message }
    }

    pub(crate) fn unknown_path(path: &str) -> Failure {
        let known: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
        let known = known.join(", ");
        let message =
            format!("there is nothing at {path:?}; there are {known}, /v1/views/{{view}}/changes and /v1/history");
        Failure { status: 404, code: "unknown_path", message }
    }

    pub(crate) fn unknown_view(name: &str) -> Failure {
        let names = ViewId::all().map(ViewId::name).collect::<Vec<_>>().join(", ");
        Failure { status: 404, code: "unknown_view", message: format!("there is no view {name:?}; there are {names}") }
    }

    /// The view is one that the configuration does not ask for.
    pub fn view_disabled(view: ViewId) -> Failure {
        let message = format!("the view {} is not computed; the configuration does not ask for it", view.name());
        Failure { status: 404, code: "view_disabled", message }
    }

    /// The answer that says so.
    pub fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        Response { status: self.status, body: body.to_string() }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Gone { oldest } => {
                Failure::gone(format!("that tick lies before history; the oldest readable tick is {oldest}"))
            }
            ReadError::NotYet { published: Some(published) } => Failure::not_yet_published(format!(
                "that tick is not published yet; the newest is {published}, read it without `as_of`"
            )),
            ReadError::NotYet { published: None } => Failure::starting(),
        }
    }
}
