//! Why a cluster can't be read.

/// What a cluster did not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The clients could not be made.
    #[error("the connection to Kafka at {bootstrap} can't be set up: {what}")]
    Settings {
        /// The addresses.
        bootstrap: String,
        /// Why.
        what: String,
    },
    /// Nobody answered.
    #[error("Kafka at {bootstrap} does not answer: {what}; start it, or correct `bootstrap` under `[kafka]`")]
    Unreachable {
        /// The addresses.
        bootstrap: String,
        /// What was seen last.
        what: String,
    },
    /// It does not let us in.
    #[error("Kafka at {bootstrap} refuses the credentials: {what}; correct `[kafka.sasl]`")]
    Refused {
        /// The addresses.
        bootstrap: String,
        /// In its own words.
        what: String,
    },
    /// We may not read the topic.
    #[error(
        "Kafka at {bootstrap} does not allow topic \"{topic}\" to be read; grant DESCRIBE and READ on it to this user"
    )]
    Forbidden {
        /// The addresses.
        bootstrap: String,
        /// The topic.
        topic: String,
    },
    /// There is no such topic.
    #[error("Kafka at {bootstrap} has no topic \"{topic}\"; create it, or correct `topic` of the source")]
    UnknownTopic {
        /// The addresses.
        bootstrap: String,
        /// The topic.
        topic: String,
    },
    /// The cluster is too old.
    #[error(
        "Kafka at {bootstrap} gives its topics no ids, so that a topic created anew could not be told apart; Kafka 3.1 or newer is needed"
    )]
    NoTopicIds {
        /// The addresses.
        bootstrap: String,
    },
}
