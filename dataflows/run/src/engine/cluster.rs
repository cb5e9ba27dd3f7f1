//! How the processes of a cluster find each other.
//!
//! Each one listens at its own address, calls those with lower numbers and is called by those with higher ones. Who calls
//! says hello, the other one answers, and the caller confirms; only then do both count the connection. A hello tells who
//! it is and what it is about to run, so that a stranger is turned away, and processes that would run different things
//! refuse each other rather than give wrong answers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use operators::time::Tick;

use super::Workers;
use super::control::Control;
use super::link::{Link, Loss, Neighbour};

/// What a hello begins with. The last byte is the version of how processes talk.
const MAGIC: [u8; 8] = *b"aisle\0\0\x05";

/// Magic, number, what is run, and where the run begins: the last is what process 0 says.
const HELLO_BYTES: usize = 8 + 8 + 32 + 16;

const CONFIRMED: [u8; 1] = [1];

/// The longest plan that is taken over from process 0, in bytes.
const PLAN_BYTES_MAX: u32 = 64 << 20;

/// How long the other side of a connection may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(1);

/// How long an address may take to answer at all.
const CALL_MAX: Duration = Duration::from_secs(1);

/// How long to rest between two rounds of calls.
const REST: Duration = Duration::from_millis(20);

/// Why the processes did not come together. All of these are mistakes in how they were started.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Someone listens there already.
    #[error(
        "could not listen on {address}, where the host file has process {process}, since another process does; stop it, or \
         give the cluster another port"
    )]
    Taken {
        /// Of this process.
        process: usize,
        /// Of this process.
        address: String,
    },
    /// It is no address of this machine, or not allowed.
    #[error(
        "could not listen on {address}, where the host file has process {process}; is that an address of this machine?"
    )]
    Unavailable {
        /// Of this process.
        process: usize,
        /// Of this process.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The other process runs something else.
    #[error(
        "process {process} runs something else: each process of a cluster needs the same configuration, input files, \
         --workers, --processes and build"
    )]
    Different {
        /// The other one.
        process: usize,
    },
    /// Something else listens there.
    #[error(
        "what answers at {address} is not process {process} of this cluster: is the host file the same everywhere?"
    )]
    Stranger {
        /// The one that was called.
        process: usize,
        /// Where.
        address: String,
    },
}

/// A process that listens for the others of its cluster.
pub struct Cluster {
    listener: TcpListener,
    addresses: Vec<String>,
    process: usize,
    hello: [u8; HELLO_BYTES],
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
        Ok(Cluster { listener, addresses: workers.addresses.clone(), process, hello })
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
            self.be_called(&mut sockets, &begins.plan)?;
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
    fn call(&self, process: usize) -> Result<Option<(TcpStream, Option<StartPoint>)>, ClusterError> {
        let address = &self.addresses[process];
        let Some(mut stream) = call(address) else { return Ok(None) };
        let Ok(answer) = stream.write_all(&self.hello).and_then(|()| read_hello(&mut stream)) else { return Ok(None) };
        match self.caller(&answer) {
            Caller::Process(number) if number == process => {}
            Caller::Different(number) if number == process => return Err(ClusterError::Different { process }),
            _ => return Err(ClusterError::Stranger { process, address: address.clone() }),
        }
        let confirmed = stream.write_all(&CONFIRMED).and_then(|()| match process {
            0 => Ok(Some(StartPoint::from_bytes(&answer[48..], read_plan(&mut stream)?))),
            _ => Ok(None),
        });
        let confirmed = confirmed.and_then(|begins| without_deadline(&stream).map(|()| begins));
        Ok(confirmed.ok().map(|begins| (stream, begins)))
    }

    /// Takes the calls that have come.
    fn be_called(&self, sockets: &mut [Option<TcpStream>], plan: &str) -> Result<(), ClusterError> {
        while let Ok((mut stream, from)) = self.listener.accept() {
            let hello = with_deadline(&stream).and_then(|()| read_hello(&mut stream));
            let Ok(hello) = hello else {
                tracing::warn!(%from, "somebody called who said nothing");
                continue;
            };
            let process = match self.caller(&hello) {
                Caller::Process(process) if process > self.process => process,
                Caller::Different(process) => {
                    // The other one finds out by the same hello; if it is gone by now, it knows.
                    let _ = stream.write_all(&self.hello);
                    return Err(ClusterError::Different { process });
                }
                Caller::Process(_) | Caller::Stranger => {
                    tracing::warn!(%from, "somebody called who is not of this cluster");
                    continue;
                }
            };
            let mut confirmed = [0];
            let talked = stream.write_all(&self.hello).and_then(|()| stream.read_exact(&mut confirmed));
            let talked = talked.and_then(|()| if self.process == 0 { write_plan(&mut stream, plan) } else { Ok(()) });
            // A process that was started again calls again: its newest connection counts.
            if talked.and_then(|()| without_deadline(&stream)).is_ok() && confirmed == CONFIRMED {
                sockets[process] = Some(stream);
            }
        }
        Ok(())
    }

