//! Plans, and their canonical text.

use operators::topology::{GroupId, LaneParameters, Lanes, ReleaseId};
use proptest::prelude::*;

use super::*;
use crate::inventory::decode::fact_lane;

#[test]
fn partitions_feed_the_groups_of_their_tenants() {
    let plan = plan(&settings(SAMPLE));
    let groups = ["complete-journey", "online-retail", "generated"];
    let groups: Vec<String> =
        groups.iter().flat_map(|tenant| ["events", "facts"].map(|kind| format!("{tenant}/{kind}"))).collect();
    assert_eq!(plan.topology.groups, groups);
    let stock = &plan.topology.partitions[5];
    assert_eq!(
        (stock.name.as_str(), stock.release, stock.live, stock.weight),
        ("generated-stock/0", ReleaseId(1), false, 1)
    );
    let lanes = Lanes::Closed(vec![fact_lane("generated-stock")]);
    assert_eq!(stock.groups, [(GroupId(1), lanes.clone()), (GroupId(3), lanes)]);
    let events = &plan.topology.partitions[2];
    assert_eq!((events.release, &events.groups), (ReleaseId(0), &vec![(GroupId(4), Lanes::Closed(vec![0]))]));
    // Each of the real tenants has two partitions of facts.
    let promises: Vec<bool> = plan.topology.partitions.iter().map(|each| each.identity_fixes_partition).collect();
    assert_eq!(promises, [true, true, true, false, false, false, true]);
    assert!(matches!(&plan.partitions[5].input, PartitionInput::Files(files) if files.len() == 2));
    assert_eq!(plan.source_of(&plan.partitions[5]).name, "generated-stock");
    let catalog = plan.catalog();
    assert_eq!((catalog.event_group(2), catalog.fact_group(1)), (GroupId(4), GroupId(3)));
}

#[test]
fn facts_of_any_source_have_open_lanes_and_only_facts_have_a_horizon() {
    let text = format!("{OWN}[[sources]]\nname = \"facts\"\nkind = \"inventory\"\nfiles = \"f\"\nparallel = true\n");
    let plan = plan(&settings(&text));
    assert_eq!(plan.topology.partitions.len(), 3);
    assert_eq!(plan.topology.partitions[2].name, "facts/1");
    assert_eq!(plan.topology.partitions[2].groups, [(GroupId(1), Lanes::Open)]);
    assert!(!plan.topology.partitions[2].identity_fixes_partition);
    let of_events = LaneParameters {
        lateness_ms: 600_000,
        hold_ms: 1_800_000,
        idle_ms: 3_600_000,
        skew_max_ms: 60_000,
        dedup_horizon_ms: 0,
    };
    let of_facts = LaneParameters { dedup_horizon_ms: 86_400_000, ..of_events };
    assert_eq!(plan.parameters.lanes, [of_events, of_facts, of_facts]);
    assert_eq!(plan.parameters.start_ms, 1_736_000_000_000);
}

#[test]
fn a_promise_that_is_made_is_kept() {
    let promised = |text: &str| plan(&settings(text)).topology.partitions[0].identity_fixes_partition;
    assert!(promised(OWN));
    assert!(!promised(&format!("{OWN}identity_fixes_partition = false\n")));
    assert!(!promised(&format!("{OWN}parallel = true\n")));
    assert!(promised(&format!("{OWN}parallel = true\nidentity_fixes_partition = true\n")));
}

#[test]
fn the_canonical_text_is_frozen() {
    let plan = plan(&settings(&format!(
        "{OWN}[[experiments]]\ntenant = \"me\"\nname = \"x\"\nvariants = [{{ name = \"a\" }}, {{ name = \"b\" }}]\n"
    )));
    // The text that commit a19e63e wrote is read, and written again byte for byte.
    let frozen = include_str!("canonical.json").trim_end();
    assert_eq!(Plan::from_canonical(frozen).unwrap().canonical(), frozen);
    // A new plan has what was added to the list of views since then, and is the same otherwise.
    let mut as_then = plan.clone();
    as_then.recorded.views.retain(|view, _| view.index() < 8);
    // Its sources of files had the lateness of `[time]`, and rows left views over files, too.
    as_then.recorded.sources.iter_mut().for_each(|source| source.measured = false);
    for (view, settings) in &mut as_then.recorded.views {
        settings.retention_ms = view.stays().default_ms();
    }
    assert_eq!(as_then.canonical(), frozen);
    assert_eq!(plan.configuration("build").sha256, plan.sha256());
    assert_eq!(plan.sha256().len(), 64);
}

#[test]
fn what_decides_no_output_is_not_in_the_canonical_text() {
    let before = plan(&settings(OWN)).canonical();
    let text = format!(
        "data_dir = \"elsewhere\"\ndata_bytes_max = 1048576\nlisten = \"0.0.0.0:1\"\n{}\n[time]\ntick_ms = 1\n\
         tick_bytes = 4096\nin_flight = 1\n[views.stock]\nhistory_ticks = 1\nhistory_bytes = 1\n",
        OWN.replace("*.ndjson", "./*.nd*")
    );
    assert_eq!(plan(&settings(&text)).canonical(), before);
    for changed in ["weight = 2", "lateness_ms = 1", "[views.stock]\nshards = 2", "[sessions]\nkeep_ms = 60000"] {
        assert_ne!(plan(&settings(&format!("{OWN}{changed}\n"))).canonical(), before, "{changed}");
    }
}

