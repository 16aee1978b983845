//! The store of a job with its keys: what hosts and workers tell each other.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::error::{Error, Result};
use crate::torch::Store;

/// Longest time of one request. What takes longer is found out by [`Watch`](super::Watch), which
/// does not wait for it.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Largest part of a value, in bytes; c10d's store takes no more than twice that.
const MAX_PART_BYTES: usize = 4 << 20;

const FAULT_KEY: &str = "fault";
const FAULT_CLAIMS_KEY: &str = "fault/claims";
const STOP_KEY: &str = "stop";
const LEFT_KEY: &str = "hosts/left";
const DONE_KEY: &str = "hosts/done";

/// Where the store of a job listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoreAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A connection to the store of a job. Calls of one connection wait for each other, so each thread
/// has its own.
#[derive(Debug)]
pub struct JobStore {
    store: Store,
    address: StoreAddress,
}

impl JobStore {
    /// Starts the store of a job behind a socket that listens.
    pub(super) fn serve(listener: TcpListener) -> Result<Self> {
        let store = Store::serve(listener, REQUEST_TIMEOUT)?;
        let address = StoreAddress { host: Ipv4Addr::LOCALHOST.to_string(), port: store.port() };
        Ok(Self { store, address })
    }

    /// Starts a store that only this machine reaches.
    #[cfg(test)]
    pub(super) fn serve_on_loopback() -> Self {
        Self::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap()
    }

    /// Connects to the store of a job.
    pub(super) fn connect(address: StoreAddress) -> Result<Self> {
        let store = Store::connect(&address.host, address.port, REQUEST_TIMEOUT)?;
        Ok(Self { store, address })
    }

    /// Makes a further connection to the same store.
    pub fn reconnect(&self) -> Result<Self> {
        Self::connect(self.address.clone())
    }

    /// Returns the address as text, for another process of this host.
    pub fn address(&self) -> String {
        let StoreAddress { host, port } = &self.address;
        format!("{host} {port}")
    }

    /// Connects to the store at an address that [`JobStore::address`] returned.
    pub fn connect_to(address: &str) -> Result<Self> {
        let parsed = address.split_once(' ').and_then(|(host, port)| {
            Some(StoreAddress { host: host.to_owned(), port: port.parse().ok()? })
        });
        let Some(address) = parsed else {
            return Err(Error::internal(format!("{address:?} is no address of a store")));
        };
        Self::connect(address)
    }

    /// Returns the connection, by which the processes of a group find each other.
    pub fn as_store(&self) -> &Store {
        &self.store
    }

    /// Stores a value of any size that all processes can read.
    pub fn publish(&self, name: &str, value: &[u8]) -> Result<()> {
        let mut parts = 0;
        for part in value.chunks(MAX_PART_BYTES) {
            self.store.set(&part_key(name, parts), part)?;
            parts += 1;
        }
        // Last, so that whoever finds it finds the parts.
        self.store.set(name, &u64::to_le_bytes(parts))
    }

    /// Returns a value, if a process has stored it.
    pub fn find(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.store.has(name)? {
            return Ok(None);
        }
        let Ok(parts) = self.store.get(name)?.try_into() else {
            return Err(Error::internal(format!("the store's {name} is not a number of parts")));
        };
        let mut value = Vec::new();
        for part in 0..u64::from_le_bytes(parts) {
            value.extend(self.store.get(&part_key(name, part))?);
        }
        Ok(Some(value))
    }

