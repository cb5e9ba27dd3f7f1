//! Files, disks, Kafka and a schema registry behind the traits of `operators`. Bytes only, no retail.

pub mod change_file;
pub mod checkpoint_store;
pub mod command_log;
pub mod data_folder;
pub mod fault;
pub mod files;
pub mod http_client;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod local_disk;
pub mod objects;
#[cfg(feature = "parquet")]
pub mod parquet_table;
pub mod registry;
pub mod secret;
