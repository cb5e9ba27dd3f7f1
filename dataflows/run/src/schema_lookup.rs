//! Whom readers ask what decoding needs and the input log does not say: the schema registry of a configuration, or nobody.

use std::io;
use std::path::Path;
use std::sync::Arc;

use connectors::registry::{Registry, RegistryError};
use operators::answers::{AnswerBook, Ask, Asked, QUESTION_BYTES_MAX};
use operators::timekeeper::Position;

use super::password::{PasswordError, password};
use dataflows::configuration::{Format, Settings};

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum SchemaLookupError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its password.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// What is known, and who is asked.
#[derive(Clone, Default)]
pub struct SchemaLookup {
    /// What is known: all that the remap log holds, before any reader begins.
    pub answers: AnswerBook,
    /// Who is asked; none in a replay.
    outside: Option<Arc<dyn Ask>>,
    /// By partition: the first offset that was not bound, where nobody is asked.
    bound: Vec<u64>,
}

impl SchemaLookup {
    /// Of a run that goes on.
    pub fn outside(answers: AnswerBook, outside: Option<Arc<dyn Ask>>) -> Self {
        SchemaLookup { answers, outside, bound: Vec::new() }
    }

    /// Of a replay, which ends at `position`.
    pub fn nobody(answers: AnswerBook, position: Position) -> Self {
        SchemaLookup { answers, outside: None, bound: position.next }
    }

    /// The answer to a question of another process, which holds from now on.
    pub fn answer(&self, question: &[u8]) -> io::Result<Option<Arc<[u8]>>> {
        if question.len() > QUESTION_BYTES_MAX {
            return Err(io::Error::other("nobody asks a question as long as that"));
        }
        if let Some(known) = self.answers.find(question) {
            return Ok(known);
        }
        let outside = self.outside.as_ref().ok_or_else(|| io::Error::other("process 0 has nobody to ask"))?;
        Ok(self.answers.learn(question, outside.ask(question)?))
    }

    /// Who is asked by the reader of this partition.
    pub fn asked_by(&self, partition: usize) -> Asked {
        match &self.outside {
            Some(outside) => Asked::Outside(Arc::clone(outside)),
            None => Asked::Nobody { bound: self.bound.get(partition).copied().unwrap_or(0) },
        }
    }
}

/// The registry of a configuration, if a source needs it. Where a run begins it has to answer; later it may be away.
pub fn registry(settings: &Settings, folder: &Path, begins: bool) -> Result<Option<Arc<dyn Ask>>, SchemaLookupError> {
    let is_needed = settings.recorded.sources.iter().any(|source| source.format == Format::Avro);
    let Some(place) = settings.local.registry.as_ref().filter(|_| is_needed) else { return Ok(None) };
    let mut registry = Registry::new(&place.url);
    if let Some((username, place)) = &place.credentials {
        registry = registry.with_credentials(username, &password("registry", place, folder)?);
    }
    if begins {
        registry.check()?;
    }
    Ok(Some(Arc::new(registry)))
}
