//! How the processes of a cluster find each other.
//!
//! Each one listens at its own address, calls those with lower numbers and is called by those with higher ones. Who calls
//! says hello, the other one answers, and the caller confirms; only then do both count the connection. A hello tells who
//! it is and what it is about to run, so that a stranger is turned away, and processes that would run different things
//! refuse each other rather than give wrong answers.
//!
//! Who says something else than what this process is about to run is told nothing: the connection closes, and the right caller
//! is waited for. A process that is turned away so, several times in succession, concludes that it runs something else.

mod callers;
mod error;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use operators::time::Tick;

use super::Workers;
use super::control::Control;
use super::link::{Link, Loss, Neighbour};
use callers::Callers;

pub use error::ClusterError;

/// What a hello begins with. The last byte is the version of how processes talk.
const MAGIC: [u8; 8] = *b"aisle\0\0\x05";

/// Magic, number, what is run, and where the run begins: the last is what process 0 says.
const HELLO_BYTES: usize = 8 + 8 + 32 + 16;

const CONFIRMED: [u8; 1] = [1];

/// The longest plan that is taken over from process 0, in bytes.
const PLAN_BYTES_MAX: u32 = 64 << 20;

/// How long the other side of a connection may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long an address may take to answer at all.
const CALL_MAX: Duration = Duration::from_secs(1);

/// So many times in succession a process is turned away before it believes it. Once may be a neighbour that just ended.
const TURNED_AWAY_MAX: u32 = 3;

/// How long to rest between two rounds of calls.
const REST: Duration = Duration::from_millis(20);

/// A process that listens for the others of its cluster.
pub struct Cluster {
    listener: TcpListener,
    addresses: Vec<String>,
    process: usize,
    hello: [u8; HELLO_BYTES],
    callers: Callers,
    /// Why callers were turned away; each is told once.
    refusals: BTreeSet<Refusal>,
    /// How many times in succession each process closed the connection upon this one's hello.
    turned_away: Vec<u32>,
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    /// It did not say hello in time.
    Silent,
    /// It is no process of this cluster.
    Stranger,
    /// It says that it is this process, and runs something else.
    Different(usize),
}

/// The connections of a process to all others.
pub struct Links {
    pub(super) sockets: Vec<Option<Link>>,
    pub(super) neighbours: Vec<Arc<Neighbour>>,
    pub(super) loss: Arc<Loss>,
    /// What the processes tell each other.
    pub(super) control: Control,
    /// Which run it is, and where it begins, as process 0 says.
    pub begins: StartPoint,
}

/// What is run, and where it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartPoint {
    /// Which run it is: its checkpoints lie under this number.
    pub run: u64,
    /// The first tick that is not in the checkpoint which is restored, or 0.
    pub upper: Tick,
    /// The recorded configuration, in its canonical text: what every process found by itself may differ in what is no
    /// meaning, such as when it started, or where a topic begins by now.
    pub plan: String,
}

impl StartPoint {
    fn to_bytes(&self) -> [u8; 16] {
        (u128::from(self.run) << 64 | u128::from(self.upper)).to_be_bytes()
    }

    fn from_bytes(bytes: &[u8], plan: String) -> Self {
        let both = u128::from_be_bytes(bytes.try_into().expect("sixteen bytes are sixteen bytes"));
        StartPoint { run: (both >> 64) as u64, upper: both as u64, plan }
    }
}

/// What a hello says of who called.
enum Caller {
    Process(usize),
    Different(usize),
    Stranger,
}

