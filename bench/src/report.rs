//! What is printed, and what goes into the JSON file.

use serde_json::{Map, Value, json};

use dataflows::run::job::BUILD;
use dataflows::views::View;
use hdrhistogram::Histogram;

use crate::arguments::{Arguments, Baseline};
use crate::engine::Measured;
use crate::machine::machine;

/// Everything that was measured.
pub(crate) struct Report {
    /// Records given.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) input_bytes: u64,
    /// Records a second of event time.
    pub(crate) event_rate: u64,
    /// The engine's.
    pub(crate) engine: Measured,
    /// The plain program's, where it was wanted.
    pub(crate) plain: Option<Measured>,
    /// The stock operators', by flavour, where they were wanted.
    pub(crate) specifications: Vec<(&'static str, Measured)>,
}

impl Report {
    /// Prints the report, and writes it where the arguments say.
    pub(crate) fn give(&self, arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
        self.print(arguments);
        let conserved = |measured: &Measured| {
            let health = &measured.tally.health;
            health.iter().all(|it| it.read == it.on_time + it.late + it.duplicate + it.dead_letters)
        };
        let read: i64 = self.engine.tally.health.iter().map(|health| health.read).sum();
        if !conserved(&self.engine) || read.unsigned_abs() != self.records {
            return Err(format!("of {} records {read} were published: the figures mean nothing", self.records).into());
        }
        if let Some(path) = &arguments.json {
            std::fs::write(path, serde_json::to_string_pretty(&self.json(arguments))? + "\n")?;
        }
        Ok(())
    }

