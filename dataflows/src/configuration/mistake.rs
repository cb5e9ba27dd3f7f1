//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// A place in the text, counted in lines and characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character within the line.
    pub column: usize,
}

impl Position {
    /// The place of a byte of the text; of one past its end, the end.
    pub fn of(text: &str, byte: usize) -> Self {
        let before = &text.as_bytes()[..byte.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // Counting the bytes that begin a character never slices one in two.
        let characters = before[line_start..].iter().filter(|byte| (**byte & 0xC0) != 0x80).count();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Position { line, column: 1 + characters }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The configuration's file, as the caller named it.
    pub file: String,
    /// Where it is.
    pub position: Position,
    /// The same place in bytes, for those who print the line.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(formatter, "{}:{line}:{column}: {}; {}", self.file, self.message, self.hint)
    }
}

impl std::error::Error for Mistake {}

/// Collects the mistakes of one text.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    text: &'a str,
    file: &'a str,
    found: Vec<Mistake>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(text: &'a str, file: &'a str) -> Self {
        Mistakes { text, file, found: Vec::new() }
    }

    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let position = Position::of(self.text, span.start);
        let (message, hint) = (message.into(), hint.into());
        self.found.push(Mistake { file: self.file.to_owned(), position, span, message, hint });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the text.
    pub(super) fn into_sorted(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|mistake| mistake.span.start);
        self.found
    }
}

/// The hint for a name that is none of the known ones: the nearest of them, or all.
pub(super) fn nearest_or_all(wrong: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(wrong, name), *name)).min();
    match nearest {
        Some((edits, name)) if edits <= 1 + name.len() / 4 => format!("did you mean `{name}`?"),
        _ => format!("known are {}", listed(known)),
    }
}

/// Names as one reads them out: `a`, `b` and `c`.
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "none".to_owned(),
    }
}

/// How many characters have to be inserted, left out or replaced to turn one text into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, left) in from.chars().enumerate() {
        let mut here = vec![row + 1];
        for (column, right) in to.iter().enumerate() {
            let replaced = above[column] + usize::from(left != *right);
            here.push(replaced.min(above[column + 1] + 1).min(here[column] + 1));
        }
        above = here;
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "a\nüx\n";
        assert_eq!(Position::of(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text, 4), Position { line: 2, column: 2 });
        assert_eq!(Position::of(text, 99), Position { line: 3, column: 1 });
    }

    #[test]
    fn the_nearest_name_is_offered_if_it_is_near() {
        assert_eq!(nearest_or_all("latness_ms", &["hold_ms", "lateness_ms"]), "did you mean `lateness_ms`?");
        assert_eq!(nearest_or_all("colour", &["hold_ms", "idle_ms"]), "known are `hold_ms` and `idle_ms`");
        assert_eq!((distance("", "ab"), distance("kitten", "sitting"), distance("x", "x")), (2, 3, 0));
    }
}
