//! Named points at which a test ends the process, as a power cut would.
//!
//! Only builds with the feature `faults` have them; in all others they are nothing. `AISLE_FAULT=name:3` makes the third
//! passage of the point `name` kill the process with SIGKILL, after one line on standard error which proves that it was
//! there. Points of files are named after what is done and the file's first folder or name: `sync remap.log`,
//! `append sinks`, `torn remap.log` (half of what is to be appended is written). Points of a Kafka sink are the steps of a
//! transaction, in their order: `sink.fenced`, `sink.begun`, `sink.produced`, `sink.acknowledged`, `sink.committed`.

#[cfg(feature = "faults")]
pub use armed::{is_next, point, point_of};

/// Passes a point.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_: &str) {}

/// Passes a point of a file.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point_of(_: &str, _: &str) {}

/// Whether the next passage of a point of a file is the last one.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn is_next(_: &str, _: &str) -> bool {
    false
}

#[cfg(feature = "faults")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSAGES: AtomicU64 = AtomicU64::new(0);

    fn wanted() -> Option<&'static (String, u64)> {
        static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        let read = || {
            let text = std::env::var("AISLE_FAULT").ok()?;
            let (name, passage) = text.rsplit_once(':')?;
            Some((name.to_owned(), passage.parse().ok()?))
        };
        WANTED.get_or_init(read).as_ref()
    }

    /// Passes a point; does not return from the passage that was asked for.
    pub fn point(name: &str) {
        let Some((_, passage)) = wanted().filter(|(wanted, _)| wanted == name) else { return };
        if PASSAGES.fetch_add(1, Ordering::AcqRel) + 1 == *passage {
            fire(name, *passage);
        }
    }

    /// Passes a point of a file.
    pub fn point_of(what: &str, file: &str) {
        point(&name_of(what, file));
    }

    /// Whether the next passage of a point of a file is the last one; one that is not counts as passed.
    pub fn is_next(what: &str, file: &str) -> bool {
        let name = name_of(what, file);
        let Some((_, passage)) = wanted().filter(|(wanted, _)| *wanted == name) else { return false };
        let is_next = PASSAGES.load(Ordering::Acquire) + 1 == *passage;
        PASSAGES.fetch_add(u64::from(!is_next), Ordering::AcqRel);
        is_next
    }

    fn name_of(what: &str, file: &str) -> String {
        format!("{what} {}", file.split('/').next().unwrap_or(file))
    }

    #[allow(clippy::print_stderr, reason = "the line is the proof that the fault fired")]
    fn fire(name: &str, passage: u64) -> ! {
        eprintln!("fault: {name}, passage {passage}");
        let myself = std::process::id().to_string();
        // Nothing is flushed, closed or told: this is what a crash is.
        let _ = std::process::Command::new("kill").args(["-9", &myself]).status();
        std::process::abort();
    }
}
