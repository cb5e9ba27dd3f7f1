//! A plan: the configuration together with the files that a run found, and what the engine needs of both.
//!
//! Its canonical text is recorded in the remap log. It holds everything that decides the outputs, defaults filled in, and
//! nothing else: two configurations with equal texts have equal outputs, and replay needs no other. Written are the keys in
//! ascending order, without spaces, and integers only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use operators::binding::Configuration;
use operators::time::{Tick, TimeMs};
use operators::topology::{Parameters, Partition, PartitionId, Topology};

use super::sections::SourceSettings;
use super::settings::{Recorded, Settings};
use crate::catalog::{Catalog, group_of};
use crate::digest::HashKey;
use crate::kind::KindId;
use crate::names::Name;

use input::times_of;
pub use input::{FileRecord, PartitionInput, TopicRecord};

mod input;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPlan {
    /// The place of its source in [`Recorded::sources`].
    pub source: usize,
    /// What it reads.
    pub input: PartitionInput,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The half of the settings that decides the outputs, with the promises of the sources decided.
    pub recorded: Recorded,
    /// By [`PartitionId`](operators::topology::PartitionId): each source's as the run found them when it began, in the order
    /// of the configuration; then those that were added, in the order in which that was found: partitions of topics, and
    /// those in which records enter again.
    pub partitions: Vec<PartitionPlan>,
    /// How many of them were added.
    added: usize,
    /// What the partitions feed.
    pub topology: Topology,
    /// How much disorder and silence they may have, and when the run first started.
    pub parameters: Parameters,
}

/// Why a recorded text is no plan.
#[derive(Debug, thiserror::Error)]
#[error("could not read the recorded configuration: {what}")]
pub struct RecordedError {
    what: String,
}

/// The canonical text's shape. Its version rises with every change of meaning, also of one that no field shows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanonicalText {
    version: u32,
    start_ms: TimeMs,
    #[serde(rename = "meaning")]
    recorded: Recorded,
    /// By source, then by partition.
    partitions: Vec<Vec<PartitionInput>>,
    /// Partitions that were added later, each with the place of its source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    added: Vec<(usize, PartitionInput)>,
}

const VERSION: u32 = 1;

impl Settings {
    /// The plan for what was found: by source, then by partition, what it reads.
    pub fn plan(&self, inputs: Vec<Vec<PartitionInput>>, start_ms: TimeMs) -> Plan {
        Plan::new(self.recorded.clone(), inputs, Vec::new(), start_ms)
    }
}

impl Plan {
    fn new(
        mut recorded: Recorded,
        inputs: Vec<Vec<PartitionInput>>,
        added: Vec<(usize, PartitionInput)>,
        start_ms: TimeMs,
    ) -> Plan {
        assert_eq!(recorded.sources.len(), inputs.len(), "each source has its partitions");
        decide_promises(&mut recorded, &inputs);
        let times = inputs.iter().map(|partitions| times_of(partitions)).collect::<Vec<_>>();
        for (source, times) in recorded.sources.iter_mut().zip(&times).filter(|(source, _)| source.measured) {
            source.lateness_ms = times.map_or(source.lateness_ms, |times| times.disorder_ms);
        }
        let ends_ms = times.iter().flatten().map(|times| times.latest_ms).max();
        let mut topology = Topology { partitions: Vec::new(), groups: groups(&recorded), ends_ms };
        let mut parameters = Parameters { lanes: Vec::new(), start_ms };
        let mut numbers = vec![0; recorded.sources.len()];
        let added_count = added.len();
        let begun = inputs
            .into_iter()
            .enumerate()
            .flat_map(|(source, of_source)| of_source.into_iter().map(move |input| PartitionPlan { source, input }));
        let added = added.into_iter().map(|(source, input)| PartitionPlan { source, input });
        let partitions: Vec<PartitionPlan> = begun.chain(added).collect();
        for PartitionPlan { source: place, input } in &partitions {
            let source = &recorded.sources[*place];
            parameters.lanes.push(source.lanes(source.kind.entry().dedup_horizon_ms(&recorded)));
            topology.partitions.push(match input {
                PartitionInput::ReEntry { re_enters, shown_once_read } => {
                    re_entry(&topology, PartitionId(*re_enters), *shown_once_read)
                }
                PartitionInput::Files(_) | PartitionInput::Topic(_) => {
                    numbers[*place] += 1;
                    partition(&recorded, source, numbers[*place] - 1, input)
                }
            });
        }
        Plan { recorded, partitions, added: added_count, topology, parameters }
    }

    /// This plan, recorded, as it goes on where `wanted` may differ from it: other parameters, more partitions of topics, and
    /// views and sinks that it did not have, which hold from the tick `since` on.
    /// Partitions are behind all others, so that numbers stay what they are, and are read from their very first record.
    pub fn continued(&self, wanted: &Plan, since: Tick) -> Plan {
        let (inputs, mut added) = self.recorded_inputs();
        for partition in &wanted.partitions {
            if let PartitionInput::Topic(record) = &partition.input
                && !self.topic_records(partition.source).any(|known| known.partition == record.partition)
            {
                let record = TopicRecord { first_offset: 0, ..record.clone() };
                added.push((partition.source, PartitionInput::Topic(record)));
            }
        }
        Plan::new(self.joined(wanted, since), inputs, added, self.parameters.start_ms)
    }