    /// Waits for a value as long as it takes.
    pub fn wait_for(&self, name: &str) -> Result<Vec<u8>> {
        loop {
            if let Some(value) = self.find(name)? {
                return Ok(value);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Adds to a counter, which is 0 at first, and returns its value.
    pub(super) fn add(&self, counter: &str, amount: i64) -> Result<i64> {
        self.store.add(counter, amount)
    }

    /// Returns the value of a counter.
    pub(super) fn count(&self, counter: &str) -> Result<i64> {
        self.store.add(counter, 0)
    }

    /// Makes a fault that of the job, unless another process was first.
    pub(super) fn claim_fault(&self, fault: &Fault) -> Result<()> {
        if self.store.add(FAULT_CLAIMS_KEY, 1)? == 1 {
            self.write_fault(fault)?;
        }
        Ok(())
    }

    /// Makes a fault that of the job, whatever other processes claim.
    pub(super) fn write_fault(&self, fault: &Fault) -> Result<()> {
        let text = serde_json::to_vec(fault)
            .map_err(|cause| Error::internal(format!("a fault: {cause}")))?;
        self.publish(FAULT_KEY, &text)
    }

    /// Returns the fault of the job, if it has one.
    pub(super) fn fault(&self) -> Result<Option<Fault>> {
        let Some(text) = self.find(FAULT_KEY)? else { return Ok(None) };
        let fault = serde_json::from_slice(&text)
            .map_err(|cause| Error::internal(format!("the store's fault: {cause}")))?;
        Ok(Some(fault))
    }

    /// Asks all hosts to stop the job.
    pub(super) fn request_stop(&self) -> Result<()> {
        self.store.set(STOP_KEY, b"1")
    }

    /// Returns true if a host asked all to stop.
    pub(super) fn is_stop_requested(&self) -> Result<bool> {
        self.store.has(STOP_KEY)
    }

    /// Says that all workers of a host have done their work.
    pub(super) fn add_done_host(&self) -> Result<()> {
        self.store.add(DONE_KEY, 1)?;
        Ok(())
    }

    /// Returns the number of hosts whose workers have done their work.
    pub(super) fn done_hosts(&self) -> Result<i64> {
        self.count(DONE_KEY)
    }

    /// Says that a host will not use the store again.
    pub(super) fn add_left_host(&self) -> Result<()> {
        self.store.add(LEFT_KEY, 1)?;
        Ok(())
    }

    /// Returns the number of hosts that will not use the store again.
    pub(super) fn left_hosts(&self) -> Result<i64> {
        self.count(LEFT_KEY)
    }
}

/// Names a part of a value.
fn part_key(name: &str, part: u64) -> String {
    format!("{name}/part/{part}")
}

/// Names the counter that a host adds to as long as it lives.
pub(super) fn host_pulse_key(host: usize) -> String {
    format!("host/{host}/alive")
}

/// Names the counter that a worker adds to as long as it lives.
pub(super) fn worker_pulse_key(rank: usize) -> String {
    format!("worker/{rank}/alive")
}

/// Names the counter of a worker's steps and batches.
pub(super) fn worker_progress_key(rank: usize) -> String {
    format!("worker/{rank}/progress")
}

/// Names the counter that is above 0 while a worker does something that takes long.
pub(super) fn worker_long_phase_key(rank: usize) -> String {
    format!("worker/{rank}/long_phase")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_that_of_the_job() {
        let first = JobStore::serve_on_loopback();
        let second = JobStore::connect_to(&first.address()).unwrap();
        assert_eq!(second.fault().unwrap(), None);
        second.claim_fault(&Fault::new("one".to_owned())).unwrap();
        first.claim_fault(&Fault::new("two".to_owned())).unwrap();
        assert_eq!(first.fault().unwrap(), Some(Fault::new("one".to_owned())));
        assert!(!first.is_stop_requested().unwrap());
        second.request_stop().unwrap();
        assert!(first.reconnect().unwrap().is_stop_requested().unwrap());
    }

    #[test]
    fn values_are_found_once_they_are_there() {
        let store = JobStore::serve_on_loopback();
        assert_eq!(store.find("samples").unwrap(), None);
        store.publish("samples", b"").unwrap();
        assert_eq!(store.wait_for("samples").unwrap(), b"");
        for bytes in [1, MAX_PART_BYTES, 2 * MAX_PART_BYTES + 1, 5 * MAX_PART_BYTES] {
            let value: Vec<u8> = (0..bytes).map(|byte| (byte % 251) as u8).collect();
            store.publish("large", &value).unwrap();
            assert!(store.find("large").unwrap() == Some(value), "{bytes} bytes");
        }
        assert!(JobStore::connect_to("nowhere").is_err());
    }
}
