//! Why the processes of a cluster did not come together.

use std::io;

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
