//! How many connections are open, in all and from each address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::engine::lock;
use dataflows::answer::Failure;

/// The connections that are open.
pub(super) struct Peers {
    open: Mutex<Open>,
    connections_max: usize,
    peer_connections_max: usize,
}

#[derive(Default)]
struct Open {
    connections: usize,
    by_peer: BTreeMap<IpAddr, usize>,
}

/// The place of a connection, until it is dropped.
pub(super) struct Place {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    /// No connection is open.
    pub(super) fn new(connections_max: usize, peer_connections_max: usize) -> Arc<Peers> {
        Arc::new(Peers { open: Mutex::default(), connections_max, peer_connections_max })
    }

    /// A place for a connection from an address, if there is one.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Failure> {
        // An IPv4 client of a socket for both is the same one.
        let peer = peer.to_canonical();
        let mut open = lock(&self.open);
        if open.connections >= self.connections_max {
            return Err(Failure::too_many_connections(self.connections_max));
        }
        let of_peer = open.by_peer.entry(peer).or_default();
        if *of_peer >= self.peer_connections_max {
            return Err(Failure::too_many_of_peer(self.peer_connections_max));
        }
        *of_peer += 1;
        open.connections += 1;
        Ok(Place { peers: Arc::clone(self), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.peers.open);
        open.connections -= 1;
        if let Some(of_peer) = open.by_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address() {
        let peers = Peers::new(3, 2);
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let status = |last| peers.admit(address(last)).map_or_else(|failure| failure.status, |_| 200);
        let first = peers.admit(address(1)).unwrap();
        let second = peers.admit("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((status(1), status(2)), (429, 200));
        let third = peers.admit(address(2)).unwrap();
        assert_eq!((status(1), status(2)), (503, 503));
        drop(second);
        assert_eq!((status(1), status(2)), (200, 200));
        drop((first, third));
        assert!(lock(&peers.open).by_peer.is_empty(), "nothing is kept of who has left");
    }
}