    fn caller(&self, hello: &[u8; HELLO_BYTES]) -> Caller {
        let number = u64::from_be_bytes(hello[8..16].try_into().expect("eight bytes are eight bytes"));
        match usize::try_from(number) {
            _ if hello[..8] != MAGIC => Caller::Stranger,
            Ok(process) if hello[16..48] != self.hello[16..48] => Caller::Different(process),
            Ok(process) if process < self.addresses.len() => Caller::Process(process),
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
    stream.set_read_timeout(Some(HELLO_MAX))?;
    stream.set_write_timeout(Some(HELLO_MAX))
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
mod tests {
    use std::thread::spawn;

    use super::*;

    fn cluster(process: usize, processes: usize, runs: u8) -> (Cluster, Workers) {
        // Port 0 of each: tests put the real ones in afterwards.
        let addresses = vec!["127.0.0.1:0".to_owned(); processes];
        let workers = Workers { threads: 1, addresses, process };
        (Cluster::listen(&workers, [runs; 32]).unwrap(), workers)
    }

    /// Clusters that know each other's ports.
    fn clusters(runs: &[u8]) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> =
            runs.iter().enumerate().map(|(process, runs_here)| cluster(process, runs.len(), *runs_here).0).collect();
        let addresses: Vec<String> =
            clusters.iter().map(|cluster| cluster.listener.local_addr().unwrap().to_string()).collect();
        clusters.iter_mut().for_each(|cluster| cluster.addresses.clone_from(&addresses));
        clusters
    }

    fn begins() -> StartPoint {
        StartPoint { run: u64::MAX - 5, upper: 17, plan: "what is run".repeat(10_000) }
    }

    fn connect(cluster: Cluster) -> Result<Option<Links>, ClusterError> {
        let begins = if cluster.process == 0 { begins() } else { StartPoint::default() };
        let workers = Workers { threads: 1, addresses: cluster.addresses.clone(), process: cluster.process };
        cluster.connect(begins, Control::other(&workers), &AtomicBool::new(false), |_| {})
    }

    #[test]
    fn three_processes_find_each_other_and_strangers_are_turned_away() {
        let clusters = clusters(&[7, 7, 7]);
        let mut stranger = TcpStream::connect(&clusters[0].addresses[0]).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\nhost: somebody-who-is-not-of-this-cluster\r\n\r\n").unwrap();
        let threads: Vec<_> = clusters.into_iter().map(|cluster| spawn(move || connect(cluster))).collect();
        for (process, thread) in threads.into_iter().enumerate() {
            let links = thread.join().unwrap().unwrap().unwrap();
            let connected: Vec<usize> =
                links.sockets.iter().enumerate().filter(|(_, link)| link.is_some()).map(|(number, _)| number).collect();
            assert_eq!(connected, (0..3).filter(|other| *other != process).collect::<Vec<_>>());
            assert!(links.loss.get().is_none());
            assert_eq!(links.begins, begins(), "as process 0 says");
        }
    }

    #[test]
    fn processes_that_run_different_things_refuse_each_other() {
        let threads: Vec<_> =
            clusters(&[7, 8]).into_iter().map(|cluster| spawn(move || connect(cluster).err())).collect();
        let errors: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(matches!(errors[0], Some(ClusterError::Different { process: 1 })), "{errors:?}");
        assert!(matches!(errors[1], Some(ClusterError::Different { process: 0 })), "{errors:?}");
    }

    #[test]
    fn what_is_no_process_of_the_cluster_is_named() {
        let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut cluster, _) = cluster(1, 2, 7);
        cluster.addresses[0] = somebody.local_addr().unwrap().to_string();
        let answering = spawn(move || {
            let (mut stream, _) = somebody.accept().unwrap();
            read_hello(&mut stream).unwrap();
            stream.write_all(&[b'x'; HELLO_BYTES]).unwrap();
        });
        assert!(matches!(connect(cluster), Err(ClusterError::Stranger { process: 0, .. })));
        answering.join().unwrap();
    }

    #[test]
    fn waiting_says_for_whom_and_can_be_interrupted() {
        let (cluster, workers) = cluster(0, 3, 7);
        let interrupted = AtomicBool::new(false);
        let mut told = Vec::new();
        let links = cluster.connect(StartPoint::default(), Control::other(&workers), &interrupted, |missing| {
            told.extend_from_slice(missing);
            interrupted.store(true, Ordering::Release);
        });
        assert!(links.unwrap().is_none());
        assert_eq!(told, ["process 1 (127.0.0.1:0)", "process 2 (127.0.0.1:0)"]);
    }

    #[test]
    fn a_taken_port_is_named() {
        let (cluster, mut workers) = cluster(0, 2, 7);
        workers.addresses[0] = cluster.listener.local_addr().unwrap().to_string();
        let error = Cluster::listen(&workers, [7; 32]).err().unwrap();
        assert!(matches!(&error, ClusterError::Taken { process: 0, .. }), "{error:?}");
        assert!(error.to_string().contains(&workers.addresses[0]), "{error}");
    }
}
