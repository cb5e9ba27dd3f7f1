//! Those who have called and not yet said who they are.
//!
//! Anybody can call who can reach the port. So all of them are listened to at once, each for a bounded time, and nobody is
//! told anything before a whole hello has been heard.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::HELLO_BYTES;

/// How long a caller may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(1);

/// How many may be listened to at once; beyond that the ones who have been silent for longest are dropped.
const CALLERS_MAX: usize = 256;

/// The callers whose hellos are not whole yet, in the order in which they called.
#[derive(Debug, Default)]
pub(super) struct Callers {
    waiting: VecDeque<Caller>,
}

#[derive(Debug)]
struct Caller {
    stream: TcpStream,
    from: SocketAddr,
    hello: [u8; HELLO_BYTES],
    received: usize,
    deadline: Instant,
}

/// A caller who said hello, or did not in time.
pub(super) struct Call {
    pub(super) stream: TcpStream,
    pub(super) from: SocketAddr,
    /// None where it was not whole in time.
    pub(super) hello: Option<[u8; HELLO_BYTES]>,
}

impl Callers {
    /// Takes the calls that have come, and gives those of which the hello is whole, or will not be. Waits for nobody.
    pub(super) fn hear(&mut self, listener: &TcpListener, now: Instant) -> Vec<Call> {
        // Bounded: those who call as fast as they are taken do not keep the others waiting.
        for _ in 0..CALLERS_MAX {
            let Ok((stream, from)) = listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                let deadline = now + HELLO_MAX;
                self.waiting.push_back(Caller { stream, from, hello: [0; HELLO_BYTES], received: 0, deadline });
            }
        }
        let mut calls = Vec::new();
        for mut caller in std::mem::take(&mut self.waiting) {
            match caller.read() {
                Ok(false) if now < caller.deadline => self.waiting.push_back(caller),
                Ok(true) => calls.push(caller.into_call(true)),
                Ok(false) | Err(_) => calls.push(caller.into_call(false)),
            }
        }
        let excess = self.waiting.len().saturating_sub(CALLERS_MAX);
        calls.extend(self.waiting.drain(..excess).map(|caller| caller.into_call(false)));
        calls
    }
}

impl Caller {
    /// Reads what has come of the hello; whether it is whole. No byte behind it is taken.
    fn read(&mut self) -> io::Result<bool> {
        while self.received < HELLO_BYTES {
            match self.stream.read(&mut self.hello[self.received..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn into_call(self, is_whole: bool) -> Call {
        Call { stream: self.stream, from: self.from, hello: is_whole.then_some(self.hello) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn listener() -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// Listens until so many calls came, all at one instant.
    fn hear(callers: &mut Callers, listener: &TcpListener, now: Instant, count: usize) -> Vec<Call> {
        let mut calls = Vec::new();
        while calls.len() < count {
            calls.extend(callers.hear(listener, now));
            std::thread::yield_now();
        }
        calls
    }

    #[test]
    fn silent_callers_keep_nobody_out_and_are_dropped_in_time() {
        let (listener, mut callers, now) = (listener(), Callers::default(), Instant::now());
        let call = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut silent: Vec<TcpStream> = (0..20).map(|_| call()).collect();
        silent[7].write_all(b"aisle").unwrap();
        let mut talking = call();
        talking.write_all(&[9; HELLO_BYTES + 5]).unwrap();
        let calls = hear(&mut callers, &listener, now, 1);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].hello, Some([9; HELLO_BYTES]));
        assert_eq!(calls[0].from, talking.local_addr().unwrap());
        assert_eq!(callers.waiting.len(), 20, "no time has passed");
        let calls = hear(&mut callers, &listener, now + HELLO_MAX, 20);
        assert!(calls.iter().all(|call| call.hello.is_none()) && callers.waiting.is_empty());
    }

    #[test]
    fn no_more_are_listened_to_than_there_may_be() {
        let (listener, mut callers, now) = (listener(), Callers::default(), Instant::now());
        let mut silent = Vec::new();
        for _ in 0..3 {
            silent.extend((0..100).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
            callers.hear(&listener, now);
        }
        let oldest = hear(&mut callers, &listener, now, 0);
        assert_eq!((callers.waiting.len(), oldest.len()), (CALLERS_MAX, 0));
        // Whoever calls now is heard all the same.
        let mut talking = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        talking.write_all(&[9; HELLO_BYTES]).unwrap();
        assert!(hear(&mut callers, &listener, now, 1).iter().any(|call| call.hello.is_some()));
    }
}
