//! Mathematics of experiments with no dataflow and no I/O: pure functions of numbers and names.

pub mod assignment;
pub mod moments;
mod siphash;
