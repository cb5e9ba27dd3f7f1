//! The keys that stand at the top of the file, outside of any section.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::de::DeTable;

use super::checkpoints::CheckpointSettings;
use super::history::ArchiveSettings;
use super::http::HttpSettings;
use crate::configuration::mistake::Mistakes;
use crate::configuration::settings::{Local, Recorded, Settings};
use crate::configuration::table::{Given, Table, fields_of, read_table};
use crate::configuration::values::unsigned;

/// The file as a whole. Only one source with one tenant is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WrittenFile {
    /// Where everything that Aisle writes goes, relative to the working directory. Default: `"./aisle-data"`.
    data_dir: Given<String>,
    /// The most that the data folder may hold, in bytes, at least 1048576. Default: 4294967296, which is 4 GiB.
    data_bytes_max: Given<i64>,
    /// The most memory that a process of the run may use, in bytes, at least 67108864, which is 64 MiB: it ends with a sentence before
    /// the system ends it without one, and goes on when it is started again. Default: three quarters of what the machine, or the
    /// control group of the process, has.
    memory_bytes_max: Given<i64>,
    /// The address and port where views are served. Default: `"127.0.0.1:7171"`.
    listen: Given<String>,
}

const DATA_BYTES: RangeInclusive<i64> = 1 << 20..=i64::MAX;
const MEMORY_BYTES: RangeInclusive<i64> = 64 << 20..=i64::MAX;

/// Reads what is left of the file without its sections, whose names are known here, too.
pub(super) fn read(root: DeTable<'_>, sections: &[&'static str], mistakes: &mut Mistakes<'_>) -> Table<WrittenFile> {
    let known = [fields_of::<WrittenFile>(), sections].concat();
    read_table(root, 0..0, &known, mistakes)
}

/// The settings of these keys, into which each section puts its own.
pub(super) fn settle(read: &Table<WrittenFile>, mistakes: &mut Mistakes<'_>) -> Settings {
    let WrittenFile { data_dir, data_bytes_max, memory_bytes_max, listen } = &read.written;
    if let Some(given) = data_dir
        && given.get_ref().is_empty()
    {
        mistakes.add(given.span(), "`data_dir` is empty", "name a folder, or leave the key out for `./aisle-data`");
    }
    let local = Local {
        data_dir: data_dir.as_ref().map_or("./aisle-data", |given| given.get_ref()).to_owned(),
        data_bytes_max: unsigned("data_bytes_max", data_bytes_max, DATA_BYTES, 4 << 30, mistakes),
        memory_bytes_max: memory_bytes_max
            .is_some()
            .then(|| unsigned("memory_bytes_max", memory_bytes_max, MEMORY_BYTES, 0, mistakes)),
        listen: listen_address(listen, mistakes),
        http: HttpSettings::default(),
        tick_ms: 0,
        tick_bytes: 0,
        in_flight: 0,
        kafka: None,
        logs: None,
        registry: None,
        history: BTreeMap::new(),
        checkpoints: CheckpointSettings::default(),
        deliveries: Vec::new(),
        archive: ArchiveSettings::default(),
    };
    Settings { local, recorded: Recorded::default(), inputs: Vec::new() }
}

fn listen_address(given: &Given<String>, mistakes: &mut Mistakes<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 7171));
    let Some(given) = given else { return default };
    given.get_ref().parse().unwrap_or_else(|_| {
        let message = format!("`listen` is \"{}\", which is not an address and a port", given.get_ref());
        mistakes.add(given.span(), message, "write an address in numbers and a port, such as \"127.0.0.1:7171\"");
        default
    })
}
