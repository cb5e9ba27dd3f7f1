//! The start of a writer: a cluster that answers may still be busy, and then the same is tried again.
//!
//! The first transaction of all makes the partitions in which a cluster keeps its transactions, and after a restart their
//! leaders are elected and read them: on a loaded machine each of these takes tens of seconds, in which a question is answered
//! with "timed out, retry". So a start is not over at the first answer like that, but at a deadline that is told.

use std::time::{Duration, Instant};

use super::request::{RequestError, is_fenced};

/// How long a start is tried: several times what a busy cluster was seen to take, which was a minute.
pub(super) const START_WITHIN: Duration = Duration::from_secs(240);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether what went wrong at a start may go well if it is tried again. Who was fenced is not: another writer starts, too.
pub(super) fn may_succeed(error: &RequestError) -> bool {
    matches!(error, RequestError::Unreachable { source, .. } if !is_fenced(source))
}

/// Tries to start what is called `what` until it succeeds, until `may_succeed` says that it won't, until it is not `wanted` any
/// more or until [`START_WITHIN`] is over. Tells meanwhile, ever less often.
pub(super) fn start<T, E: std::error::Error>(
    what: &str,
    may_succeed: impl Fn(&E) -> bool,
    is_wanted: impl Fn() -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let (began, mut pause, mut attempts) = (Instant::now(), Duration::from_millis(100), 0_u32);
    loop {
        let error = match attempt() {
            Ok(started) => {
                if attempts > 0 {
                    tracing::warn!(what, attempts, "started");
                }
                return Ok(started);
            }
            Err(error) => error,
        };
        if !may_succeed(&error) || !is_wanted() || began.elapsed() >= START_WITHIN {
            return Err(error);
        }
        attempts += 1;
        if attempts.is_power_of_two() {
            let (error, left) = (told(&error), START_WITHIN.saturating_sub(began.elapsed()).as_secs());
            tracing::warn!(what, attempts, error, "can't start yet; it is tried again for {left} s");
        }
        let resting = Instant::now();
        while resting.elapsed() < pause && is_wanted() {
            std::thread::sleep(Duration::from_millis(20));
        }
        pause = PAUSE_MAX.min(pause * 2);
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use rdkafka::error::KafkaError;
    use rdkafka::types::RDKafkaErrorCode as Code;

    use super::*;

    fn error(code: Code) -> RequestError {
        RequestError::of("initialise the transactions", KafkaError::Global(code))
    }

    fn tried(code: Code, failures: u32, wanted: u32) -> (Result<(), RequestError>, u32) {
        let attempts = std::cell::Cell::new(0);
        let started = start(
            "a writer",
            may_succeed,
            || attempts.get() < wanted,
            || {
                attempts.set(attempts.get() + 1);
                if attempts.get() > failures { Ok(()) } else { Err(error(code)) }
            },
        );
        (started, attempts.get())
    }

    #[test]
    fn a_busy_cluster_is_asked_again_and_one_that_refuses_is_not() {
        assert!(matches!(tried(Code::OperationTimedOut, 2, 100), (Ok(()), 3)));
        assert!(matches!(tried(Code::CoordinatorLoadInProgress, 1, 100), (Ok(()), 2)));
        for final_code in [Code::TransactionalIdAuthorizationFailed, Code::ProducerFenced, Code::InvalidProducerEpoch] {
            let (started, attempts) = tried(final_code, 2, 100);
            assert!(started.is_err() && attempts == 1, "{final_code}");
        }
        let (started, attempts) = tried(Code::OperationTimedOut, 100, 2);
        assert!(started.is_err() && attempts == 2, "nobody wants it any more");
    }
}
