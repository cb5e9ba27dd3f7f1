//! What a run that serves says of its views.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use aisle::subscribe::subscribe;
use serde_json::Value;

use super::multiset::RowText;

/// The tick of a listing of all rows of a view, and the rows, with how often each is there.
pub(crate) fn listed(url: &str, view: &str) -> (u64, BTreeMap<RowText, i64>) {
    let url = format!("{url}/v1/views/{view}?limit=100000");
    let body = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["truncated"], false, "{body}");
    let mut rows = BTreeMap::new();
    for row in answer["rows"].as_array().unwrap() {
        let mut row = row.clone();
        // What is computed when a row is read lies behind what it is.
        row.as_object_mut().unwrap().remove("readout");
        // The fields stay in their order, so the text is the one that was served.
        let row = row.to_string();
        assert!(body.contains(row.strip_suffix('}').unwrap()), "{row}");
        *rows.entry(row).or_insert(0) += 1;
    }
    (answer["tick"].as_u64().unwrap(), rows)
}

/// The newest tick that can be read; none before the first.
pub(crate) fn newest_tick(url: &str) -> Option<u64> {
    let body = ureq::get(format!("{url}/healthz")).call().ok()?.body_mut().read_to_string().ok()?;
    serde_json::from_str::<Value>(&body).ok()?["tick"].as_u64()
}

/// Somebody who follows a view until the run ends: the frames, in the end.
pub(crate) struct Subscriber(JoinHandle<(Vec<String>, Option<String>)>);

impl Subscriber {
    /// Follows from a token on, or from a snapshot.
    pub(crate) fn follow(url: &str, view: &str, token: Option<&str>) -> Subscriber {
        let (url, view, token) = (url.to_owned(), view.to_owned(), token.map(str::to_owned));
        Subscriber(std::thread::spawn(move || {
            let mut frames = Vec::new();
            let followed = subscribe(&url, &view, token.as_deref(), &mut frames);
            let followed = followed.unwrap_or_else(|error| panic!("{view}: {error}"));
            (String::from_utf8(frames).unwrap().lines().map(str::to_owned).collect(), followed.token)
        }))
    }

    /// The frames, and the token to go on with.
    pub(crate) fn end(self) -> (Vec<String>, Option<String>) {
        self.0.join().unwrap()
    }
}
