//! Measures the command desk: small commands that many people hand in at once, each durable before it is answered.
//!
//! Every command lets one dead letter in again, under an id of its own. It is due at a time of its own, and its latency
//! counts from then: from when it was due until it was durable in the command log. What comes behind, its tick, is
//! measured where ticks are. In the end the log is opened once more, which reads it from the first command.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aisle::command_desk::CommandDesk;
use aisle::logs::Logs;
use clap::Parser;
use connectors::data_folder::DataFolder;
use dataflows::commands::{KINDS, LOCAL, Signature};
use dataflows::dead_letters::DeadLetter;
use hdrhistogram::Histogram;

/// Measures how many small commands a second become durable, and how soon.
#[derive(Debug, Parser)]
struct Arguments {
    /// A folder that is not there yet: the data folder.
    folder: PathBuf,
    /// Commands a second.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// How long they come.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many may wait at a time for theirs to be durable.
    #[arg(long, default_value_t = 128)]
    threads: u64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let open = || -> Result<_, Failure> {
        let (data, _) = DataFolder::open(&arguments.folder, false)?;
        Ok((CommandDesk::open(&Logs::of_folder(&arguments.folder, None)?, &data)?, data))
    };
    let (desk, data) = open()?;
    let total = arguments.rate * arguments.seconds;
    let started = Instant::now();
    let latencies = hand_in_all(&desk, total, &arguments, started)?;
    let taken = started.elapsed();
    desk.close();
    drop((desk, data));
    let reopened = Instant::now();
    let (desk, _data) = open()?;
    let known = desk.commands().end();
    let mut output = std::io::stdout();
    writeln!(
        output,
        "{total} commands in {:.2} s: {:.0} a second; due to durable: p50 {} us, p99 {} us, p99.9 {} us, at most {} us",
        taken.as_secs_f64(),
        total as f64 / taken.as_secs_f64(),
        latencies.value_at_quantile(0.5),
        latencies.value_at_quantile(0.99),
        latencies.value_at_quantile(0.999),
        latencies.max(),
    )?;
    let seconds = reopened.elapsed().as_secs_f64();
    writeln!(output, "the log was read again in {seconds:.2} s: {known:?} commands")?;
    desk.close();
    Ok(())
}

/// Hands commands in as they are due; gives what each took, in microseconds.
fn hand_in_all(
    desk: &CommandDesk,
    total: u64,
    arguments: &Arguments,
    started: Instant,
) -> Result<Histogram<u64>, Failure> {
    let next = AtomicU64::new(0);
    let latencies = Mutex::new(Histogram::<u64>::new(3)?);
    let one_after_the_other = || -> Result<(), Failure> {
        let mut own = Histogram::<u64>::new(3)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                latencies.lock().expect("nobody panics while adding").add(own)?;
                return Ok(());
            }
            let due = started + Duration::from_nanos(number * 1_000_000_000 / arguments.rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked =
                format!("{{\"partition\":\"events/0\",\"offset\":{number},\"record\":{{\"id\":\"e{number}\"}}}}\n");
            let signature = Signature::new(LOCAL, Some(&format!("mend-{number}")), &asked)?;
            desk.hand_in(&KINDS[0], &signature, &asked, &|partition, offset| vec![letter(partition, offset)])?;
            own.record(due.elapsed().as_micros() as u64)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads).map(|_| scope.spawn(one_after_the_other)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("an error is told, not a panic"))
    })?;
    Ok(latencies.into_inner().expect("nobody panics while adding"))
}

/// A letter that lies there, as the views would have it.
fn letter(partition: &str, offset: u64) -> DeadLetter {
    let (partition, file, code) = (partition.into(), "events.ndjson".into(), "future".into());
    DeadLetter { partition, offset, file, line: 0, code, detail: String::new(), raw: "e30=".to_owned() }
}
