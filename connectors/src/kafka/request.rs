//! What a cluster did not do for us, whoever asked: a writer, a reader, whoever looks after topics.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nothing is lost: the same may succeed later.
    #[error("could not {doing}")]
    Unreachable {
        /// What was tried, with names.
        doing: String,
        /// Why.
        source: KafkaError,
    },
    /// The cluster refuses, and will go on refusing.
    #[error("could not {doing}; correct the credentials, or ask for the permission")]
    Refused {
        /// What was tried, with names.
        doing: String,
        /// Why.
        source: KafkaError,
    },
    /// A message is larger than the cluster takes.
    #[error("could not {doing}: a message is too large; raise `max.message.bytes` of the topic")]
    TooLarge {
        /// What was tried, with names.
        doing: String,
    },
    /// A transaction that nobody ends hides what lies behind it.
    #[error(
        "a transaction that begins at offset {offset} of partition {partition} of \"{topic}\" does not end, and what lies \
         behind it can't be read; if its writer is gone, the cluster has forgotten it: \
         kafka-transactions.sh abort --topic {topic} --partition {partition} --start-offset {offset}, then start again"
    )]
    OpenTransaction {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: u32,
        /// Its first offset.
        offset: i64,
    },
}

impl RequestError {
    /// Whether the same may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, RequestError::Unreachable { .. } | RequestError::OpenTransaction { .. })
    }

    /// What an answer of the cluster means.
    pub(crate) fn of(doing: impl Into<String>, source: KafkaError) -> Self {
        let doing = doing.into();
        match source.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => RequestError::TooLarge { doing },
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication,
            ) => RequestError::Refused { doing, source },
            _ => RequestError::Unreachable { doing, source },
        }
    }
}

/// Whether an answer says that another writer came, or that the cluster gave up our transaction: it sounds the same.
pub(crate) fn is_fenced(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced)
    )
}
