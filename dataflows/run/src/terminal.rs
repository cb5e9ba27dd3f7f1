//! Standard output and standard error: the one place that writes to them.
//!
//! What they lead to may be full or gone: a disk, a pipe whose reader has left, a terminal that was closed. The data do not
//! depend on it, so no run ends for that. Standard error that can't be written is left alone. Standard output that can't be
//! written is told once on standard error; that somebody read as much as he wanted and left, as `head` does, is not told.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it was told that standard output can't be written.
static LOSS_TOLD: AtomicBool = AtomicBool::new(false);

/// A sentence to the person who started the command: on standard error, so that standard output holds results alone.
pub fn say(line: &str) {
    Log.write_all(format!("aisle: {}\n", visible(line)).as_bytes()).expect("the log takes everything");
}

/// Writes a result to standard output.
pub fn print(text: &str) {
    print_to(&mut io::stdout().lock(), &visible(text), &LOSS_TOLD, say);
}

/// A text for people in which everything can be seen. What a record, a file or a server brought may hold characters that a
/// terminal obeys (they move the cursor, hide what was told before, set its title) or that turn the direction of writing:
/// they are written as `\u{1b}`. Only ends of lines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |each| each.escape_unicode().to_string())
}

/// The same of JSON, whose meaning stays: it has such characters only within strings, as they may be written there.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    escaped(json, |each| format!("\\u{:04x}", u32::from(each)))
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for each in text.chars() {
        if is_obeyed(each) { shown.push_str(&escape(each)) } else { shown.push(each) }
    }
    Cow::Owned(shown)
}

/// Whether a terminal does something at this character beside showing it.
fn is_obeyed(each: char) -> bool {
    let turns = matches!(each, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (each.is_control() && !matches!(each, '\n' | '\t'))
}

fn print_to(output: &mut impl Write, text: &str, loss_told: &AtomicBool, tell: impl FnOnce(&str)) {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !loss_told.swap(true, Ordering::AcqRel) => {
            tell(&format!("could not write to standard output, so that what was printed is lost: {error}"));
        }
        _ => {}
    }
}

/// Standard error as a log that takes everything, whether it can be written or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whom could one tell?
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that can't be written.
    struct Lost(ErrorKind);

    impl Write for Lost {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_is_lost_is_told_once_and_one_that_nobody_reads_is_not() {
        let (loss_told, mut told) = (AtomicBool::new(false), Vec::new());
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::StorageFull, ErrorKind::BrokenPipe];
        for kind in kinds {
            print_to(&mut Lost(kind), "a table", &loss_told, |line| told.push(line.to_owned()));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("could not write to standard output"), "{told:?}");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let hostile = "a\u{1b}[2J\u{9b}1m\r\u{7}\u{202e}b\tc\n";
        assert_eq!(visible(hostile), "a\\u{1b}[2J\\u{9b}1m\\u{d}\\u{7}\\u{202e}b\tc\n");
        assert!(matches!(visible("grün \u{1f6cd} 棚"), Cow::Borrowed(_)));
        let json = serde_json::json!({ "raw": "\u{9b}\u{7f}\u{202e}ä" }).to_string();
        assert_eq!(visible_json(&json), "{\"raw\":\"\\u009b\\u007f\\u202eä\"}");
        let meaning = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(meaning(&visible_json(&json)), meaning(&json));
    }

    #[test]
    fn the_whole_text_is_printed() {
        let mut output = Vec::new();
        print_to(&mut output, "a table\nwithout an end of line", &AtomicBool::new(false), |line| panic!("{line}"));
        assert_eq!(output, b"a table\nwithout an end of line");
    }
}
