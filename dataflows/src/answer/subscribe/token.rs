//! Tokens: a text such as `stock:9f86d081884c7d65:9` that says of which view and run a subscriber has all ticks before which.
//!
//! A tick's number means nothing in another run: the one that began with `--fresh` counts from 0 again. So a token names its
//! run, and that of another one is refused, which sends the subscriber back to a snapshot. So is one without a run, as older
//! builds gave them: `stock:9`.

use operators::time::Tick;

use crate::answer::Failure;
use crate::view::ViewId;

/// Which run it is. It follows from what the run recorded first, so that each restart and each copy has the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunId(pub u64);

/// Says that everything before tick `upper` is known.
pub(super) fn token(run: RunId, view: ViewId, upper: Tick) -> String {
    format!("{}:{:016x}:{upper}", view.name(), run.0)
}

/// Before which tick the bearer of a token knows everything, if it is one of this run and view.
pub(super) fn upper_of(token: &str, run: RunId, view: ViewId) -> Result<Tick, Failure> {
    let parts: Vec<&str> = token.split(':').collect();
    let (of_view, of_run, upper) = match parts[..] {
        [of_view, of_run, upper] => (of_view, Some(of_run), upper),
        [of_view, upper] => (of_view, None, upper),
        _ => return Err(malformed(token, view)),
    };
    let upper: Tick = upper.parse().map_err(|_| malformed(token, view))?;
    if of_view != view.name() {
        let view = view.name();
        return Err(Failure::bad_request(format!("the token {token:?} is of another view than {view}")));
    }
    let Some(of_run) = of_run else {
        return Err(Failure::gone(format!(
            "the token {token:?} is of an older build and does not say of which run it is; begin anew without a token"
        )));
    };
    if of_run.len() != 16 || !of_run.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed(token, view));
    }
    match u64::from_str_radix(of_run, 16) {
        Ok(of_run) if of_run == run.0 => Ok(upper),
        _ => Err(Failure::gone(format!(
            "the token {token:?} is of another run than this one, {:016x}; begin anew without a token",
            run.0
        ))),
    }
}

fn malformed(token: &str, view: ViewId) -> Failure {
    Failure::bad_request(format!("the token {token:?} has to be one like {}", self::token(RunId::default(), view, 123)))
}

/// The token with which one can go on behind a frame: that of a progress, or of a disconnect that has one. Rows have none.
pub fn token_in(frame: &str) -> Option<&str> {
    // In these frames the token comes last; in a row any text may.
    if frame.starts_with("{\"tick\"") {
        return None;
    }
    frame.strip_suffix("\"}")?.rsplit_once("\"token\":\"").map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::subscribe::{change_frame, disconnected_frame};
    use crate::inventory::stock::Stock;

    #[test]
    fn a_token_is_of_its_run_and_view() {
        let (run, view) = (RunId(0x9f86_d081_884c_7d65), ViewId::of::<Stock>());
        let written = token(run, view, 9);
        assert_eq!(written, "stock:9f86d081884c7d65:9");
        assert_eq!(upper_of(&written, run, view), Ok(9));
        let refused = |text: &str, run| upper_of(text, run, view).map_err(|failure| (failure.status, failure.message));
        for (text, words) in [(written.as_str(), "another run"), ("stock:9", "older build")] {
            let (status, message) = refused(text, RunId(7)).unwrap_err();
            assert_eq!(status, 410, "{text}");
            assert!(message.contains(words) && message.contains("begin anew without a token"), "{message}");
        }
        let wrong = ["stock:9f86:9", "stock:9f86d081884c7d6g:9", "stock:+f86d081884c7d65:9", "stock:9f86d081884c7d65:"];
        for text in wrong.into_iter().chain(["availability:9f86d081884c7d65:9", "stock:1:2:3", "", ":", "::"]) {
            assert_eq!(refused(text, run).unwrap_err().0, 400, "{text}");
        }
        // A run whose name begins with zeros.
        assert_eq!(upper_of(&token(RunId(7), view, 0), RunId(7), view), Ok(0));
    }

    #[test]
    fn the_token_of_a_frame_is_found() {
        let with = disconnected_frame("too slow", Some("stock:0000000000000007:9"));
        assert_eq!(token_in(&with), Some("stock:0000000000000007:9"));
        assert_eq!(token_in(&disconnected_frame("too slow", None)), None);
        assert_eq!(token_in("{\"snapshot\":{\"as_of\":1}}"), None);
        assert_eq!(token_in(&change_frame(1, 1, "{\"sku\":\"\",\"token\":\"x\"}")), None);
    }
}
