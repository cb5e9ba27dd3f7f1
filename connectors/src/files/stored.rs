//! From the stored bytes of a file to its text, up to wherever it is damaged.
//!
//! How much of a damaged file is text has to be the same in every run, whatever buffers it is read with, because offsets
//! count it. Decoders lose what they made in the very call that finds the damage. So their output is taken in pieces
//! whose ends depend on the position alone, and when a decoder fails, the last stretch of its input is decoded once more,
//! handed over byte by byte: then nothing is lost but what the damaged byte itself would have become.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::Compression;

/// Text comes in pieces of at most this size; whoever reads has to have room for one.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// The window of zstd frames, as the logarithm of bytes: what `zstd --long=27` makes and every reader accepts.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The text of a stored file.
pub(super) struct Stored {
    decoder: Decoder,
    compression: Compression,
    /// How much text came out.
    position: u64,
    /// Whether the last stretch is being read byte by byte.
    careful: bool,
    /// Ends reading once it is set.
    stop: Arc<AtomicBool>,
}

/// What a read gave.
#[derive(Debug)]
pub(super) enum Piece {
    /// So many bytes of text, at least one.
    Text(usize),
    /// The end of the file.
    End,
    /// The stored bytes are not what their format demands: in words.
    Damage(String),
}

enum Decoder {
    Plain(File),
    Gzip(Box<MultiGzDecoder<Input>>),
    Zstd(Box<zstd::Decoder<'static, Input>>),
}

impl Stored {
    /// The text of a file, until `stop` is set.
    pub(super) fn new(file: File, compression: Compression, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let decoder = Decoder::new(file, compression, u64::MAX)?;
        Ok(Stored { decoder, compression, position: 0, careful: false, stop: Arc::clone(stop) })
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &File {
        match &self.decoder {
            Decoder::Plain(file) => file,
            Decoder::Gzip(decoder) => &decoder.get_ref().file,
            Decoder::Zstd(decoder) => &decoder.get_ref().file,
        }
    }

    /// Reads on. An error is the disk's; to go on behind one, the file has to be begun again.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<Piece> {
        loop {
            check(&self.stop)?;
            let upto = self.piece_bytes();
            let (error, buffer_position) = match self.decoder.read(&mut room[..upto]) {
                Ok(0) => return Ok(Piece::End),
                Ok(bytes) => {
                    self.position += bytes as u64;
                    return Ok(Piece::Text(bytes));
                }
                Err(Failure::Disk(error)) => return Err(error),
                Err(Failure::Format { error, buffer_position }) => (error, buffer_position),
            };
            if error.kind() == io::ErrorKind::UnexpectedEof {
                // Decoders give out everything before they complain that there is no more.
                return Ok(Piece::Damage("ends in the middle".to_owned()));
            }
            if self.careful {
                return Ok(Piece::Damage(format!("is damaged ({error})")));
            }
            self.start_again(buffer_position, room)?;
        }
    }

    /// How much may be read at once: a function of the position, so that a decoder is always asked for the same.
    fn piece_bytes(&self) -> usize {
        PIECE_BYTES - (self.position % PIECE_BYTES as u64) as usize
    }

    /// Reads once more to where the text stands, the stored bytes from `careful_from` on one by one.
    fn start_again(&mut self, careful_from: u64, room: &mut [u8]) -> io::Result<()> {
        let mut file = self.file().try_clone()?;
        file.rewind()?;
        let position = std::mem::take(&mut self.position);
        self.decoder = Decoder::new(file, self.compression, careful_from)?;
        self.careful = true;
        while self.position < position {
            check(&self.stop)?;
            let left = usize::try_from(position - self.position).unwrap_or(usize::MAX);
            let upto = self.piece_bytes().min(left);
            match self.decoder.read(&mut room[..upto]) {
                Ok(bytes) if bytes > 0 => self.position += bytes as u64,
                Err(Failure::Disk(error)) => return Err(error),
                Ok(_) | Err(Failure::Format { .. }) => {
                    return Err(io::Error::other("it was changed while it was read"));
                }
            }
        }
        Ok(())
    }
}

/// What reading ends with once nobody wants to go on.
#[derive(Debug, thiserror::Error)]
#[error("reading was stopped")]
struct Stopped;

/// Whether an error says that nobody wants to go on.
pub(super) fn is_stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}