    fn print(&self, arguments: &Arguments) {
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
            self.records,
            self.input_bytes as f64 / self.records as f64,
            self.event_rate,
            if arguments.session_minutes { "published" } else { "not published" },
        ));
        self.print_measured("engine", &self.engine);
        if arguments.rate.is_some() {
            say(&format!("  latency ms      {}", quantiles(&self.engine.tally.latency_us, 1e3)));
        }
        for (name, gauge) in &self.engine.held {
            if gauge.keys > 0 {
                let each = |bytes: usize| bytes as f64 / gauge.keys as f64;
                say(&format!(
                    "  held            {name}: {} keys, {:.0} bytes each in tables, {:.0} beside them",
                    gauge.keys,
                    each(gauge.table_bytes),
                    each(gauge.heap_bytes)
                ));
            }
        }
        if let Some(plain) = &self.plain {
            self.print_measured("plain", plain);
            let cpu = self.cpu_ns(&self.engine) / self.cpu_ns(plain);
            let speed = plain.wall_seconds / self.engine.wall_seconds;
            say(&format!("  engine / plain  {speed:.2} of the speed, {cpu:.2} of the CPU a record"));
            for (name, gauge) in &plain.held {
                let each = gauge.table_bytes as f64 / gauge.keys.max(1) as f64;
                let bytes = if gauge.table_bytes > 0 { format!(", {each:.0} bytes each") } else { String::new() };
                say(&format!("  held (plain)    {name}: {} keys{bytes}", gauge.keys));
            }
            if arguments.verify {
                for (view, same) in self.agreement(plain) {
                    say(&format!("  verify          {}: {}", view.name(), if same { "the same" } else { "DIFFERS" }));
                }
            }
        }
        for (name, specification) in &self.specifications {
            self.print_measured(name, specification);
            let cpu = self.cpu_ns(&self.engine) / self.cpu_ns(specification);
            let speed = specification.wall_seconds / self.engine.wall_seconds;
            say(&format!(
                "  engine / {name}: {speed:.2} of the speed, {cpu:.2} of the CPU a record, decoding included"
            ));
        }
        if arguments.wants(Baseline::Specification) && self.specifications.is_empty() {
            say("  specification   inventory is not compared with it");
        }
    }

    fn print_measured(&self, name: &str, measured: &Measured) {
        let Measured { wall_seconds, cpu_seconds, tally, .. } = measured;
        let changes: u64 = tally.changes.iter().sum();
        say(&format!(
            "  {name:<15} {:.0} records/s, {:.0} ns of CPU a record; {wall_seconds:.2} s, {cpu_seconds:.2} CPU s ({:.2} cores)",
            self.records as f64 / wall_seconds,
            self.cpu_ns(measured),
            cpu_seconds / wall_seconds,
        ));
        say(&format!(
            "                  {} ticks, {:.0} records each, {changes} changes, {:.3} a record",
            tally.ticks,
            self.records as f64 / tally.ticks.max(1) as f64,
            changes as f64 / self.records as f64,
        ));
        if !tally.pauses_us.is_empty() {
            say(&format!("                  ms between publications: {}", quantiles(&tally.pauses_us, 1e3)));
        }
        for (thread, seconds) in measured.threads.iter().filter(|(_, seconds)| *seconds > 0.005) {
            say(&format!("                  thread {thread}: {:.0} ns a record", seconds * 1e9 / self.records as f64));
        }
        let mebibytes = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
        say(&format!(
            "                  resident: {:.0} MiB before, {:.0} MiB at most",
            mebibytes(measured.inputs_bytes),
            mebibytes(measured.peak_bytes),
        ));
    }

    fn cpu_ns(&self, measured: &Measured) -> f64 {
        measured.cpu_seconds * 1e9 / self.records as f64
    }

    /// Whether the final views are the same; those of which the plain program knows nothing are left out.
    fn agreement(&self, plain: &Measured) -> Vec<(View, bool)> {
        let (engine, plain) = (&self.engine.tally.digests, &plain.tally.digests);
        let views = View::ALL.into_iter().filter(|view| !matches!(view, View::SourceHealth | View::DeadLetters));
        let views = views.filter(|view| engine[*view as usize] != 0 || plain[*view as usize] != 0);
        views.map(|view| (view, engine[view as usize] == plain[view as usize])).collect()
    }

    fn json(&self, arguments: &Arguments) -> Value {
        let command: Vec<String> = std::env::args().skip(1).collect();
        let mut report = json!({
            "machine": machine(),
            "commit": BUILD,
            "command": command,
            "records": self.records,
            "input_bytes": self.input_bytes,
            "event_rate": self.event_rate,
            "session_minutes": arguments.session_minutes,
            "engine": self.measured(&self.engine),
        });
        if let Some(plain) = &self.plain {
            report["plain"] = self.measured(plain);
            report["engine_by_plain"] = json!({
                "speed": plain.wall_seconds / self.engine.wall_seconds,
                "cpu": self.cpu_ns(&self.engine) / self.cpu_ns(plain),
            });
            if arguments.verify {
                let agreement = self.agreement(plain).into_iter();
                report["agreement"] = agreement.map(|(view, same)| (view.name().to_owned(), json!(same))).collect();
            }
        }
        for (name, specification) in &self.specifications {
            report[format!("specification_{name}")] = self.measured(specification);
        }
        report
    }

    fn measured(&self, measured: &Measured) -> Value {
        let Measured { wall_seconds, cpu_seconds, tally, .. } = measured;
        let changes = View::ALL.into_iter().map(|view| (view.name().to_owned(), json!(tally.changes[view as usize])));
        let held = measured.held.iter().map(|(name, gauge)| {
            let bytes = json!({ "keys": gauge.keys, "table_bytes": gauge.table_bytes, "heap_bytes": gauge.heap_bytes });
            ((*name).to_owned(), bytes)
        });
        let threads = measured.threads.iter().map(|(name, seconds)| (name.clone(), json!(seconds)));
        let sum = |count: fn(&dataflows::views::SourceHealth) -> i64| tally.health.iter().map(count).sum::<i64>();
        json!({
            "wall_seconds": wall_seconds,
            "cpu_seconds": cpu_seconds,
            "records_per_second": self.records as f64 / wall_seconds,
            "cpu_ns_per_record": self.cpu_ns(measured),
            "thread_cpu_seconds": threads.collect::<Map<_, _>>(),
            "resident_bytes_before": measured.inputs_bytes,
            "resident_bytes_max": measured.peak_bytes,
            "ticks": tally.ticks,
            "changes": changes.collect::<Map<_, _>>(),
            "pauses_ms": quantiles_json(&tally.pauses_us),
            "latency_ms": quantiles_json(&tally.latency_us),
            "held": held.collect::<Map<_, _>>(),
            "verdicts": {
                "read": sum(|health| health.read),
                "on_time": sum(|health| health.on_time),
                "late": sum(|health| health.late),
                "duplicate": sum(|health| health.duplicate),
                "dead_letters": sum(|health| health.dead_letters),
            },
        })
    }
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

fn quantiles(histogram: &Histogram<u64>, unit: f64) -> String {
    let quantile = |(name, at): (&str, f64)| format!("{name} {:.1}", histogram.value_at_quantile(at) as f64 / unit);
    QUANTILES.map(quantile).join(", ")
}

fn quantiles_json(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let quantile = |(name, at): (&str, f64)| (name.to_owned(), json!(histogram.value_at_quantile(at) as f64 / 1e3));
    QUANTILES.map(quantile).into_iter().collect::<Map<_, _>>().into()
}

/// A person reads this.
#[allow(clippy::print_stdout, reason = "the report is the command's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
