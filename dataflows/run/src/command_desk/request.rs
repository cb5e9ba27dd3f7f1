//! Commands over HTTP: what a request says, and the answer to it.

use std::time::Duration;

use operators::outcome::Verdict;
use serde_json::{Map, Value, json};

use super::{CommandDesk, HandInError, Receipt, RecordAnswer};
use crate::http::Published;
use dataflows::answer::{Failure, Request, Response, Views};
use dataflows::commands::{Kind, LOCAL, Signature};
use dataflows::dead_letters::{DeadLetter, DeadLetters};

/// How much may be asked at once, in bytes.
pub const ASKED_BYTES_MAX: usize = 16 << 20;

/// How long a request waits for its answer, unless it says so.
const WAIT_MS: u64 = 10_000;

/// How long it may wait.
const WAIT_MS_MAX: u64 = 60_000;

/// Takes the command of a request and waits for what becomes of it. `asked` is the body. Blocks: for the disk, then for the
/// tick.
pub fn answer(desk: &CommandDesk, published: &Published, request: &Request, asked: &str) -> Response {
    take(desk, published, request, asked).unwrap_or_else(Failure::into_response)
}

fn take(desk: &CommandDesk, published: &Published, request: &Request, asked: &str) -> Result<Response, Failure> {
    let kind = Kind::at(&request.path).ok_or_else(Failure::command_needed)?;
    let (mut principal, mut id, mut wait_ms) = (LOCAL, None, WAIT_MS);
    for (name, value) in &request.query {
        match name.as_str() {
            "principal" => principal = value,
            "id" => id = Some(value.as_str()),
            "wait_ms" => {
                let wrong = || Failure::bad_request(format!("`wait_ms` is a number from 0 to {WAIT_MS_MAX}"));
                wait_ms = value.parse().ok().filter(|wait_ms| *wait_ms <= WAIT_MS_MAX).ok_or_else(wrong)?;
            }
            other => return Err(Failure::bad_request(format!("there is no parameter `{other}`"))),
        }
    }
    let signature = Signature::new(principal, id, asked).map_err(Failure::bad_request)?;
    if let Some(view) = kind.checked_against.filter(|view| !published.read().is_enabled(*view)) {
        return Err(Failure::view_disabled(view));
    }
    let letters = |partition: &str, offset| letters_at(&published.read(), partition, offset);
    let receipt = desk.hand_in(kind, &signature, asked, &letters).map_err(|error| match error {
        HandInError::Refused(refused) => Failure::bad_request(refused.to_string()),
        error @ HandInError::OtherCommand { .. } => Failure::conflict(error.to_string()),
        error => Failure::not_taken(error.to_string()),
    })?;
    let answers = desk.wait_for_answer(&receipt, Duration::from_millis(wait_ms));
    Ok(response(&receipt, &signature, answers))
}

/// What is told of a command: that it is done, with the verdict of each record, or that it is durable.
fn response(receipt: &Receipt, signature: &Signature, answers: Option<Vec<RecordAnswer>>) -> Response {
    let Receipt { number, records } = receipt;
    let id = signature.id.clone().unwrap_or_else(|| number.to_string());
    let mut body = json!({ "command": number, "entered": records.len(), "id": id });
    let Some(answers) = answers else { return Response { status: 202, body: body.to_string() } };
    let told = records.iter().zip(answers).map(|(record, answer)| Value::Object(told(record.clone(), answer)));
    body["records"] = told.collect();
    Response { status: 200, body: body.to_string() }
}

fn told(mut record: Map<String, Value>, answer: RecordAnswer) -> Map<String, Value> {
    let verdict = match answer.verdict {
        Verdict::OnTime => "on_time",
        Verdict::Late => "late",
        Verdict::TooOld => "too_old",
        Verdict::Duplicate => "duplicate",
        Verdict::DeadLetter { code } => {
            record.insert("code".to_owned(), code.into());
            "dead_letter"
        }
    };
    record.insert("tick".to_owned(), answer.tick.into());
    record.insert("verdict".to_owned(), verdict.into());
    record
}

/// The letters of a partition at an offset, as they are published.
fn letters_at(views: &Views, partition: &str, offset: u64) -> Vec<DeadLetter> {
    let letters = views.shelf::<DeadLetters>().store();
    let Some(Ok(published)) = letters.published().map(|tick| letters.at(tick)) else { return Vec::new() };
    let wanted = (partition, offset);
    let found = published.matching(|letter| (&*letter.partition, letter.offset).cmp(&wanted));
    found.map(|(letter, _)| letter.clone()).collect()
}
