//! What was asked outside while records were decoded, such as a schema by its id, and what was answered.
//!
//! A decoder's records depend on it, so it is part of the remap log: one answer a question for all of a run, whoever asked
//! and whatever would be answered later. Readers ask, outside of the workers, and put what they learn into the [`AnswerBook`]
//! before they use it. The timekeeper takes from there what is not recorded yet into the next binding that it mints, so an
//! answer is durable no later than the first tick that binds a record which used it. Sooner does no harm: it is constant.
//! After a restart the book begins with all that the remap log holds, also below a checkpoint.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

/// The longest question, in bytes.
pub const QUESTION_BYTES_MAX: usize = 64;

/// The longest answer, in bytes. A longer one is taken for an empty one: whoever asked learns that it is of no use.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked; at most [`QUESTION_BYTES_MAX`].
    pub question: Vec<u8>,
    /// What was answered, at most [`ANSWER_BYTES_MAX`]; `None` is the answer that there is nothing.
    pub answer: Option<Vec<u8>>,
}

impl Answer {
    /// Whether both parts have the lengths that are allowed.
    pub fn is_within_bounds(&self) -> bool {
        self.question.len() <= QUESTION_BYTES_MAX
            && self.answer.as_ref().is_none_or(|answer| answer.len() <= ANSWER_BYTES_MAX)
    }
}

/// Somebody outside who can be asked.
pub trait Ask: Send + Sync {
    /// The answer to a question, `None` where there is none for good. May wait for some seconds: not to be called on a
    /// worker. An error says that there was no answer now, and the same question may be answered later.
    fn ask(&self, question: &[u8]) -> io::Result<Option<Vec<u8>>>;
}

/// Who is asked by one partition's reader what no book knows.
#[derive(Clone)]
pub enum Asked {
    /// Somebody outside is asked.
    Outside(Arc<dyn Ask>),
    /// Replay asks nobody: the records below this offset were bound, so the answers that they needed are recorded; behind
    /// them there may be others, which nobody waits for.
    Nobody {
        /// The first offset that was not bound.
        bound: u64,
    },
}

/// Every answer that this process knows; clones share it.
#[derive(Clone, Debug, Default)]
pub struct AnswerBook(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    answers: BTreeMap<Vec<u8>, Option<Arc<[u8]>>>,
    unrecorded: Vec<Answer>,
}

impl AnswerBook {
    /// Takes note of what the remap log holds.
    pub fn recorded(&self, answer: &Answer) {
        let known = answer.answer.as_deref().map(Arc::from);
        self.book().answers.entry(answer.question.clone()).or_insert(known);
    }

    /// The answer to a question, if it is known.
    pub fn find(&self, question: &[u8]) -> Option<Option<Arc<[u8]>>> {
        self.book().answers.get(question).cloned()
    }

    /// Takes note of what was learnt and gives what holds from now on: where two asked at once, the first answer.
    ///
    /// # Panics
    /// If the question is longer than [`QUESTION_BYTES_MAX`].
    pub fn learn(&self, question: &[u8], answer: Option<Vec<u8>>) -> Option<Arc<[u8]>> {
        assert!(question.len() <= QUESTION_BYTES_MAX, "a question of {} bytes", question.len());
        let mut book = self.book();
        if let Some(known) = book.answers.get(question) {
            return known.clone();
        }
        let answer = answer.map(|answer| if answer.len() > ANSWER_BYTES_MAX { Vec::new() } else { answer });
        let known: Option<Arc<[u8]>> = answer.as_deref().map(Arc::from);
        book.answers.insert(question.to_vec(), known.clone());
        book.unrecorded.push(Answer { question: question.to_vec(), answer });
        known
    }

    /// What was learnt since this was asked last: it has to be recorded now.
    pub fn take_unrecorded(&self) -> Vec<Answer> {
        std::mem::take(&mut self.book().unrecorded)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("nobody panics while holding the lock of the answers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_holds_and_is_recorded_once() {
        let book = AnswerBook::default();
        assert_eq!(book.find(b"7"), None);
        assert_eq!(book.learn(b"7", None), None);
        assert_eq!(book.learn(b"7", Some(b"later".to_vec())), None);
        assert_eq!(book.find(b"7"), Some(None));
        assert_eq!(book.clone().take_unrecorded(), [Answer { question: b"7".to_vec(), answer: None }]);
        assert_eq!(book.take_unrecorded(), []);
    }

    #[test]
    fn what_is_recorded_is_not_recorded_again() {
        let book = AnswerBook::default();
        book.recorded(&Answer { question: b"7".to_vec(), answer: Some(b"then".to_vec()) });
        assert_eq!(book.learn(b"7", Some(b"now".to_vec())).as_deref(), Some(&b"then"[..]));
        assert_eq!(book.take_unrecorded(), []);
    }

    #[test]
    fn what_is_too_long_is_empty() {
        let book = AnswerBook::default();
        assert_eq!(book.learn(b"7", Some(vec![1; ANSWER_BYTES_MAX + 1])).as_deref(), Some(&b""[..]));
        assert_eq!(
            book.learn(b"8", Some(vec![1; ANSWER_BYTES_MAX])).map(|answer| answer.len()),
            Some(ANSWER_BYTES_MAX)
        );
        assert!(book.take_unrecorded().iter().all(Answer::is_within_bounds));
    }
}
