//! Files and disks behind the traits of `operators`. Bytes only, no retail.

pub mod change_file;
pub mod data_folder;
pub mod files;
pub mod local_disk;
