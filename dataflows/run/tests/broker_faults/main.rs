//! Faults against a real broker and real processes: the binary reads topics, maintains the views and writes them to topics
//! by transactions, and is disturbed on the way.
//!
//! A fault counts only if something other than the test says that it fired: what the run told, the line of the fault's
//! point, the state of the broker's process. After each, what a reader of committed messages has in the sink's topics has
//! to be, byte for byte, an uninterrupted replay of the disturbed run's own two logs, and the rows that it adds up to those
//! of the naive model over the same records; and every record that was produced was read once.
//!
//! Needs the feature `faults`; `scripts/faults.sh` runs it and prints the table. Tests whose names begin with `long` take
//! the most time. All of them disturb one broker, so they take turns.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by stopping")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "broker, place and the model are shared with tests that need more of them"
)]

#[path = "../../../../connectors/tests/kafka/broker.rs"]
mod broker;
#[path = "../../../../connectors/tests/kafka/hanging.rs"]
mod hanging;
#[path = "../../../tests/engine"]
mod engine {
    pub mod history;
    pub mod naive;
    pub mod rows;
}
#[path = "../main_job/place.rs"]
mod place;
#[path = "../faults/table.rs"]
mod table;

mod blind;
mod clock;
mod disks;
mod oracle;
mod outages;
mod points;
mod processes;
mod records;
mod rig;

use engine::{history, naive, rows};
