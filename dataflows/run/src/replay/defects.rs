//! Defects of older builds whose new reading holds for every folder: named where the bytes of a replay differ by one.
//!
//! `docs/upgrading.md` lists each with the name that it has here. Whether a difference is one of them can't be proven from the
//! bytes; what is told is which ones may be, by what the folder reads and where it differs.

use dataflows::configuration::{Format, Plan};
use dataflows::dead_letters::DeadLetters;
use dataflows::experiment::session_minutes::SessionMinutes;
use dataflows::experiment::variant_minutes::VariantMinutes;
use dataflows::view::View;

/// A defect.
struct Defect {
    /// Its name in the document.
    name: &'static str,
    /// Whether a folder with this plan may differ by it.
    reads: fn(&Plan) -> bool,
    /// Whether it shows in this view; a record that is read otherwise shows in any.
    shows_in: fn(&str) -> bool,
}

fn reads_csv(plan: &Plan) -> bool {
    plan.recorded.sources.iter().any(|source| source.format == Format::Csv)
}

const DEFECTS: [Defect; 4] = [
    Defect { name: "CSV, a stray quote", reads: reads_csv, shows_in: |_| true },
    Defect { name: "CSV, files whose lines end with `\\r` alone", reads: reads_csv, shows_in: |_| true },
    Defect { name: "The detail of a dead letter", reads: |_| true, shows_in: |view| view == DeadLetters::NAME },
    Defect {
        name: "Sums of `quantity` and `value`",
        reads: |_| true,
        shows_in: |view| [SessionMinutes::NAME, VariantMinutes::NAME].contains(&view),
    },
];

/// The names of those by which a file of a folder may differ; none of a folder that a build without these defects began.
pub(super) fn defects_of(plan: &Plan, file: &str) -> Vec<&'static str> {
    // Builds that draw a key have none of these.
    if plan.recorded.hash_key.is_some() {
        return Vec::new();
    }
    let shows_in = |defect: &&Defect| file.split('/').any(|part| (defect.shows_in)(part));
    DEFECTS.iter().filter(|defect| (defect.reads)(plan)).filter(shows_in).map(|defect| defect.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::digest::HashKey;

    fn plan(more: &str) -> Plan {
        let text =
            format!("[[sources]]\nname = \"own\"\nkind = \"experiment\"\nfiles = \"*\"\ntenants = [\"me\"]\n{more}");
        let settings = dataflows::configuration::parse(&text, "own.toml", crate::BUILT).unwrap();
        settings.plan(vec![Vec::new()], 0)
    }

    const CSV: &str = "format = \"csv\"\n[sources.columns]\ntenant = { value = \"me\" }\nid = \"id\"\nsession = \"s\"\nkind = \"k\"\n\
                       event_time_ms = \"t\"\n";

    #[test]
    fn a_difference_has_the_names_of_what_it_may_be() {
        let csv = plan(CSV);
        assert_eq!(defects_of(&csv, "sinks/variant_totals/shard-0.ndjson").len(), 2);
        assert_eq!(defects_of(&csv, "sinks/dead_letters/shard-0.ndjson").len(), 3);
        assert!(defects_of(&plan(""), "sinks/stock/shard-0.ndjson").is_empty());
        let sums = ["Sums of `quantity` and `value`"];
        assert_eq!(defects_of(&plan(""), "history/12/variant_minutes/1-2-3-4.parquet"), sums);
        let new = csv.hashed_by(HashKey::new(1));
        assert!(defects_of(&new, "sinks/dead_letters/shard-0.ndjson").is_empty(), "it began without them");
    }

    #[test]
    fn the_document_lists_each_by_its_name() {
        let document = include_str!("../../../../docs/upgrading.md");
        for Defect { name, .. } in DEFECTS {
            assert!(document.contains(&format!("* {name}")), "docs/upgrading.md lacks {name}");
        }
    }
}
