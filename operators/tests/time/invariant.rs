//! The invariant of verdicts, over thousands of random histories: a record that is on time at `T` is not behind `W(T-1)`.
//!
//! The histories have outages, fast, slow and stuck clocks, statuses that flip, bursts long enough for log time to go by
//! the records, and configurations that change.

use operators::binding::Status;
use operators::judge::{RECENT_RECORDS, Timeliness};
use operators::time::{MINUS_INFINITY, TimeMs};
use operators::topology::{GroupId, LaneParameters, Lanes};
use proptest::prelude::*;
use proptest::sample::select;

use super::story::{MINUTE, SECOND, START_MS, Said, Story, closed, configuration, feeding};

/// Lanes that a partition may have within a group.
const LANES: u32 = 3;

#[derive(Clone, Debug)]
struct Plan {
    /// Of each partition: whether it is live, and the groups that it feeds, each open or closed.
    partitions: Vec<(bool, Vec<(GroupId, bool)>)>,
    parameters: Vec<LaneParameters>,
    ticks: Vec<TickPlan>,
}

#[derive(Clone, Debug)]
struct TickPlan {
    /// By how much the clock went on.
    now_by_ms: i64,
    /// Partitions whose status changes.
    statuses: Vec<(u32, Status)>,
    /// Records: partition, which of its groups, lane, how far ahead of the clock, how often in a row.
    records: Vec<(u32, usize, u32, i64, usize)>,
    /// What one partition's lanes are allowed from now on.
    change: Option<(u32, LaneParameters)>,
}

fn lane_parameters() -> impl Strategy<Value = LaneParameters> {
    let lateness = select(vec![0, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE]);
    let hold = select(vec![0, SECOND, 30 * SECOND, 5 * MINUTE]);
    let idle = select(vec![0, 10 * SECOND, 2 * MINUTE, 10 * MINUTE]);
    (lateness, hold, idle, select(vec![0, MINUTE, 60 * MINUTE])).prop_map(
        |(lateness_ms, hold_ms, idle_ms, skew_max_ms)| LaneParameters {
            lateness_ms,
            hold_ms,
            idle_ms,
            skew_max_ms,
            dedup_horizon_ms: 0,
        },
    )
}

fn tick_plan(partitions: u32) -> impl Strategy<Value = TickPlan> {
    let status = select(vec![Status::Behind, Status::CaughtUp, Status::CaughtUp, Status::Idle]);
    let ahead_ms = prop_oneof![
        6 => -20 * SECOND..SECOND,
        2 => -15 * MINUTE..0i64,
        1 => 0..10 * MINUTE,
        1 => -90 * MINUTE..2 * 60 * MINUTE,
    ];
    let times = prop_oneof![60 => Just(1usize), 1 => Just(RECENT_RECORDS as usize)];
    let record = (0..partitions, 0..2usize, 0..LANES, ahead_ms, times);
    let now_by_ms = prop_oneof![8 => 0..30 * SECOND, 2 => 0..5 * MINUTE, 1 => Just(0), 1 => Just(3 * 60 * MINUTE)];
    (
        now_by_ms,
        prop::collection::vec((0..partitions, status), 0..3),
        prop::collection::vec(record, 0..12),
        prop::option::weighted(0.1, (0..partitions, lane_parameters())),
    )
        .prop_map(|(now_by_ms, statuses, records, change)| TickPlan { now_by_ms, statuses, records, change })
}

fn plan() -> impl Strategy<Value = Plan> {
    let group = (0..2u16, any::<bool>());
    let partition = (any::<bool>(), group.clone(), prop::option::of(group)).prop_map(|(live, first, second)| {
        let mut groups = vec![(GroupId(first.0), first.1)];
        groups.extend(second.filter(|second| second.0 != first.0).map(|second| (GroupId(second.0), second.1)));
        (live, groups)
    });
    prop::collection::vec(partition, 1..4).prop_flat_map(|partitions| {
        let count = partitions.len();
        (
            Just(partitions),
            prop::collection::vec(lane_parameters(), count),
            prop::collection::vec(tick_plan(count as u32), 1..25),
        )
            .prop_map(|(partitions, parameters, ticks)| Plan { partitions, parameters, ticks })
    })
}