impl Cluster {
    /// Listens. `runs` is a hash of everything that the processes must have in common.
    pub fn listen(workers: &Workers, runs: [u8; 32]) -> Result<Cluster, ClusterError> {
        let process = workers.process;
        let address = workers.addresses[process].clone();
        let listener = TcpListener::bind(&address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ClusterError::Taken { process, address },
            _ => ClusterError::Unavailable { process, address, source },
        })?;
        let mut hello = [0; HELLO_BYTES];
        hello[..8].copy_from_slice(&MAGIC);
        hello[8..16].copy_from_slice(&(process as u64).to_be_bytes());
        hello[16..48].copy_from_slice(&runs);
        let turned_away = vec![0; workers.addresses.len()];
        let (addresses, callers, refusals) = (workers.addresses.clone(), Callers::default(), BTreeSet::new());
        Ok(Cluster { listener, addresses, process, hello, callers, refusals, turned_away })
    }

    /// Waits until there is a connection to every other process; none where that was interrupted. `waiting` is told which
    /// processes are missing, as often as that changes. Where process 0 `begins`, all do.
    pub fn connect(
        mut self,
        begins: StartPoint,
        control: Control,
        interrupted: &AtomicBool,
        mut waiting: impl FnMut(&[String]),
    ) -> Result<Option<Links>, ClusterError> {
        self.hello[48..].copy_from_slice(&begins.to_bytes());
        let mut begins = begins;
        let mut sockets: Vec<Option<TcpStream>> = self.addresses.iter().map(|_| None).collect();
        let mut missing_before = 0;
        loop {
            if interrupted.load(Ordering::Acquire) {
                return Ok(None);
            }
            self.be_called(&mut sockets, &begins.plan);
            for (process, socket) in sockets.iter_mut().enumerate().take(self.process) {
                if socket.is_none() {
                    let Some((stream, told)) = self.call(process)? else { continue };
                    *socket = Some(stream);
                    begins = told.unwrap_or(begins);
                }
            }
            let missing =
                sockets.iter().enumerate().filter(|(process, socket)| *process != self.process && socket.is_none());
            let missing: Vec<String> =
                missing.map(|(process, _)| format!("process {process} ({})", self.addresses[process])).collect();
            if missing.is_empty() {
                break;
            }
            if missing.len() != missing_before {
                missing_before = missing.len();
                waiting(&missing);
            }
            std::thread::sleep(REST);
        }
        let (mut neighbours, loss) = (Vec::new(), Arc::new(Loss::new()));
        let link = |(process, socket): (usize, Option<TcpStream>)| {
            let socket = socket?;
            let neighbour = Arc::new(Neighbour::new(process, self.addresses[process].clone()));
            neighbours.push(Arc::clone(&neighbour));
            Some(Link::new(socket, neighbour, Arc::clone(&loss)))
        };
        let sockets = sockets.into_iter().enumerate().map(link).collect();
        Ok(Some(Links { sockets, neighbours, loss, control, begins }))
    }

    /// Calls a process with a lower number, none if it is not there yet. Process 0 also says what is run from where.
    fn call(&mut self, process: usize) -> Result<Option<(TcpStream, Option<StartPoint>)>, ClusterError> {
        let address = self.addresses[process].clone();
        let Some(mut stream) = call(&address) else { return Ok(None) };
        let answer = match stream.write_all(&self.hello).and_then(|()| read_hello(&mut stream)) {
            Ok(answer) => answer,
            Err(error) => {
                let is_closed = error.kind() == io::ErrorKind::UnexpectedEof;
                let turned_away = &mut self.turned_away[process];
                *turned_away = if is_closed { *turned_away + 1 } else { 0 };
                let is_believed = *turned_away >= TURNED_AWAY_MAX;
                return if is_believed { Err(ClusterError::Different { process }) } else { Ok(None) };
            }
        };
        match self.caller(&answer) {
            Caller::Process(number) if number == process => {}
            Caller::Different(number) if number == process => return Err(ClusterError::Different { process }),
            _ => return Err(ClusterError::Stranger { process, address }),
        }
        let confirmed = stream.write_all(&CONFIRMED).and_then(|()| match process {
            0 => Ok(Some(StartPoint::from_bytes(&answer[48..], read_plan(&mut stream)?))),
            _ => Ok(None),
        });
        let confirmed = confirmed.and_then(|begins| without_deadline(&stream).map(|()| begins));
        Ok(confirmed.ok().map(|begins| (stream, begins)))
    }

    /// Takes the calls that have come.
    fn be_called(&mut self, sockets: &mut [Option<TcpStream>], plan: &str) {
        for call in self.callers.hear(&self.listener, Instant::now()) {
            let Some(hello) = call.hello else {
                self.turn_away(Refusal::Silent, call.from);
                continue;
            };
            match self.caller(&hello) {
                Caller::Process(process) if process > self.process => {
                    // A process that was started again calls again: its newest connection counts.
                    if let Ok(stream) = self.take(call.stream, plan) {
                        sockets[process] = Some(stream);
                    }
                }
                Caller::Different(process) if process > self.process => {
                    self.turn_away(Refusal::Different(process), call.from);
                }
                Caller::Process(_) | Caller::Different(_) | Caller::Stranger => {
                    self.turn_away(Refusal::Stranger, call.from);
                }
            }
        }
    }

    /// Answers a process of this cluster that said hello.
    fn take(&self, mut stream: TcpStream, plan: &str) -> io::Result<TcpStream> {
        with_deadline(&stream)?;
        stream.write_all(&self.hello)?;
        let mut confirmed = [0];
        stream.read_exact(&mut confirmed)?;
        if confirmed != CONFIRMED {
            return Err(io::Error::other("it does not confirm"));
        }
        if self.process == 0 {
            write_plan(&mut stream, plan)?;
        }
        without_deadline(&stream)?;
        Ok(stream)
    }

    /// Says for what reason callers are turned away, once for each; the caller hears nothing.
    fn turn_away(&mut self, refusal: Refusal, from: SocketAddr) {
        if !self.refusals.insert(refusal) {
            return;
        }
        match refusal {
            Refusal::Silent => tracing::warn!(%from, "somebody called who said nothing; told once"),
            Refusal::Stranger => tracing::warn!(%from, "somebody called who is not of this cluster; told once"),
            Refusal::Different(process) => {
                let different = ClusterError::Different { process };
                tracing::warn!(%from, "{different}; it was turned away, and is waited for");
            }
        }
    }

    fn caller(&self, hello: &[u8; HELLO_BYTES]) -> Caller {
        let number = u64::from_be_bytes(hello[8..16].try_into().expect("eight bytes are eight bytes"));
        match usize::try_from(number) {
            Ok(process) if hello[..8] == MAGIC && process < self.addresses.len() => {
                let is_same = hello[16..48] == self.hello[16..48];
                if is_same { Caller::Process(process) } else { Caller::Different(process) }
            }
            _ => Caller::Stranger,
        }
    }
}

/// A connection to an address, if anybody answers there.
fn call(address: &str) -> Option<TcpStream> {
    let mut addresses = address.to_socket_addrs().ok()?;
    let stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, CALL_MAX).ok())?;
    with_deadline(&stream).ok()?;
    Some(stream)
}

fn with_deadline(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))
}

fn without_deadline(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

fn read_hello(stream: &mut TcpStream) -> io::Result<[u8; HELLO_BYTES]> {
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello)?;
    Ok(hello)
}

fn write_plan(stream: &mut TcpStream, plan: &str) -> io::Result<()> {
    let length = u32::try_from(plan.len()).ok().filter(|length| *length <= PLAN_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the plan is too long to be told to others"))?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(plan.as_bytes())
}

/// Takes the plan of process 0; no more than it says is taken, and that is bounded.
fn read_plan(stream: &mut TcpStream) -> io::Result<String> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > PLAN_BYTES_MAX {
        return Err(io::Error::other("no plan is as long as that"));
    }
    let mut plan = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut plan)?;
    let plan = String::from_utf8(plan).map_err(io::Error::other)?;
    if plan.len() < length as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(plan) }
}

#[cfg(test)]
mod tests;
