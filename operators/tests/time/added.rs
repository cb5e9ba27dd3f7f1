//! Partitions that are added while a run goes on: they count from the tick whose configuration first names them.

use operators::binding::{Advance, Binding, Coder, Status};
use operators::judge::Timeliness;
use operators::time::TimeMs;
use operators::topology::{Lanes, PartitionId, Topology};

use super::story::{MINUTE, SECOND, START_MS, Story, USUAL, closed, configuration, partition, topology};

/// A story of two partitions, the second of which is not named yet, at a watermark.
fn before() -> (Story, TimeMs) {
    let mut story = Story::with(vec![partition(true, closed(1)), partition(true, closed(1))], vec![USUAL]);
    story.is(0, Status::CaughtUp);
    story.tick(START_MS, &[(0, 0, START_MS)]);
    let sealed_ms = story.watermark();
    assert_eq!(sealed_ms, START_MS - USUAL.lateness_ms, "nobody waits for a partition that is not there yet");
    (story, sealed_ms)
}

#[test]
fn the_watermark_waits_for_an_added_partition_and_does_not_fall_for_it() {
    let (mut story, sealed_ms) = before();
    story.configured(START_MS + SECOND, vec![USUAL; 2], &[(0, 0, START_MS + SECOND)]);
    assert_eq!(story.watermark(), sealed_ms);
    story.tick(START_MS + MINUTE, &[(0, 0, START_MS + MINUTE)]);
    assert_eq!(story.watermark(), sealed_ms, "it is behind, and nobody knows how far");
    story.is(1, Status::CaughtUp);
    story.tick(START_MS + MINUTE, &[(1, 0, START_MS + MINUTE)]);
    assert_eq!(story.watermark(), START_MS + MINUTE - USUAL.lateness_ms);
}

#[test]
fn what_was_sealed_before_a_partition_was_added_stays_sealed() {
    let (mut story, sealed_ms) = before();
    story.configured(START_MS + SECOND, vec![USUAL; 2], &[]);
    assert_eq!(story.floor(1, 0), sealed_ms);
    let verdicts = story.tick(START_MS + SECOND, &[(1, 0, sealed_ms - 1), (1, 0, sealed_ms)]);
    assert_eq!(verdicts, [Timeliness::Late, Timeliness::OnTime]);
}

#[test]
fn the_remap_log_makes_room_for_the_partitions_that_its_configurations_name() {
    let mut coder = Coder::new(&Topology::default());
    let binding = |tick, partitions: usize, named: bool| Binding {
        tick,
        now_ms: START_MS,
        advances: (0..partitions as u32)
            .map(|number| Advance { partition: PartitionId(number), next: 100 * (tick + 1), status: Status::Behind })
            .collect(),
        configuration: named.then(|| configuration(vec![USUAL; partitions])),
        answers: Vec::new(),
        checkpoint: false,
    };
    let bindings = [binding(0, 1, true), binding(1, 1, false), binding(2, 2, true), binding(3, 2, false)];
    let entries: Vec<Vec<u8>> = bindings.iter().map(|binding| coder.encode(binding)).collect();
    // Whoever reads knows the partitions of the beginning.
    let mut reader = Coder::new(&topology(vec![partition(true, Lanes::Open)]));
    let read: Vec<Binding> = entries.iter().map(|entry| reader.decode(entry).unwrap()).collect();
    assert_eq!(read, bindings);
}