    /// The settings of this plan, recorded, as it goes on with those of `wanted`. Files stay divided as they were; where they
    /// would be divided otherwise now, what follows from that of identities holds as it was recorded, too.
    pub(super) fn joined(&self, wanted: &Plan, since: Tick) -> Recorded {
        let mut joined = wanted.recorded.added_to(&self.recorded, since);
        let (before, after) = (self.files_by_source(), wanted.files_by_source());
        for (source, after) in joined.sources.iter_mut().zip(after) {
            let known = self.recorded.sources.iter().zip(&before).find(|(known, _)| known.name == source.name);
            if let Some((known, before)) = known
                && before.len() != after.len()
            {
                source.identity_fixes_partition = known.identity_fixes_partition;
            }
        }
        joined
    }

    /// This plan of a run that is about to begin, with the key of its hashes.
    #[must_use]
    pub fn hashed_by(mut self, key: HashKey) -> Plan {
        self.recorded.hash_key = Some(key);
        self
    }

    /// This plan, in which records of every partition may enter again: each has one for that behind all others. Every run
    /// has them from its first tick on; one that was begun without gets them at its next start.
    pub fn with_re_entry(&self) -> Plan {
        let (inputs, mut added) = self.recorded_inputs();
        for (number, partition) in (0u32..).zip(&self.partitions) {
            if !matches!(partition.input, PartitionInput::ReEntry { .. }) && self.re_entry_of(number).is_none() {
                added.push((partition.source, PartitionInput::ReEntry { re_enters: number, shown_once_read: true }));
            }
        }
        Plan::new(self.recorded.clone(), inputs, added, self.parameters.start_ms)
    }

    /// The partition in which records of this one enter again, if there is one.
    fn re_entry_of(&self, number: u32) -> Option<&PartitionPlan> {
        self.partitions.iter().find(
            |partition| matches!(partition.input, PartitionInput::ReEntry { re_enters, .. } if re_enters == number),
        )
    }

    /// The topic partitions of a source.
    pub(super) fn topic_records(&self, source: usize) -> impl Iterator<Item = &TopicRecord> {
        self.partitions.iter().filter(move |partition| partition.source == source).filter_map(|partition| {
            match &partition.input {
                PartitionInput::Topic(record) => Some(record),
                PartitionInput::Files(_) | PartitionInput::ReEntry { .. } => None,
            }
        })
    }

    /// The offset from which each partition is read when the run begins.
    pub fn first_offsets(&self) -> Vec<u64> {
        self.partitions.iter().map(|partition| partition.input.first_offset()).collect()
    }

    /// The names that decoders and views need.
    pub fn catalog(&self) -> Catalog {
        self.recorded.catalog()
    }

    /// The source of a partition.
    pub fn source_of(&self, partition: &PartitionPlan) -> &SourceSettings {
        &self.recorded.sources[partition.source]
    }

    /// The canonical text.
    pub fn canonical(&self) -> String {
        let (partitions, added) = self.recorded_inputs();
        let text = CanonicalText {
            version: VERSION,
            start_ms: self.parameters.start_ms,
            recorded: self.recorded.clone(),
            partitions,
            added,
        };
        let mut value = serde_json::to_value(text).expect("a plan is strings, integers and flags under string keys");
        value.sort_all_objects();
        value.to_string()
    }

    /// The plan of a recorded text. Everything but the settings and the files is derived again.
    pub fn from_canonical(text: &str) -> Result<Plan, RecordedError> {
        let wrong = |what: String| RecordedError { what };
        let recorded: CanonicalText = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if recorded.version != VERSION {
            let what = format!("it has version {}, and this build knows only {VERSION}", recorded.version);
            return Err(wrong(what));
        }
        check_references(&recorded).map_err(wrong)?;
        let plan = Plan::new(recorded.recorded, recorded.partitions, recorded.added, recorded.start_ms);
        // What is written is what was recorded, to the byte, or else the text comes from another build or was changed.
        match plan.canonical() == text {
            true => Ok(plan),
            false => Err(wrong("it is not in the canonical form".to_owned())),
        }
    }

