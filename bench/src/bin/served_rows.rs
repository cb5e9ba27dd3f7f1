//! Measures rows that are served: the memory that a row of `stock` and of `availability` takes, and listings of both.
//!
//! Rows are those of SKUs at 100 nodes each, with names of the inventory bench. A listing by the first columns of the key
//! looks at its rows alone; one by another column looks at all of them.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Parser;
use dataflows::answer::{Request, Views, answer};
use dataflows::configuration::Recorded;
use dataflows::inventory::availability::{Availability, AvailabilityRow};
use dataflows::inventory::stock::{Stock, StockRow};
use dataflows::names::Name;
use dataflows::view::{ChangeList, Codecs, Listed, View, ViewId};
use operators::index::HistoryBounds;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: u64 = 100;
const ROUNDS: usize = 21;
const PAGE_BYTES: u64 = 4096;

/// Measures what served rows cost in memory, and how long listings of them take.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows of each view.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Rows that come in one tick.
    #[arg(long, default_value_t = 60_000)]
    tick_rows: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut output = std::io::stdout();
    // Both stay, so that the second one does not lie in memory that the first one gave back.
    let _stock = measure::<Stock>(&arguments, &mut output, |sku, node| StockRow { sku, node, ..Stock::example() })?;
    let _availability = measure::<Availability>(&arguments, &mut output, |sku, node| AvailabilityRow {
        sku,
        node,
        ..Availability::example()
    })?;
    Ok(())
}

fn measure<V: Listed>(
    arguments: &Arguments,
    output: &mut impl Write,
    row: impl Fn(Name, Name) -> V::Row,
) -> Result<Views, Box<dyn std::error::Error>> {
    // Without history: what a row costs by itself.
    let bounds = HistoryBounds { ticks_max: 0, bytes_max: 0 };
    let mut views = Views::new(Codecs::new(&Recorded::default()), &ViewId::all().collect::<Vec<_>>(), bounds);
    let nodes: Vec<Name> = (0..NODES).map(|node| Name::new(format!("store-{node:05}"))).collect();
    let before = resident_bytes()?;
    for (tick, from) in (0u64..).zip((0..arguments.rows).step_by(usize::try_from(arguments.tick_rows)?)) {
        let numbers = from..(from + arguments.tick_rows).min(arguments.rows);
        let rows = numbers.map(|number| {
            let sku = Name::new(format!("sku-{:08}", number / NODES));
            (row(sku, nodes[(number % NODES) as usize].clone()), 1)
        });
        let changes: Box<dyn ChangeList> = Box::new(rows.collect::<Vec<(V::Row, i64)>>());
        views.apply_tick(tick, tick as i64, vec![(V::ID, changes)], Vec::new())?;
    }
    let bytes = (resident_bytes()? - before) / arguments.rows;
    writeln!(output, "{}: {bytes} bytes a row of {}", V::NAME, size_of::<V::Row>())?;
    for query in
        [vec![("tenant", "north"), ("sku", "sku-00000077")], vec![("node", "store-00077"), ("sku", "sku-00000077")]]
    {
        let (taken, count) = listing::<V>(&views, &query);
        let by: Vec<&str> = query.iter().map(|(name, _)| *name).collect();
        writeln!(output, "  a listing by {}: {count} rows in {} us", by.join(" and "), taken.as_micros())?;
    }
    Ok(views)
}

/// The median of some listings, and how many rows each has.
fn listing<V: Listed>(views: &Views, query: &[(&str, &str)]) -> (Duration, u64) {
    let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { path: format!("/v1/views/{}", V::NAME), query, at_ms: None };
    let mut count = 0;
    let mut taken: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let response = answer(views, &request);
            let taken = begun.elapsed();
            count = response.body.matches("\"sku\":").count() as u64;
            taken
        })
        .collect();
    taken.sort_unstable();
    (taken[ROUNDS / 2], count)
}

fn resident_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).ok_or("/proc/self/statm has no second column")?;
    Ok(pages.parse::<u64>()? * PAGE_BYTES)
}
