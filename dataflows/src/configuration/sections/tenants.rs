//! `[[tenants]]`: the tenants of the configuration, which sources declare by naming them, too.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;

use super::Section;
use super::sources::SourceList;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::Settings;
use crate::configuration::table::{Given, Table};
use crate::configuration::values::{name_is_new, name_is_well_formed, too_many};
use crate::names::Name;

/// A retailer's banner or customer; whatever belongs to one is never seen by another.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenTenant {
    /// Its name in records and views. Required.
    name: Given<String>,
}

/// Each tenant has two watermarks, which every tick computes.
const TENANTS_MAX: usize = 1_000;

/// The tenants of the configuration.
pub(super) struct TenantList {
    /// Those of `[[tenants]]`, then those that sources name.
    pub(super) names: Vec<Name>,
    /// Whether nothing is wrong where tenants are declared, so that an undeclared one is a mistake of its own.
    pub(super) are_known: bool,
    /// By source: whose records it may have, in the order of the names.
    by_source: Vec<Vec<Name>>,
}

impl Section for WrittenTenant {
    type Read = Vec<Table<Self>>;
    type Needs<'a> = (&'a SourceList,);
    type Settled = TenantList;

    fn settle(read: &Self::Read, (sources,): (&SourceList,), mistakes: &mut Mistakes<'_>) -> TenantList {
        let mut names: Vec<Name> = Vec::new();
        for table in read {
            table.required("name", &table.written.name, mistakes);
            if let Some(name) = &table.written.name
                && name_is_well_formed("a tenant's name", name, mistakes)
                && name_is_new("tenants", name, names.iter().map(Name::as_str), mistakes)
            {
                declare(name.get_ref().into(), &table.span, &mut names, mistakes);
            }
        }
        for (source, span) in sources.settings.iter().zip(&sources.tenant_spans) {
            for name in &source.tenants {
                if !names.contains(name) {
                    declare(name.clone(), span, &mut names, mistakes);
                }
            }
        }
        let are_known = sources.tenants_are_known && read.iter().all(|table| table.written.name.is_some());
        // What no configuration can do without: a source, and a tenant.
        match &sources.first {
            None if !sources.are_given => {
                let hint =
                    "begin one with a line `[[sources]]`, then `name`, `kind`, `files` or `topic`, and `tenants`";
                mistakes.add(0..0, "there is no source", hint);
            }
            Some(first) if names.is_empty() && are_known => {
                let hint = "add `tenants = [\"…\"]`, the names that the records give";
                mistakes.add(first.clone(), "no tenant is declared", hint);
            }
            _ => {}
        }
        let by_source = sources.settings.iter().map(|source| tenants_of(&source.tenants, &names)).collect();
        TenantList { names, are_known, by_source }
    }

    fn put(settled: TenantList, settings: &mut Settings) {
        settings.recorded.tenants = settled.names;
        for (source, tenants) in settings.recorded.sources.iter_mut().zip(settled.by_source) {
            source.tenants = tenants;
        }
    }
}

fn declare(name: Name, span: &Range<usize>, names: &mut Vec<Name>, mistakes: &mut Mistakes<'_>) {
    if names.len() == TENANTS_MAX {
        too_many("tenants", Some(span), TENANTS_MAX, mistakes);
    }
    names.push(name);
}

/// The tenants of a source that names these. Whoever names none has all of them. A list says who is there, not in which
/// order.
fn tenants_of(named: &[Name], all: &[Name]) -> Vec<Name> {
    let named: BTreeSet<&Name> = named.iter().collect();
    all.iter().filter(|tenant| named.is_empty() || named.contains(tenant)).cloned().collect()
}
