//! `[fact_sources.…]`: how far each source of facts is believed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Section;
use super::sources::SourceList;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{choice, flag, integer, name_is_well_formed};
use crate::inventory::ledger::EPSILON_MAX_MS;

/// How far one source of facts is believed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenFactSource {
    /// Of two counts of one instant, that of the lesser rank holds; 0 to 65535. Default: 100.
    rank: Given<i64>,
    /// `"A"`: its counts set stock. `"B"`: even its counts are evidence only. Default: `"A"`.
    class: Given<String>,
    /// Whether its snapshots set stock. Otherwise they are evidence. Default: false.
    authority: Given<bool>,
    /// How wrong its clock may be; widens the window of its counts; 0 to 600000. Default: 0.
    epsilon_ms: Given<i64>,
}

const RANK: RangeInclusive<i64> = 0..=u16::MAX as i64;
const EPSILON_MS: RangeInclusive<i64> = 0..=EPSILON_MAX_MS;

/// Whether a fact source's counts set stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactClass {
    /// They do.
    A,
    /// They are evidence only.
    B,
}

/// How far a fact source is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSourceSettings {
    /// Less is better.
    pub rank: u16,
    /// Whether its counts set stock.
    pub class: FactClass,
    /// Whether its snapshots set stock.
    pub authority: bool,
    /// How wrong its clock may be.
    pub epsilon_ms: i64,
}

impl Section for WrittenFactSource {
    type Read = Vec<(Spanned<String>, Table<Self>)>;
    type Needs<'a> = (&'a SourceList,);
    type Settled = BTreeMap<String, FactSourceSettings>;

    fn settle(read: &Self::Read, (sources,): (&SourceList,), mistakes: &mut Mistakes<'_>) -> Self::Settled {
        let mut settled = BTreeMap::new();
        for (name, table) in read {
            name_is_well_formed("a fact source's name", name, mistakes);
            settled.insert(name.get_ref().clone(), fact_source(&table.written, mistakes));
            // A misspelled name would silently leave the real one with the default belief.
            let mut lists = sources.settings.iter().filter_map(|source| source.fact_sources.as_ref());
            if !sources.any_has_all_facts && !lists.any(|list| list.contains(name.get_ref())) {
                let message = format!("no source has facts of \"{}\"", name.get_ref());
                mistakes.add(name.span(), message, "name it in a source's `fact_sources`, or leave this section out");
            }
        }
        settled
    }

    fn put(settled: Self::Settled, settings: &mut Settings) {
        settings.recorded.fact_sources = settled;
    }
}

fn fact_source(source: &WrittenFactSource, mistakes: &mut Mistakes<'_>) -> FactSourceSettings {
    let rank = integer("rank", &source.rank, RANK, 100, mistakes);
    FactSourceSettings {
        rank: u16::try_from(rank).unwrap_or(u16::MAX),
        class: choice("class", &source.class, &[("A", FactClass::A), ("B", FactClass::B)], mistakes)
            .unwrap_or(FactClass::A),
        authority: flag(&source.authority).unwrap_or(false),
        epsilon_ms: integer("epsilon_ms", &source.epsilon_ms, EPSILON_MS, 0, mistakes),
    }
}
