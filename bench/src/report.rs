//! What is printed, and what goes into the JSON file.

use serde_json::{Value, json};

use aisle::job::BUILD;

use crate::arguments::{Arguments, Competitor};
use crate::figures::{Checkpoints, Figures};
use crate::machine::machine;
use crate::rounds::{Rounds, name_of};

/// Prints the report, and writes it where the arguments say.
pub(crate) fn give(arguments: &Arguments, rounds: &Rounds) -> Result<(), Box<dyn std::error::Error>> {
    head(arguments, &rounds[0].1[0]);
    let engine = &rounds[0].1;
    for (competitor, figures) in rounds {
        print(&name_of(*competitor), median_round(figures));
        if is_at_load(*competitor) {
            let p99s = figures.iter().filter_map(|figures| Some(format!("{:.0}", figures.latency_ms?.p99)));
            say(&format!("  {}: p99 of each round {} ms", name_of(*competitor), Vec::from_iter(p99s).join(", ")));
        } else if *competitor != Competitor::Engine {
            print_ratios(arguments, "engine", &name_of(*competitor), engine, figures);
            if arguments.verify && *competitor == Competitor::Plain {
                for (view, same) in agreement(&engine[0], &figures[0]) {
                    say(&format!("  verify          {view}: {}", if same { "the same" } else { "DIFFERS" }));
                }
            }
        }
    }
    let of =
        |wanted| rounds.iter().find(|(competitor, _)| *competitor == wanted).map(|(_, figures)| figures.as_slice());
    let topics = of(Competitor::Topics);
    let checkpointed = of(Competitor::Checkpointed);
    for alone in [Competitor::Poll, Competitor::PollLoop] {
        if let (Some(topics), Some(figures)) = (topics, of(alone)) {
            print_ratios(arguments, "topics", &name_of(alone), topics, figures);
        }
    }
    let at_load = rounds.iter().filter(|(competitor, _)| is_at_load(*competitor)).flat_map(|(_, figures)| figures);
    let alone = topics.into_iter().chain(checkpointed).flatten();
    for figures in engine.iter().chain(alone).chain(at_load) {
        let of = |name: &str| figures.verdicts[name];
        let read = of("read");
        let verdicts = of("on_time") + of("late") + of("duplicate") + of("dead_letters");
        let records = figures.inputs.records;
        if read != verdicts || read.unsigned_abs() != records {
            return Err(format!("of {records} records {read} were published: the figures mean nothing").into());
        }
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&json_of(arguments, rounds))? + "\n")?;
    }
    Ok(())
}

/// Whether its speed is given and only its latency measured.
fn is_at_load(competitor: Competitor) -> bool {
    matches!(competitor, Competitor::EngineAtLoad | Competitor::TopicsAtLoad)
}

fn head(arguments: &Arguments, figures: &Figures) {
    let machine = machine();
    let command: Vec<String> = std::env::args().skip(1).collect();
    say(&format!("bench {}", command.join(" ")));
    say(&format!(
        "  machine         {}, {} cores, {:.1} GiB, load {}; commit {BUILD}",
        machine["cpu"].as_str().unwrap_or_default(),
        machine["cores"],
        machine["memory_bytes"].as_f64().unwrap_or_default() / (1u64 << 30) as f64,
        machine["load"].as_str().unwrap_or_default(),
    ));
    say(&format!(
        "  input           {} records, {:.0} bytes each, {} a second of event time; session_minutes {}",
        figures.inputs.records,
        figures.inputs.bytes as f64 / figures.inputs.records as f64,
        figures.inputs.event_rate,
        if arguments.session_minutes { "published" } else { "not published" },
    ));
    if arguments.rounds > 1 {
        say(&format!("  rounds          {}; of each, the one with the median speed", arguments.rounds));
    }
}

