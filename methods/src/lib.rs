//! Mathematics of experiments with no dataflow and no I/O: pure functions of numbers and names.

pub mod assignment;
pub mod chi_square;
pub mod moments;
pub mod real;
mod siphash;