/// An error once `stop` is set: for whoever reads piece after piece, which may take minutes.
pub(super) fn check(stop: &AtomicBool) -> io::Result<()> {
    match stop.load(Ordering::Acquire) {
        true => Err(io::Error::other(Stopped)),
        false => Ok(()),
    }
}

/// Why a decoder did not go on.
enum Failure {
    Disk(io::Error),
    /// The stored bytes are not what their format demands.
    Format {
        error: io::Error,
        /// Where in the file the decoder's buffer began.
        buffer_position: u64,
    },
}

impl Decoder {
    fn new(file: File, compression: Compression, careful_from: u64) -> io::Result<Self> {
        if compression == Compression::Plain {
            return Ok(Decoder::Plain(file));
        }
        let input = Input::new(file, careful_from);
        if compression == Compression::Gzip {
            return Ok(Decoder::Gzip(Box::new(MultiGzDecoder::new(input))));
        }
        let mut decoder = zstd::Decoder::with_buffer(input)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(Decoder::Zstd(Box::new(decoder)))
    }

    fn read(&mut self, room: &mut [u8]) -> Result<usize, Failure> {
        let (answer, input) = match self {
            Decoder::Plain(file) => return read_some(file, room).map_err(Failure::Disk),
            Decoder::Gzip(decoder) => (decoder.read(room), decoder.get_mut()),
            Decoder::Zstd(decoder) => (decoder.read(room), decoder.get_mut()),
        };
        answer.map_err(|error| match input.failure.take() {
            Some(failure) => Failure::Disk(failure),
            None => Failure::Format { error, buffer_position: input.buffer_position },
        })
    }
}

fn read_some(file: &mut File, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// The stored bytes, buffered.
struct Input {
    file: File,
    buffer: Box<[u8]>,
    from: usize,
    upto: usize,
    /// Where in the file the buffer begins.
    buffer_position: u64,
    /// From here on, bytes are handed over one by one.
    careful_from: u64,
    /// The disk's error: decoders hand it on as if it were theirs, but it says nothing of the stored bytes.
    failure: Option<io::Error>,
}

impl Input {
    fn new(file: File, careful_from: u64) -> Self {
        let buffer = vec![0; 64 * 1024].into_boxed_slice();
        Input { file, buffer, from: 0, upto: 0, buffer_position: 0, careful_from, failure: None }
    }

    /// Fills the whole buffer unless the file ends: what decoders get must not depend on how the disk serves it.
    fn refill(&mut self) -> io::Result<()> {
        self.buffer_position += self.upto as u64;
        (self.from, self.upto) = (0, 0);
        while self.upto < self.buffer.len() {
            match read_some(&mut self.file, &mut self.buffer[self.upto..]) {
                Ok(0) => break,
                Ok(bytes) => self.upto += bytes,
                Err(error) => {
                    let kind = error.kind();
                    self.failure = Some(error);
                    return Err(kind.into());
                }
            }
        }
        Ok(())
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.from == self.upto {
            self.refill()?;
        }
        let available = self.upto - self.from;
        let position = self.buffer_position + self.from as u64;
        let handed = match self.careful_from.checked_sub(position) {
            None | Some(0) => available.min(1),
            Some(before) => available.min(usize::try_from(before).unwrap_or(usize::MAX)),
        };
        Ok(&self.buffer[self.from..self.from + handed])
    }

    fn consume(&mut self, bytes: usize) {
        self.from += bytes;
    }
}

impl Read for Input {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(room.len());
        room[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}
