//! The formats of states: what decides whether a build can restore a checkpoint that another build wrote.
//!
//! A build is a commit, and most commits leave every state as it is. So an operator says in which format it codes its state,
//! by a number that rises with each change of the coding, and a checkpoint names the operators that it has states of, each
//! with that number. A build restores it if it has all of these operators and reads these formats. An operator that the
//! checkpoint does not name begins without state, as of the checkpoint's tick.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format of every state that was written before checkpoints named formats.
pub const FIRST_STATE_FORMAT: u32 = 1;

/// The operators of a graph that have state, by name, each with the format of its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateFormats(BTreeMap<String, u32>);

/// Why a checkpoint can't be restored by a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The checkpoint has the state of an operator that the graph does not have: it would be lost.
    #[error("it holds the state of an operator \"{operator}\", which this build does not have with this configuration")]
    UnknownOperator {
        /// The operator's name.
        operator: String,
    },
    /// The state of an operator is coded in a way that this build does not read.
    #[error("the state of its operator \"{operator}\" has format {written}, and this build reads format {read}")]
    OtherFormat {
        /// The operator's name.
        operator: String,
        /// The checkpoint's format.
        written: u32,
        /// The graph's.
        read: u32,
    },
}

impl StateFormats {
    /// Notes an operator.
    ///
    /// # Panics
    /// If another one has the same name: one of the two would be given the states of both.
    pub fn add(&mut self, operator: &str, format: u32) {
        let before = self.0.insert(operator.to_owned(), format);
        assert!(before.is_none(), "operators with state have different names, but two are called {operator}");
    }

    /// What a checkpoint says that names no formats, but has parts of these operators.
    pub fn first<'a>(operators: impl IntoIterator<Item = &'a str>) -> StateFormats {
        StateFormats(operators.into_iter().map(|operator| (operator.to_owned(), FIRST_STATE_FORMAT)).collect())
    }

    /// Whether a graph with these operators can restore a checkpoint with the states that are `written`.
    pub fn check(&self, written: &StateFormats) -> Result<(), StateError> {
        for (operator, &written) in &written.0 {
            match self.0.get(operator) {
                None => return Err(StateError::UnknownOperator { operator: operator.clone() }),
                Some(&read) if read != written => {
                    return Err(StateError::OtherFormat { operator: operator.clone(), written, read });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(operators: &[(&str, u32)]) -> StateFormats {
        let mut formats = StateFormats::default();
        operators.iter().for_each(|(operator, format)| formats.add(operator, *format));
        formats
    }

    #[test]
    fn a_graph_reads_the_formats_that_its_own_operators_have() {
        let graph = formats(&[("Clock", 1), ("Ledger", 2), ("Added", 1)]);
        assert_eq!(graph.check(&formats(&[("Clock", 1), ("Ledger", 2)])), Ok(()), "an added operator begins empty");
        for written in [1, 3] {
            let operator = "Ledger".to_owned();
            let refused = StateError::OtherFormat { operator, written, read: 2 };
            assert_eq!(graph.check(&formats(&[("Clock", 1), ("Ledger", written)])), Err(refused));
        }
        let refused = graph.check(&formats(&[("Clock", 1), ("Dropped", 1)])).unwrap_err();
        assert_eq!(refused, StateError::UnknownOperator { operator: "Dropped".to_owned() });
        assert!(refused.to_string().contains("\"Dropped\""), "{refused}");
    }

    #[test]
    fn what_names_no_formats_has_the_first_of_each() {
        let parts = ["Clock", "Ledger", "Ledger"];
        assert_eq!(StateFormats::first(parts), formats(&[("Clock", 1), ("Ledger", 1)]));
    }

    #[test]
    #[should_panic(expected = "two are called Retain")]
    fn two_operators_of_one_name_are_a_mistake() {
        formats(&[("Retain", 1), ("Retain", 1)]);
    }
}