#[test]
fn a_damaged_text_is_an_error() {
    let text = plan(&settings(SAMPLE)).canonical();
    let broken = [
        text.replacen("\"version\":1", "\"version\":2", 1),
        text.replacen("\"tenants\":[\"complete-journey\"]", "\"tenants\":[\"nobody\"]", 1),
        text.replacen("\"tenant\":\"generated\"", "\"tenant\":\"nobody\"", 1),
        text.replacen("\"start_ms\":", "\"start_ms\": ", 1),
        text.replacen("\"weight\":1", "\"weight\":-1", 1),
        text[..text.len() / 2].to_owned(),
    ];
    for damaged in broken {
        assert_ne!(damaged, text);
        let error = Plan::from_canonical(&damaged).unwrap_err();
        assert!(error.to_string().starts_with("could not read the recorded configuration: "), "{error}");
    }
}

/// Sections with their lines; those before the bar are required. Lists of one header keep their order.
const SECTIONS: &[(&str, &[&str], &[&str])] = &[
    ("[time]", &[], &["lateness_ms = 5", "hold_ms = 0", "tick_ms = 7"]),
    (
        "[[sources]]",
        &["name = \"a\"", "kind = \"experiment\"", "files = \"a*\"", "tenants = [\"t\", \"u\"]"],
        &["parallel = true", "weight = 3", "idle_ms = 9", "identity_fixes_partition = true"],
    ),
    (
        "[[sources]]",
        &["name = \"b\"", "kind = \"inventory\"", "files = \"b*\""],
        &["tenants = [\"u\"]", "fact_sources = [\"pos\", \"ü\"]", "skew_max_ms = 0"],
    ),
    ("[[tenants]]", &["name = \"v\""], &[]),
    (
        "[[experiments]]",
        &["name = \"x\"", "tenant = \"v\"", "variants = [{ name = \"k\" }, { weight = 4, name = \"l\" }]"],
        &["population = \"exposed\"", "layer = \"m\"", "seed = \"n\"", "traffic = [1, 2]"],
    ),
    ("[fact_sources.pos]", &[], &["rank = 7", "class = \"B\"", "authority = true", "epsilon_ms = 6"]),
    ("[views.stock]", &[], &["enabled = false", "sink = \"none\"", "shards = 3"]),
    ("[views.late_events]", &[], &["retention_ms = 1"]),
    ("[inventory]", &[], &["safety_stock = 2", "dedup_horizon_ms = 3"]),
];

/// The sections with some of their lines, in some order, with comments and blanks in between.
fn written(chosen: &[bool], order: &[u32]) -> String {
    let mut chosen = chosen.iter().cycle();
    let mut order = order.iter().cycle();
    let mut text = String::new();
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for (header, required, optional) in SECTIONS {
        let optional = optional.iter().filter(|_| *chosen.next().unwrap_or(&true));
        sections.push((header, required.iter().chain(optional).copied().collect()));
    }
    let mut headers: Vec<&str> = sections.iter().map(|section| section.0).collect();
    headers.dedup();
    headers.sort_by_cached_key(|_| order.next());
    sections.sort_by_key(|section| headers.iter().position(|header| *header == section.0));
    for (header, mut lines) in sections {
        lines.sort_by_cached_key(|_| order.next());
        text.push_str(&format!("{header}\n"));
        for line in lines {
            let blank = if order.next().is_some_and(|number| number % 2 == 0) { "\n   # nothing\n\t" } else { "" };
            text.push_str(&format!("{blank}{} # said\n", line.replace(" = ", "  =\t")));
        }
    }
    text
}

proptest! {
    #[test]
    fn order_blanks_and_comments_say_nothing(
        chosen in prop::collection::vec(any::<bool>(), 40),
        order in prop::collection::vec(any::<u32>(), 101),
    ) {
        let plain = plan(&settings(&written(&chosen, &[1])));
        let shuffled = plan(&settings(&written(&chosen, &order)));
        prop_assert_eq!(plain.canonical(), shuffled.canonical());
    }

    #[test]
    fn a_plan_is_rebuilt_from_its_canonical_text(chosen in prop::collection::vec(any::<bool>(), 40)) {
        let plan = plan(&settings(&written(&chosen, &[1])));
        let rebuilt = Plan::from_canonical(&plan.canonical()).unwrap();
        prop_assert_eq!(rebuilt.canonical(), plan.canonical());
        prop_assert_eq!(rebuilt, plan);
    }

    #[test]
    fn any_text_is_settings_or_mistakes(text in "[\\[\\]a-z_=\"0-9 \n{},.#]{0,80}") {
        let _ = parse(&text, "aisle.toml", Built::ALL);
    }
}
