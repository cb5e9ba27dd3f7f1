//! Processes that find each other, those that are refused, and strangers.

use std::thread::{JoinHandle, spawn};

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

/// Process 0 of a cluster, which waits in a thread until it is interrupted.
fn waiting(cluster: Cluster) -> (JoinHandle<Result<Option<Links>, ClusterError>>, Arc<AtomicBool>) {
    let interrupted = Arc::new(AtomicBool::new(false));
    let workers = Workers { threads: 1, addresses: cluster.addresses.clone(), process: cluster.process };
    let heard = Arc::clone(&interrupted);
    (spawn(move || cluster.connect(begins(), Control::other(&workers), &heard, |_| {})), interrupted)
}

#[test]
fn a_process_that_runs_something_else_is_turned_away_and_waited_for() {
    let mut clusters = clusters(&[7, 8]);
    let (second, first) = (clusters.pop().unwrap(), clusters.pop().unwrap());
    let (first, interrupted) = waiting(first);
    assert!(matches!(connect(second), Err(ClusterError::Different { process: 0 })));
    interrupted.store(true, Ordering::Release);
    assert!(first.join().unwrap().unwrap().is_none(), "it waited on");
}

/// Whatever a stranger says, it hears nothing, and the process that is waited for comes all the same.
#[test]
fn strangers_are_told_nothing_and_end_nothing() {
    let mut clusters = clusters(&[7, 7]);
    let (second, first) = (clusters.pop().unwrap(), clusters.pop().unwrap());
    let address = first.addresses[0].clone();
    let (first, _) = waiting(first);
    for (number, runs) in [(1u64, 0), (0, 7), (2, 7), (u64::MAX, 0), (1, 8)] {
        let mut hello = [runs; HELLO_BYTES];
        hello[..8].copy_from_slice(&MAGIC);
        hello[8..16].copy_from_slice(&number.to_be_bytes());
        let mut stranger = TcpStream::connect(&address).unwrap();
        stranger.write_all(&hello).unwrap();
        let mut told = Vec::new();
        // The connection ends, in order or not.
        let _ = stranger.read_to_end(&mut told);
        assert_eq!(told, b"", "process {number}");
    }
    assert!(connect(second).unwrap().is_some());
    assert!(first.join().unwrap().unwrap().is_some());
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
