//! Experiment events as a kind of records.

use operators::release::LatePolicy;
use operators::topology::Lanes;

use super::decode::{AvroEventDecoder, CsvEventDecoder, EventDecoder, FIELDS, REQUIRED};
use super::event::Event;
use super::late_events;
use crate::build::Build;
use crate::configuration::{CsvSettings, SourceSettings};
use crate::kind::{Arrived, Kind, SourceNames};
use operators::document::Shape;

/// What visitors do.
#[derive(Debug)]
pub struct ExperimentEvents;

impl Kind for ExperimentEvents {
    type Record = Event;
    type Stream = ();
    type Json = EventDecoder;
    type Avro = AvroEventDecoder;
    type Rows = CsvEventDecoder;
    /// There is no such format of events; a checked configuration asks for none.
    type Batches = EventDecoder;
    const NAME: &'static str = "experiment";
    const RECORDS: &'static str = "Events";
    const GROUP: &'static str = "events";
    const LATE: LatePolicy = LatePolicy::SetAside;
    const FIELDS: &'static [(&'static str, Shape)] = FIELDS;
    const REQUIRED: &'static [&'static str] = REQUIRED;

    fn is_counted_apart(event: &Event) -> bool {
        event.unit.is_empty()
    }

    fn lanes(_: &SourceSettings) -> Lanes {
        Lanes::Closed(vec![0])
    }

    fn json(SourceNames { catalog, tenants, .. }: SourceNames) -> EventDecoder {
        EventDecoder::new(catalog, tenants)
    }

    fn avro(json: EventDecoder) -> AvroEventDecoder {
        AvroEventDecoder::new(json)
    }

    fn rows(json: EventDecoder, csv: CsvSettings) -> CsvEventDecoder {
        CsvEventDecoder::new(json, csv)
    }

    fn batches(names: SourceNames) -> EventDecoder {
        Self::json(names)
    }

    fn build<'scope>(build: &mut Build<'_, 'scope>, Arrived { released, set_aside, .. }: Arrived<'scope, Event, ()>) {
        super::build(build, released);
        late_events::publish(build, set_aside);
    }
}
