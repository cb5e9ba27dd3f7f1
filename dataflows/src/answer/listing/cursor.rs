//! Cursors: a text that says where a listing goes on behind its limit, so that all its pages are of one tick.
//!
//! A cursor names its run, view and tick, as a subscription's token does, and the position among the rows. It is opaque to
//! whoever has it; nothing is kept of it here, and one that was made up finds rows like any other.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use operators::time::Tick;

use crate::answer::Failure;
use crate::answer::subscribe::RunId;
use crate::view::{Position, ViewId};

/// What a cursor says: the run as 16 digits, the view, the tick, the position.
#[derive(Serialize, Deserialize)]
struct Written(String, String, Tick, Position);

/// The cursor of a position.
pub(super) fn cursor(run: RunId, view: ViewId, tick: Tick, position: Position) -> String {
    let written = Written(format!("{:016x}", run.0), view.name().to_owned(), tick, position);
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&written).expect("JSON can hold names and numbers"))
}

/// The tick and the position of a cursor, if it is one of this run and view.
pub(super) fn position_of(cursor: &str, run: RunId, view: ViewId) -> Result<(Tick, Position), Failure> {
    let written = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| serde_json::from_slice::<Written>(&bytes).ok());
    let Some(Written(of_run, of_view, tick, position)) = written else {
        return Err(Failure::bad_request("`cursor` has to be what a listing gave as `next`"));
    };
    if of_view != view.name() {
        let view = view.name();
        return Err(Failure::bad_request(format!("the cursor is of the view {of_view:?} and not of {view}")));
    }
    if of_run != format!("{:016x}", run.0) {
        return Err(Failure::gone(format!(
            "the cursor is of another run than this one, {:016x}; begin anew without a cursor",
            run.0
        )));
    }
    Ok((tick, position))
}
