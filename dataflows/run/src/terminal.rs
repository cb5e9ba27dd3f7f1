//! Standard output and standard error: the one place that writes to them.
//!
//! What they lead to may be full or gone: a disk, a pipe whose reader has left, a terminal that was closed. The data do not
//! depend on it, so no run ends for that. Standard error that can't be written is left alone. Standard output that can't be
//! written is told once on standard error; that somebody read as much as he wanted and left, as `head` does, is not told.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it was told that standard output can't be written.
static LOSS_TOLD: AtomicBool = AtomicBool::new(false);

/// A sentence to the person who started the command: on standard error, so that standard output holds results alone.
pub fn say(line: &str) {
    Log.write_all(format!("aisle: {line}\n").as_bytes()).expect("the log takes everything");
}

/// Writes a result to standard output.
pub fn print(text: &str) {
    print_to(&mut io::stdout().lock(), text, &LOSS_TOLD, say);
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
    fn the_whole_text_is_printed() {
        let mut output = Vec::new();
        print_to(&mut output, "a table\nwithout an end of line", &AtomicBool::new(false), |line| panic!("{line}"));
        assert_eq!(output, b"a table\nwithout an end of line");
    }
}