fn print(name: &str, figures: &Figures) {
    let (records, changes) = (figures.inputs.records as f64, figures.changes.values().sum::<u64>());
    say(&format!(
        "  {name:<15} {:.0} records/s, {:.0} ns of CPU a record; {:.2} s, {:.2} CPU s ({:.2} cores)",
        figures.records_per_second,
        figures.cpu_ns_per_record,
        figures.wall_seconds,
        figures.cpu_seconds,
        figures.cpu_seconds / figures.wall_seconds,
    ));
    let line = |text: String| say(&format!("                  {text}"));
    if let Some(rate) = figures.inputs.rate {
        line(format!("{rate:.0} records/s due, {} in all", figures.inputs.records));
    }
    line(format!(
        "{} ticks, {:.0} records each, {changes} changes, {:.3} a record",
        figures.ticks,
        records / figures.ticks.max(1) as f64,
        changes as f64 / records,
    ));
    if figures.prepared_cpu_seconds > 0.0 {
        let prepared_ns = figures.prepared_cpu_seconds * 1e9 / records;
        line(format!("decoding and verdicts beforehand, not in these figures: {prepared_ns:.0} ns of CPU a record"));
    }
    if let Some(pauses) = figures.pauses_ms {
        line(format!("ms between publications: {pauses}"));
    }
    if let Some(latency) = figures.latency_ms {
        line(format!("latency ms: {latency}"));
    }
    if let Some(checkpoints) = figures.checkpoints {
        let Checkpoints { complete, bytes, keys, read_seconds, shown_seconds, caught_up_seconds, records_behind } =
            checkpoints;
        let mebibytes = bytes >> 20;
        line(format!("checkpoints: {complete} complete, the newest of {mebibytes} MiB; {keys} keys at the end"));
        line(format!(
            "restored: verified and read after {read_seconds:.1} s, shown after {shown_seconds:.1} s, caught up \
             {records_behind} records behind it after {caught_up_seconds:.1} s"
        ));
    }
    let threads = figures.thread_cpu_seconds.iter().filter(|(_, seconds)| **seconds > 0.005);
    threads.for_each(|(thread, seconds)| line(format!("thread {thread}: {:.0} ns a record", seconds * 1e9 / records)));
    let mebibytes = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
    let (before, most) = (mebibytes(figures.resident_bytes_before), mebibytes(figures.resident_bytes_max));
    line(format!("resident: {before:.0} MiB before, {most:.0} MiB at most"));
    for held in &figures.held {
        let each = |bytes: usize| bytes as f64 / held.keys as f64;
        let (tables, heap) = (each(held.table_bytes), each(held.heap_bytes));
        line(match (held.table_bytes, held.heap_bytes) {
            (0, 0) => format!("held: {}, {} keys", held.name, held.keys),
            _ => format!("held: {}, {} keys of {tables:.0} + {heap:.0} bytes (tables + heap)", held.name, held.keys),
        });
    }
}

fn print_ratios(arguments: &Arguments, whose: &str, name: &str, engine: &[Figures], others: &[Figures]) {
    let cores = arguments.workers;
    let speed = ratios(engine, others, |engine, other| other.job_seconds(cores) / engine.job_seconds(cores));
    let cpu = ratios(engine, others, |engine, other| engine.cpu_ns_per_record / other.job_cpu_ns());
    let range = |ratios: &[f64]| match ratios {
        [only] => format!("{only:.2}"),
        [least, .., most] => format!("{:.2} ({least:.2} to {most:.2})", median(ratios)),
        [] => String::new(),
    };
    let prepared = others.iter().any(|figures| figures.prepared_cpu_seconds > 0.0);
    let counted = if prepared { ", both with decoding and verdicts" } else { "" };
    say(&format!("  {whose} / {name}: {} of the speed, {} of the CPU{counted}", range(&speed), range(&cpu)));
}

/// One for each round, ascending.
fn ratios(engine: &[Figures], others: &[Figures], ratio: impl Fn(&Figures, &Figures) -> f64) -> Vec<f64> {
    let mut ratios: Vec<f64> = engine.iter().zip(others).map(|(engine, other)| ratio(engine, other)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

/// Of an ascending list; the lower of two in the middle.
fn median(ascending: &[f64]) -> f64 {
    ascending[(ascending.len() - 1) / 2]
}

fn median_round(figures: &[Figures]) -> &Figures {
    let mut by_speed: Vec<&Figures> = figures.iter().collect();
    by_speed.sort_by(|one, other| one.records_per_second.total_cmp(&other.records_per_second));
    by_speed[(by_speed.len() - 1) / 2]
}

/// Whether the final views are the same; those of which the plain program knows nothing are left out.
fn agreement(engine: &Figures, plain: &Figures) -> Vec<(String, bool)> {
    let views = engine.digests.iter().filter(|(view, _)| !matches!(view.as_str(), "source_health" | "dead_letters"));
    let views = views.filter(|(view, digest)| **digest != 0 || plain.digests[*view] != 0);
    views.map(|(view, digest)| (view.clone(), *digest == plain.digests[view])).collect()
}

fn json_of(arguments: &Arguments, rounds: &Rounds) -> Value {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut report = json!({
        "machine": machine(),
        "commit": BUILD,
        "command": command,
        "session_minutes": arguments.session_minutes,
    });
    let engine = &rounds[0].1;
    for (competitor, figures) in rounds {
        let name = name_of(*competitor);
        report[&name] = json!(figures);
        if *competitor != Competitor::Engine && !is_at_load(*competitor) {
            let cores = arguments.workers;
            let speed = ratios(engine, figures, |engine, other| other.job_seconds(cores) / engine.job_seconds(cores));
            let cpu = ratios(engine, figures, |engine, other| engine.cpu_ns_per_record / other.job_cpu_ns());
            report[format!("engine_by_{name}")] = json!({ "speed": median(&speed), "cpu": median(&cpu) });
        }
        if arguments.verify && *competitor == Competitor::Plain {
            let agreement = agreement(&engine[0], &figures[0]).into_iter();
            report["agreement"] = agreement.map(|(view, same)| (view, json!(same))).collect();
        }
    }
    report
}

/// A person reads this.
#[allow(clippy::print_stdout, reason = "the report is the command's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
