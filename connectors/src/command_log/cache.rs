//! Pages of commands that were read or written last.

use std::sync::Arc;

use super::{PAGE_BYTES, Page};

/// How many bytes of commands are kept, but for one page that is longer.
pub const CACHE_BYTES_MAX: usize = 8 << 20;

/// The pages, and which was used when.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pages: Vec<CachedPage>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct CachedPage {
    first: u64,
    commands: Page,
    bytes: usize,
    used: u64,
}

impl CachedPage {
    fn end(&self) -> u64 {
        self.first + self.commands.len() as u64
    }
}

impl Cache {
    /// How many bytes of commands it holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The commands from a number on, at most `bytes_max` of them and one at least, if a page begins with it or holds it.
    pub(super) fn find(&mut self, from: u64, bytes_max: usize) -> Option<Page> {
        self.uses += 1;
        let page = self.pages.iter_mut().find(|page| page.first <= from && from < page.end())?;
        page.used = self.uses;
        let mut bytes = 0;
        let taken = page.commands[(from - page.first) as usize..].iter().take_while(|command| {
            let is_first = bytes == 0;
            bytes += command.len().max(1);
            is_first || bytes <= bytes_max
        });
        Some(taken.map(Arc::clone).collect())
    }

    /// Keeps a page, and forgets those that were not used for the longest time where there are too many.
    pub(super) fn insert(&mut self, first: u64, commands: Page) {
        let bytes: usize = commands.iter().map(|command| command.len()).sum();
        if commands.is_empty() {
            return;
        }
        self.uses += 1;
        self.bytes += bytes;
        let used = self.uses;
        match self.pages.iter_mut().find(|page| page.end() == first && page.bytes + bytes <= PAGE_BYTES) {
            // Small groups that follow each other are one page.
            Some(page) => {
                page.commands.extend(commands);
                (page.bytes, page.used) = (page.bytes + bytes, used);
            }
            None => self.pages.push(CachedPage { first, commands, bytes, used }),
        }
        while self.bytes > CACHE_BYTES_MAX && self.pages.len() > 1 {
            let oldest = (0..self.pages.len()).min_by_key(|place| self.pages[*place].used);
            let oldest = self.pages.swap_remove(oldest.expect("there is more than one page"));
            self.bytes -= oldest.bytes;
        }
    }
}
