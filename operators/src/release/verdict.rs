//! What becomes of a record once it is known to be in time or not: accepted, set aside, a duplicate, a conflict.

use super::{LatePolicy, Standing};
use crate::identity::{Admission, Identities};
use crate::record::{Header, Identity, Rejection};
use crate::time::{TimeMs, minus_ms};
use crate::topology::LaneParameters;
use crate::watermark::Counts;

/// The event time behind which a remembered identity counts as absent.
pub(crate) fn absent_before(watermark_ms: TimeMs, parameters: &LaneParameters) -> TimeMs {
    minus_ms(watermark_ms, parameters.dedup_horizon_ms)
}

/// What is left to decide once a record is known to be in time or folded late.
pub(crate) enum Sight {
    Conflict,
    SetAside,
    Duplicate,
    Accepted(Standing),
}

pub(crate) fn sight(
    identities: &mut Identities,
    header: &Header,
    late: bool,
    policy: LatePolicy,
    absent_before_ms: TimeMs,
    watermark_ms: TimeMs,
) -> Sight {
    if late && policy == LatePolicy::SetAside {
        // A conflict is a dead letter, and that comes before late; a duplicate comes after it.
        return if identities.conflicts(header.identity, absent_before_ms) { Sight::Conflict } else { Sight::SetAside };
    }
    let sequenced = matches!(header.identity, Identity::Sequence { .. });
    if late && !sequenced && header.event_time_ms < absent_before_ms {
        if identities.conflicts(header.identity, absent_before_ms) {
            return Sight::Conflict;
        }
        return Sight::Accepted(Standing::TooOld { doubt_ms: watermark_ms });
    }
    match identities.admit(header.identity, header.event_time_ms, absent_before_ms) {
        Admission::Conflict => Sight::Conflict,
        Admission::Duplicate => Sight::Duplicate,
        Admission::New => Sight::Accepted(if late { Standing::Late } else { Standing::OnTime }),
    }
}

pub(crate) fn conflict() -> Rejection {
    Rejection::new("conflict", "another record with this id and other content came first")
}

pub(crate) fn count_accepted(counts: &mut Counts, standing: Standing, counted_apart: bool) {
    match standing {
        Standing::OnTime => counts.on_time += 1,
        Standing::Late => counts.late += 1,
        Standing::TooOld { .. } => {
            counts.late += 1;
            counts.too_old += 1;
        }
    }
    counts.counted_apart += i64::from(counted_apart);
}