    /// SHA-256 of the canonical text, in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256_of(&self.canonical())
    }

    /// The entry of the remap log.
    pub fn configuration(&self, build: &str) -> Configuration {
        let canonical = self.canonical();
        let sha256 = sha256_of(&canonical);
        Configuration { canonical, sha256, build: build.to_owned(), parameters: self.parameters.clone() }
    }

    /// The files of each partition of each source.
    pub(super) fn files_by_source(&self) -> Vec<Vec<Vec<FileRecord>>> {
        let mut by_source = vec![Vec::new(); self.recorded.sources.len()];
        for partition in &self.partitions {
            if let PartitionInput::Files(files) = &partition.input {
                by_source[partition.source].push(files.clone());
            }
        }
        by_source
    }

    /// What each partition of each source read when the run began, and the partitions that were added.
    pub(super) fn recorded_inputs(&self) -> (Vec<Vec<PartitionInput>>, Vec<(usize, PartitionInput)>) {
        let (begun, later) = self.partitions.split_at(self.partitions.len() - self.added);
        let mut by_source = vec![Vec::new(); self.recorded.sources.len()];
        for partition in begun {
            by_source[partition.source].push(partition.input.clone());
        }
        (by_source, later.iter().map(|partition| (partition.source, partition.input.clone())).collect())
    }
}

fn sha256_of(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names of the groups, as the catalog numbers them.
fn groups(recorded: &Recorded) -> Vec<String> {
    let of_tenant =
        |tenant: &Name| KindId::all().map(move |kind| format!("{tenant}/{}", kind.group())).collect::<Vec<_>>();
    recorded.tenants.iter().flat_map(of_tenant).collect()
}

fn partition(recorded: &Recorded, source: &SourceSettings, number: usize, input: &PartitionInput) -> Partition {
    let lanes = source.kind.entry().lanes(source);
    let group = |tenant| (group_of(tenant, source.kind), lanes.clone());
    Partition {
        name: format!("{}/{number}", source.name),
        release: source.kind.release(),
        groups: recorded.tenants_of(source).into_iter().map(group).collect(),
        identity_fixes_partition: source.identity_fixes_partition.unwrap_or(false),
        live: matches!(input, PartitionInput::Topic(_)),
        re_enters: None,
        shown_once_read: false,
        weight: source.weight,
    }
}

/// The partition in which records of another one enter again: with its identities, without lanes.
fn re_entry(topology: &Topology, of: PartitionId, shown_once_read: bool) -> Partition {
    let entered = &topology.partitions[of.0 as usize];
    Partition {
        name: format!("re-entry/{}", entered.name),
        release: entered.release,
        groups: Vec::new(),
        identity_fixes_partition: entered.identity_fixes_partition,
        live: false,
        re_enters: Some(of),
        shown_once_read,
        weight: 1,
    }
}

/// Identities are within a tenant, so a tenant with one partition of a kind has each of its identities in that one only.
/// Not so of a topic: a partition may be added to it, into which a record is sent again.
fn decide_promises(recorded: &mut Recorded, inputs: &[Vec<PartitionInput>]) {
    let mut partitions_of: BTreeMap<(KindId, Name), usize> = BTreeMap::new();
    for (source, partitions) in recorded.sources.iter().zip(inputs) {
        for tenant in &source.tenants {
            *partitions_of.entry((source.kind, tenant.clone())).or_default() += partitions.len();
        }
    }
    for (source, partitions) in recorded.sources.iter_mut().zip(inputs) {
        let is_alone = source.tenants.iter().all(|tenant| partitions_of[&(source.kind, tenant.clone())] == 1);
        let derived = is_alone && !partitions.iter().any(|input| matches!(input, PartitionInput::Topic(_)));
        source.identity_fixes_partition.get_or_insert(derived);
    }
}

/// Names in a recorded text refer to each other; a damaged one must be an error, not a stop.
fn check_references(recorded: &CanonicalText) -> Result<(), String> {
    let CanonicalText { recorded, partitions, added, .. } = recorded;
    if partitions.len() != recorded.sources.len() {
        return Err(format!("it has {} sources, but files of {}", recorded.sources.len(), partitions.len()));
    }
    if let Some((source, _)) = added.iter().find(|(source, _)| *source >= recorded.sources.len()) {
        return Err(format!("it has {} sources, but a partition of number {source}", recorded.sources.len()));
    }
    let begun = (0..).zip(partitions);
    let begun = begun.flat_map(|(source, inputs)| inputs.iter().map(move |input| (source, input, false)));
    let added = added.iter().map(|(source, input)| (*source, input, true));
    let mut sources: Vec<Option<usize>> = Vec::new();
    for (source, input, is_added) in begun.chain(added) {
        sources.push(match input {
            PartitionInput::Topic(_) => Some(source),
            PartitionInput::Files(_) if !is_added => Some(source),
            PartitionInput::Files(_) => return Err("files were added to it".to_owned()),
            PartitionInput::ReEntry { re_enters, .. } => match sources.get(*re_enters as usize) {
                Some(of) if is_added && *of == Some(source) => None,
                _ => return Err(format!("records enter partition {re_enters} again, which is none of their source's")),
            },
        });
    }
    let of_sources = recorded.sources.iter().flat_map(|source| &source.tenants);
    let of_experiments = recorded.experiments.iter().map(|experiment| &experiment.tenant);
    match of_sources.chain(of_experiments).find(|tenant| recorded.tenant_of(tenant).is_none()) {
        Some(tenant) => Err(format!("it does not declare the tenant \"{tenant}\" that it names")),
        None => Ok(()),
    }
}
