//! A connection to another process of the cluster, as timely reads and writes it.
//!
//! Timely panics where a connection breaks. But that a neighbour is gone is no mistake of ours. So a link says who is gone
//! and then keeps the thread that found out for ever: whoever runs the engine looks at its [`Loss`] and ends the process.
//!
//! A neighbour that ends well says so with a message without content, and then closes. To tell that from a connection that
//! broke, a link follows the heads of the messages: six integers of eight bytes, big endian, of which the fifth is how many
//! bytes of content follow (`timely_communication::networking::MessageHeader`).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use timely::communication::allocator::zero_copy::stream::Stream;

/// Another process of the cluster, as the connection to it knows it.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) process: usize,
    pub(super) address: String,
    /// Whether it said that it has ended well.
    ended: AtomicBool,
}

impl Neighbour {
    pub(super) fn new(process: usize, address: String) -> Neighbour {
        Neighbour { process, address, ended: AtomicBool::new(false) }
    }

    /// Whether it said that it has ended well.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// The process that was lost first, if one was.
pub(super) type Loss = OnceLock<Arc<Neighbour>>;

/// A connection to one process.
pub(super) struct Link {
    stream: TcpStream,
    neighbour: Arc<Neighbour>,
    loss: Arc<Loss>,
    messages: Messages,
}

impl Link {
    pub(super) fn new(stream: TcpStream, neighbour: Arc<Neighbour>, loss: Arc<Loss>) -> Link {
        Link { stream, neighbour, loss, messages: Messages::default() }
    }

    /// Says that the neighbour is gone, and never returns.
    fn lose(&self) -> ! {
        // Whoever was lost first is the cause, so the first one stays.
        self.loss.get_or_init(|| Arc::clone(&self.neighbour));
        loop {
            std::thread::park();
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) if self.messages.ended => return Ok(0),
                Ok(count) if count > 0 => {
                    self.messages.follow(&buffer[..count]);
                    if self.messages.ended {
                        self.neighbour.ended.store(true, Ordering::Release);
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => self.lose(),
            }
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => self.lose(),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().or_else(|_| self.lose())
    }
}

impl Stream for Link {
    fn try_clone(&self) -> io::Result<Self> {
        let (neighbour, loss) = (Arc::clone(&self.neighbour), Arc::clone(&self.loss));
        Ok(Link { stream: self.stream.try_clone()?, neighbour, loss, messages: Messages::default() })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how).or_else(|_| self.lose())
    }
}

const HEAD_BYTES: usize = 48;

/// Where in the sequence of messages a link is.
#[derive(Debug)]
struct Messages {
    head: [u8; HEAD_BYTES],
    head_filled: usize,
    content_left: u64,
    /// Whether the message without content was met.
    ended: bool,
}

impl Default for Messages {
    fn default() -> Self {
        Messages { head: [0; HEAD_BYTES], head_filled: 0, content_left: 0, ended: false }
    }
}

impl Messages {
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.content_left > 0 {
                let skipped = self.content_left.min(bytes.len() as u64);
                self.content_left -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            let count = (HEAD_BYTES - self.head_filled).min(bytes.len());
            self.head[self.head_filled..][..count].copy_from_slice(&bytes[..count]);
            self.head_filled += count;
            bytes = &bytes[count..];
            if self.head_filled == HEAD_BYTES {
                self.head_filled = 0;
                let length = self.head[32..40].try_into().expect("eight bytes are eight bytes");
                self.content_left = u64::from_be_bytes(length);
                self.ended = self.content_left == 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use timely::communication::networking::MessageHeader;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let header = MessageHeader { channel: 1, source: 2, target_lower: 0, target_upper: 1, length, seqno: 3 };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.resize(bytes.len() + length, 0);
        bytes
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let bytes = [message(1), message(200), message(48)].concat();
        for cut in 1..bytes.len() {
            let mut messages = Messages::default();
            bytes.chunks(cut).for_each(|piece| messages.follow(piece));
            assert!(!messages.ended && messages.content_left == 0 && messages.head_filled == 0, "cut every {cut}");
            message(0).chunks(cut).for_each(|piece| messages.follow(piece));
            assert!(messages.ended, "cut every {cut}");
        }
    }

    fn link() -> (Link, TcpStream, Arc<Neighbour>, Arc<Loss>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (neighbour, loss) = (Arc::new(Neighbour::new(3, "there:1".to_owned())), Arc::new(Loss::new()));
        let link = Link::new(listener.accept().unwrap().0, Arc::clone(&neighbour), Arc::clone(&loss));
        (link, other, neighbour, loss)
    }

    #[test]
    fn who_ends_well_is_not_lost() {
        let (mut link, mut other, neighbour, loss) = link();
        assert!(!neighbour.has_ended());
        other.write_all(&[message(5), message(0)].concat()).unwrap();
        drop(other);
        let mut read = Vec::new();
        link.read_to_end(&mut read).unwrap();
        assert_eq!((read.len(), neighbour.has_ended(), loss.get().is_none()), (48 + 5 + 48, true, true));
    }

    #[test]
    fn who_ends_within_or_between_messages_is_lost_and_nobody_panics() {
        for bytes in [message(5), message(5)[..50].to_vec(), Vec::new()] {
            let (mut link, mut other, neighbour, loss) = link();
            other.write_all(&bytes).unwrap();
            drop(other);
            let (told, news) = channel();
            // The thread stays for ever, as timely's do.
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                loop {
                    told.send(link.read(&mut buffer).unwrap()).unwrap();
                }
            });
            let mut left = bytes.len();
            while left > 0 {
                left -= news.recv().unwrap();
            }
            while loss.get().is_none() {
                std::thread::yield_now();
            }
            assert_eq!(loss.get().map(|lost| (lost.process, lost.has_ended())), Some((3, false)));
            assert!(!neighbour.has_ended());
        }
    }
}
