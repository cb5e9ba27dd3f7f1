//! The questions that the views answer: one value for each, in one list.
//!
//! An answer is a pure function of views and request. Whoever serves mounts the list; what needs more than views, such as
//! a stream, a command or files of history, is mounted beside it by whoever has that.

use serde_json::{Map, Value, json};

use super::{Answer, Failure, Request, Views, listing};
use crate::answer::listing::Pages;
use crate::inventory::availability;

/// A question that the views answer.
pub struct Endpoint {
    /// Its path; `{view}` stands for one part of it.
    pub path: &'static str,
    /// What it answers.
    pub says: &'static str,
    /// The names of its parameters, beside the filters of a view's columns.
    pub parameters: &'static [&'static str],
    /// Answers it. The second argument is what `{view}` stands for; empty where there is no such part.
    pub answer: fn(&Views, &str, &Request) -> Result<Answer, Failure>,
}

/// All of them.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/healthz",
        says: "whether the run publishes, and its tick",
        parameters: &[],
        answer: |views, _, _| health(views).map(Answer::Whole),
    },
    Endpoint {
        path: "/v1/views",
        says: "all views with their columns and what of them can be read",
        parameters: &[],
        answer: |views, _, _| listing::list(views).map(Answer::Whole),
    },
    Endpoint {
        path: "/v1/views/{view}",
        says: "the rows of a view",
        parameters: &listing::PARAMETERS,
        answer: |views, name, request| {
            Pages::begin(views, views.view_named(name)?, &request.query).map(|pages| Answer::Pages(Box::new(pages)))
        },
    },
    Endpoint {
        path: "/v1/availability",
        says: "whether a SKU can be promised at some nodes",
        parameters: &availability::PARAMETERS,
        answer: |views, _, request| availability::look_up(views, request).map(Answer::Whole),
    },
];

/// Answers a request.
pub(super) fn answer(views: &Views, request: &Request) -> Result<Answer, Failure> {
    let path = request.path.strip_suffix('/').unwrap_or(&request.path);
    if path == "/v1/history" {
        // Where history is kept, it is asked before the views are.
        return Err(Failure::no_history());
    }
    let found = ENDPOINTS.iter().find_map(|endpoint| Some((endpoint, part_of(endpoint.path, path)?)));
    let (endpoint, part) = found.ok_or_else(|| Failure::unknown_path(&request.path))?;
    (endpoint.answer)(views, part, request)
}

/// What `{view}` stands for in a path that is the endpoint's; empty where the endpoint has no such part.
fn part_of<'a>(endpoint: &str, path: &'a str) -> Option<&'a str> {
    match endpoint.split_once("{view}") {
        None => (endpoint == path).then_some(""),
        Some((before, after)) => {
            let part = path.strip_prefix(before)?.strip_suffix(after)?;
            (!part.is_empty() && !part.contains('/')).then_some(part)
        }
    }
}

fn health(views: &Views) -> Result<String, Failure> {
    let mut body = Map::new();
    body.insert("status".to_owned(), json!("ok"));
    body.extend(views.head(views.newest()?));
    Ok(Value::Object(body).to_string())
}
