//! Progress on the terminal while a run works: a line that rewrites itself, or plain lines where there is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::http::Published;
use dataflows::answer::format_instant;
use dataflows::re_entry::PREFIX;
use dataflows::source_health::SourceHealth;

/// How often a plain line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// What a run has done so far, from its published views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Complete ticks.
    pub ticks: u64,
    /// Records read.
    pub read: i64,
    /// On time.
    pub on_time: i64,
    /// Late.
    pub late: i64,
    /// Seen before.
    pub duplicate: i64,
    /// Dead letters.
    pub dead: i64,
    /// Dead letters that entered again, whatever became of them; in none of the counts above.
    pub re_entered: i64,
    /// The least watermark of partitions that have not ended.
    pub watermark_ms: Option<i64>,
    /// Whether every partition accounts for every record.
    pub conserved: bool,
}

/// What the published tick says.
pub fn totals(published: &Published) -> Totals {
    let views = published.read();
    let mut totals =
        Totals { ticks: views.published().map_or(0, |mark| mark.tick + 1), conserved: true, ..Totals::default() };
    for row in views.rows::<SourceHealth>() {
        if row.partition.starts_with(PREFIX) {
            totals.re_entered += row.read;
            totals.conserved &= row.read == row.on_time + row.late + row.duplicate + row.dead_letters;
            continue;
        }
        totals.read += row.read;
        totals.on_time += row.on_time;
        totals.late += row.late;
        totals.duplicate += row.duplicate;
        totals.dead += row.dead_letters;
        totals.conserved &= row.read == row.on_time + row.late + row.duplicate + row.dead_letters;
        if row.status != "ended" {
            totals.watermark_ms = match (totals.watermark_ms, row.watermark_ms) {
                (Some(least), Some(watermark_ms)) => Some(least.min(watermark_ms)),
                (least, watermark_ms) => least.or(watermark_ms),
            };
        }
    }
    totals
}

/// The resident memory of this process in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

/// The line.
pub struct Progress {
    bar: Option<ProgressBar>,
    printed: Duration,
    read_before: (i64, Duration),
    rate: f64,
}

impl Progress {
    /// A line on a terminal, or plain lines.
    pub fn new(terminal: bool) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Progress { bar, printed: Duration::ZERO, read_before: (0, Duration::ZERO), rate: 0.0 }
    }

    /// Shows how far a run is.
    pub fn show(&mut self, totals: &Totals, elapsed: Duration) {
        let (read, since) = self.read_before;
        if elapsed > since + Duration::from_millis(500) {
            self.rate = (totals.read - read) as f64 / (elapsed - since).as_secs_f64();
            self.read_before = (totals.read, elapsed);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(line(totals, self.rate));
                bar.tick();
            }
            None if elapsed >= self.printed + PLAIN_EVERY => {
                self.printed = elapsed;
                super::terminal::say(&line(totals, self.rate));
            }
            None => {}
        }
    }

    /// Shows the last state, with the mean rate, and leaves it there.
    pub fn end(&mut self, totals: &Totals, elapsed: Duration) {
        let rate = totals.read as f64 / elapsed.as_secs_f64().max(0.001);
        match &self.bar {
            Some(bar) => bar.finish_with_message(line(totals, rate)),
            None => super::terminal::say(&line(totals, rate)),
        }
    }
}

fn line(totals: &Totals, rate: f64) -> String {
    let watermark = totals.watermark_ms.map_or_else(|| "-".to_owned(), format_instant);
    let memory = resident_bytes().map_or_else(|| "-".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
    format!(
        "{} records, {:.0}/s | tick {} | watermark {watermark} | late {} | duplicates {} | dead letters {} | {memory}",
        totals.read, rate, totals.ticks, totals.late, totals.duplicate, totals.dead
    )
}
