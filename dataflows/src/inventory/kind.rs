//! Inventory facts as a kind of records.

use operators::release::LatePolicy;
use operators::streams::StreamPlan;
use operators::topology::Lanes;

use super::batch::BatchDecoder;
use super::decode::{AvroFactDecoder, CORRECTS_FIELDS, CsvFactDecoder, FIELDS, FactDecoder, REQUIRED, fact_lane};
use super::fact::Fact;
use super::feed_health::view;
use super::feed_health::{FeedKey, feed_of};
use super::worst_feeds;
use crate::build::{Build, GraphPlan};
use crate::configuration::{CsvSettings, Format, Recorded, SourceSettings};
use crate::kind::{Arrived, Kind, SourceNames};
use operators::document::Shape;

/// What happens to stock.
#[derive(Debug)]
pub struct InventoryFacts;

impl Kind for InventoryFacts {
    type Record = Fact;
    type Stream = FeedKey;
    type Json = FactDecoder;
    type Avro = AvroFactDecoder;
    type Rows = CsvFactDecoder;
    type Batches = BatchDecoder;
    const NAME: &'static str = "inventory";
    const RECORDS: &'static str = "Facts";
    const GROUP: &'static str = "facts";
    const LATE: LatePolicy = LatePolicy::Fold;
    const FIELDS: &'static [(&'static str, Shape)] = FIELDS;
    const INNER_FIELDS: &'static [(&'static str, Shape)] = CORRECTS_FIELDS;
    const REQUIRED: &'static [&'static str] = REQUIRED;
    const BATCHES: Option<Format> = Some(Format::FactsBatch);

    fn streams(plan: &GraphPlan) -> Option<StreamPlan<Fact, FeedKey>> {
        view::since(plan).map(|since| StreamPlan { stream_of: feed_of, since })
    }

    fn lanes(source: &SourceSettings) -> Lanes {
        match &source.fact_sources {
            Some(names) => Lanes::Closed(names.iter().map(|name| fact_lane(name)).collect()),
            None => Lanes::Open,
        }
    }

    fn dedup_horizon_ms(recorded: &Recorded) -> i64 {
        recorded.inventory.dedup_horizon_ms
    }

    fn json(SourceNames { catalog, tenants, fact_sources }: SourceNames) -> FactDecoder {
        FactDecoder::new(catalog, tenants, fact_sources)
    }

    fn avro(json: FactDecoder) -> AvroFactDecoder {
        AvroFactDecoder::new(json)
    }

    fn rows(json: FactDecoder, csv: CsvSettings) -> CsvFactDecoder {
        CsvFactDecoder::new(json, csv)
    }

    fn batches(SourceNames { catalog, tenants, fact_sources }: SourceNames) -> BatchDecoder {
        BatchDecoder::new(catalog, tenants, fact_sources)
    }

    fn build<'scope>(build: &mut Build<'_, 'scope>, Arrived { released, streams, .. }: Arrived<'scope, Fact, FeedKey>) {
        super::build(build, released);
        view::publish(build, streams);
        worst_feeds::publish(build);
    }
}
