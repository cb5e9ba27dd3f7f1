//! What has to be remembered of all commands: what was done that may be done once only, and the newest ids.
//!
//! Both are remembered by hashes whose key is drawn when the log is opened, so that nobody can choose names which collide:
//! two of ten million are mistaken for each other with a probability of one in a million million. A name that is mistaken
//! for another is refused as done before.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

use dataflows::commands::{Reading, Signature, read};

/// How many ids are remembered.
pub(super) const IDS_MAX: usize = 1 << 18;

/// How many hashes lie apart from the sorted ones before they are merged, at least.
const RECENT_MIN: usize = 1 << 14;

/// What is remembered.
#[derive(Clone, Debug, Default)]
pub struct CommandMemory {
    key: RandomState,
    /// Ascending, 8 bytes each.
    sorted: Vec<u64>,
    recent: HashSet<u64>,
    ids: HashMap<u64, u64>,
    /// The ids, as they were given.
    order: VecDeque<u64>,
    end: u64,
}

impl CommandMemory {
    /// Takes note of an entry of the log.
    pub fn remember(&mut self, number: u64, entry: &[u8]) {
        self.end = number + 1;
        if let Some(logged) = read(entry) {
            self.take(number, &logged.signature, &logged.reading);
        }
    }

    /// Takes note of a command.
    pub(super) fn take(&mut self, number: u64, signature: &Signature, reading: &Reading) {
        self.end = number + 1;
        for what in &reading.once {
            self.recent.insert(self.key.hash_one(what));
        }
        if self.recent.len() >= RECENT_MIN.max(self.sorted.len() / 4) {
            self.sorted.extend(self.recent.drain());
            self.sorted.sort_unstable();
        }
        if let Some(id) = self.hash_of(signature) {
            self.ids.insert(id, number);
            self.order.push_back(id);
            if self.order.len() > IDS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
    }

    /// How many commands there are.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether a command did this.
    pub fn is_done(&self, what: &[u8]) -> bool {
        let hash = self.key.hash_one(what);
        self.recent.contains(&hash) || self.sorted.binary_search(&hash).is_ok()
    }

    /// The number of the command that has this name, as far as its hash says.
    pub(super) fn number_of(&self, signature: &Signature) -> Option<u64> {
        self.ids.get(&self.hash_of(signature)?).copied()
    }

    fn hash_of(&self, signature: &Signature) -> Option<u64> {
        let id = signature.id.as_ref()?;
        Some(self.key.hash_one((&signature.principal, id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_stays_done_and_old_ids_are_forgotten() {
        let mut memory = CommandMemory::default();
        let name = |number: u64| format!("letter {number}").into_bytes();
        let signature = |number: u64| Signature::new("me", Some(&format!("id-{number}")), "").unwrap();
        let count = IDS_MAX as u64 + 10;
        for number in 0..count {
            assert!(number % 1000 != 0 || !memory.is_done(&name(number)));
            memory.take(number, &signature(number), &Reading { once: vec![name(number)], records: Vec::new() });
        }
        assert!((0..count).all(|number| memory.is_done(&name(number))));
        assert!(!(count..count + 100_000).any(|number| memory.is_done(&name(number))));
        assert!(memory.recent.len() <= memory.sorted.len() / 4);
        assert_eq!((memory.number_of(&signature(9)), memory.number_of(&signature(10))), (None, Some(10)));
        assert_eq!(memory.number_of(&signature(count - 1)), Some(count - 1));
        let other = Signature { principal: "you".to_owned(), ..signature(count - 1) };
        assert_eq!((memory.number_of(&other), memory.end()), (None, count));
        assert_eq!(memory.ids.len(), memory.order.len());
    }
}
