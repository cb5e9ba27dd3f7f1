//! A schema registry with Confluent's interface, asked over HTTP for schemas by their ids.
//!
//! An id's schema never changes, so an answer is for ever, also the answer that there is none: only the answer is not
//! ours to ask for twice, since a run has to say the same when it is repeated. Who asks records it.

mod pace;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use operators::answers::Ask;
use serde::Deserialize;

use self::pace::{AT_ONCE, EVERY, Pace, Turn};
use crate::http_client;
use crate::secret::Secret;

/// How long an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The code with which a registry says that it has no schema of that id; another 404 is none of its answers.
const NO_SCHEMA: u32 = 40_403;

/// The longest answer that is read, in bytes: what is longer holds no schema that anybody could use.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// What a registry could not say.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer, or none that is final: the same question may be answered later.
    #[error("could not ask the schema registry {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why there was no answer.
        source: io::Error,
    },
    /// Something answers, but not as a registry does.
    #[error(
        "{url} does not answer as a schema registry: {what}; its base address may lack a path such as /apis/ccompat/v7"
    )]
    NoRegistry {
        /// What was asked for.
        url: String,
        /// What it said.
        what: String,
    },
    /// It knows who we are, or does not want to.
    #[error("{url} refuses us with status {status}: the user or the password is wrong, or may not read schemas")]
    Refused {
        /// What was asked for.
        url: String,
        /// What it said.
        status: u16,
    },
}

impl RegistryError {
    /// Whether the same question may be answered later.
    pub fn is_transient(&self) -> bool {
        matches!(self, RegistryError::Unreachable { .. })
    }
}

/// A registry.
#[derive(Clone, Debug)]
pub struct Registry {
    base: String,
    agent: ureq::Agent,
    /// What the header `Authorization` says.
    authorization: Option<Secret>,
    /// Of ids that it does not have.
    pace: Arc<Mutex<Pace>>,
}

#[derive(Deserialize)]
struct Found {
    schema: String,
}

#[derive(Deserialize)]
struct Refused {
    error_code: u32,
}

impl Registry {
    /// The registry at a base address, to which `/schemas/ids/1` is added. Nothing is asked yet.
    pub fn new(base: &str) -> Self {
        let agent = http_client::configuration(base).timeout_global(Some(TIMEOUT)).build();
        let base = base.trim_end_matches('/').to_owned();
        Registry { base, agent: agent.into(), authorization: None, pace: Arc::default() }
    }

    /// The same, asked as this user.
    pub fn with_credentials(mut self, user: &str, password: &Secret) -> Self {
        let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
        self.authorization = Some(Secret::new(format!("Basic {pair}")));
        self
    }

    /// An error unless it answers now as a registry does, to us. Asks for a schema that no registry has.
    pub fn check(&self) -> Result<(), RegistryError> {
        self.schema(0).map(drop)
    }

    /// The schema of that id, as its text, or `None` where the registry says that it has none; an empty text stands for one
    /// of megabytes. Waits for the answer, ten seconds at most: not to be called on a worker.
    pub fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let url = format!("{}/schemas/ids/{id}", self.base);
        let (status, body) = match self.get(&url) {
            Ok(answer) => answer,
            Err(ureq::Error::BodyExceedsLimit(_)) => return Ok(Some(String::new())),
            Err(ureq::Error::Io(source)) => return Err(RegistryError::Unreachable { url, source }),
            Err(other) => return Err(RegistryError::Unreachable { url, source: io::Error::other(other) }),
        };
        let refused = || serde_json::from_str::<Refused>(&body).ok().map(|refused| refused.error_code);
        match status {
            200 => match serde_json::from_str::<Found>(&body) {
                Ok(found) => Ok(Some(found.schema)),
                Err(error) => Err(RegistryError::NoRegistry { url, what: error.to_string() }),
            },
            404 if refused() == Some(NO_SCHEMA) => Ok(None),
            401 | 403 => Err(RegistryError::Refused { url, status }),
            // Overloaded, or behind something that is: it may still say.
            408 | 429 | 500.. => {
                Err(RegistryError::Unreachable { url, source: io::Error::other(format!("status {status}")) })
            }
            _ => Err(RegistryError::NoRegistry { url, what: format!("status {status}") }),
        }
    }

    fn get(&self, url: &str) -> Result<(u16, String), ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.reveal());
        }
        let mut response = request.call()?;
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string()?;
        Ok((response.status().as_u16(), body))
    }
}

/// A question is the id of a schema: 32 bits, big endian. Whatever goes wrong may be over later, also a refusal.
impl Ask for Registry {
    fn ask(&self, question: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let id = question.try_into().map(u32::from_be_bytes);
        let id = id.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let pace = || self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = pace().turn(Instant::now());
        match turn {
            Turn::After { wait, is_told } => {
                if is_told {
                    tracing::warn!(
                        id,
                        "more than {AT_ONCE} schema ids that the registry does not have: it is asked for one in {} ms, and \
                         their partitions wait",
                        EVERY.as_millis()
                    );
                }
                std::thread::sleep(wait);
            }
            Turn::Later => {
                let what =
                    "too many schema ids are asked for that the registry does not have; this one is asked for later";
                return Err(io::Error::other(what));
            }
        }
        let found = self.schema(id).map_err(io::Error::other)?;
        if found.is_some() {
            pace().give_back();
        }
        Ok(found.map(String::into_bytes))
    }
}
