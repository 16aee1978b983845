//! Several processes, on one host or many, that work on one job: where they run, how they find each
//! other, and how all of them end when one fails.
//!
//! ```text
//! host 1                               host 2
//!   parent: store (TCPStore)  <-------   parent
//!     |        ^                           |
//!     |        '------------------------.  |
//!   worker 0, worker 1  <-- Gloo, NCCL -->  worker 2, worker 3
//! ```
//!
//! The parent of each host starts the host's workers ([`Workers`]) and watches them. Parents find
//! each other through a store in the first host's parent ([`Meeting::join`]), so that the store
//! outlives every worker. Each parent tells the store every second that it lives, and reads there
//! whether the others do, whether a worker failed, and whether the job was asked to stop
//! ([`Watch`]). Workers tell the store the same of themselves from a thread of their own
//! ([`Heartbeat`]), which goes on while a collective waits.

mod address;
mod exchange_test;
mod fault;
mod heartbeat;
mod job_store;
mod liveness;
mod meeting;
mod nccl_environment;
mod nccl_log;
mod topology;
mod watch;
mod workers;

pub use address::Route;
pub use exchange_test::ExchangeTest;
pub use fault::Fault;
pub use heartbeat::{Heartbeat, WorkerProgress};
pub use job_store::JobStore;
pub use meeting::{Meeting, Member, WorkerDevice, leave};
pub use nccl_environment::{NcclEnvironment, NcclHost};
pub use nccl_log::NcclTransports;
pub use topology::{HostWorkers, Topology};
pub use watch::{SILENCE_TIMEOUT, Watch, WatchSettings};
pub use workers::{WorkerExit, Workers};