/// What a history reached: a property that holds of nothing proves nothing.
#[derive(Default)]
struct Reached {
    on_time: u64,
    late: u64,
    /// Late by the floor alone, not by the lane's own greatest.
    floored: u64,
}

fn hold(plan: &Plan) -> Result<Reached, TestCaseError> {
    let lanes = |open: bool| if open { Lanes::Open } else { closed(LANES.into()) };
    let partitions = plan
        .partitions
        .iter()
        .map(|(live, groups)| feeding(*live, groups.iter().map(|(group, open)| (*group, lanes(*open))).collect()));
    let mut story = Story::with(partitions.collect(), plan.parameters.clone());
    let mut parameters = plan.parameters.clone();
    let (mut now_ms, mut reached) = (START_MS, Reached::default());
    let mut greatest = std::collections::BTreeMap::<(u32, GroupId, u128), TimeMs>::new();
    for (tick, step) in plan.ticks.iter().enumerate() {
        now_ms += step.now_by_ms;
        for (partition, status) in &step.statuses {
            story.is(*partition, *status);
        }
        if let Some((partition, changed)) = step.change {
            parameters[partition as usize] = changed;
        }
        let changed = step.change.map(|_| configuration(parameters.clone()));
        let said: Vec<(GroupId, Said)> = step
            .records
            .iter()
            .flat_map(|(partition, group, lane, ahead_ms, times)| {
                let groups = &plan.partitions[*partition as usize].1;
                let group = groups[group % groups.len()].0;
                vec![(group, (*partition, u128::from(*lane), now_ms + ahead_ms)); *times]
            })
            .collect();
        let sealed = story.watermarks().to_vec();
        let verdicts = story.tell(now_ms, changed, &said);
        for ((group, (partition, lane, at_ms)), verdict) in said.into_iter().zip(verdicts) {
            let sealed_ms = sealed[group.0 as usize];
            let greatest_ms = greatest.entry((partition, group, lane)).or_insert(MINUS_INFINITY);
            let lateness_ms = parameters[partition as usize].lateness_ms;
            let behind_its_lane = at_ms < greatest_ms.saturating_sub(lateness_ms);
            match verdict {
                Timeliness::OnTime => {
                    prop_assert!(at_ms >= sealed_ms, "tick {tick}: {at_ms} is on time and behind {sealed_ms}");
                    prop_assert!(!behind_its_lane, "tick {tick}: {at_ms} is on time and behind its lane");
                    reached.on_time += 1;
                }
                // Nobody is called late who is behind neither his lane nor what is sealed.
                Timeliness::Late => {
                    prop_assert!(behind_its_lane || at_ms < sealed_ms, "tick {tick}: {at_ms} is late for no reason");
                    reached.late += 1;
                    reached.floored += u64::from(!behind_its_lane);
                }
                Timeliness::Future => continue,
            }
            *greatest_ms = (*greatest_ms).max(at_ms);
        }
        let rose = story.watermarks().iter().zip(&sealed).all(|(after, before)| after >= before);
        prop_assert!(rose, "tick {tick}: {sealed:?}, then {:?}", story.watermarks());
    }
    Ok(reached)
}

#[test]
fn a_record_on_time_at_a_tick_is_not_behind_the_watermark_of_the_tick_before() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4_000)
    });
    let total = std::cell::RefCell::new(Reached::default());
    let outcome = runner.run(&plan(), |plan| {
        let reached = hold(&plan)?;
        let mut total = total.borrow_mut();
        total.on_time += reached.on_time;
        total.late += reached.late;
        total.floored += reached.floored;
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let Reached { on_time, late, floored } = total.into_inner();
    assert!(
        on_time > 50_000 && late > 20_000 && floored > 5_000,
        "{on_time} on time, {late} late, {floored} by the floor"
    );
}
