//! The start of a job: its hosts find each other, and compare what they are about to do.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::address::resolve;
use super::fault::Fault;
use super::job_store::{JobStore, StoreAddress};
use super::topology::{HostWorkers, Topology};
use crate::error::{Error, Problems, Result};
use crate::settings::RENDEZVOUS_PORT;

/// Time between two looks for hosts that are not there yet.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Longest time of one attempt to reach the first host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Kind of device that all workers of a host compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerDevice {
    Cpu,
    /// A worker for each GPU.
    Gpu,
}

impl WorkerDevice {
    fn describe(self) -> &'static str {
        match self {
            Self::Cpu => "no GPU that can be used",
            Self::Gpu => "GPUs",
        }
    }
}

/// A host, as it describes itself to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Version of the program, with its revision.
    pub version: String,
    /// Number of workers that the host will start.
    pub workers: usize,
    pub device: WorkerDevice,
    /// Why the device cannot be used, if it cannot.
    pub device_problem: Option<String>,
    /// Settings of the job, which must be the same on all hosts.
    pub settings: BTreeMap<String, String>,
}

/// The hosts that are to meet.
#[derive(Debug, Clone, Copy)]
pub struct Meeting<'a> {
    /// Names of all hosts. The first one keeps the store.
    pub hosts: &'a [String],
    /// Position of this host.
    pub current_host: usize,
    /// Port of the store on the first host; one host alone takes any.
    pub port: u16,
    /// Longest time until all hosts are there.
    pub timeout: Duration,
}

impl Meeting<'_> {
    /// Waits until all hosts are there. Returns the store and the workers of all, or nothing if
    /// `should_stop` returned true meanwhile.
    ///
    /// # Errors
    ///
    /// A host did not come within the timeout, or is about to do something else than the first.
    pub fn join(
        &self,
        own: &Member,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<(JobStore, Topology)>> {
        let deadline = Instant::now() + self.timeout;
        let store = if self.current_host == 0 {
            self.serve_store()?
        } else {
            match self.reach_store(deadline, should_stop)? {
                Some(store) => store,
                None => return Ok(None),
            }
        };
        let topology = match self.meet(&store, own, deadline, should_stop) {
            Ok(Some(topology)) => topology,
            // A store that broke is that of a first host which was asked to stop, too.
            Ok(None) => {
                leave(&store, self.current_host, self.hosts.len());
                return Ok(None);
            }
            Err(_) if should_stop() => return Ok(None),
            Err(error) => {
                // The others end by the same reason.
                let _ = store.claim_fault(&Fault::from_error(&error));
                leave(&store, self.current_host, self.hosts.len());
                return Err(error);
            }
        };
        Ok(Some((store, topology)))
    }

    /// Tells the others about this host, and waits for what they tell.
    fn meet(
        &self,
        store: &JobStore,
        own: &Member,
        deadline: Instant,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<Topology>> {
        let text = serde_json::to_vec(own)
            .map_err(|cause| Error::internal(format!("a host's settings: {cause}")))?;
        let members = store
            .publish(&member_key(self.current_host), &text)
            .and_then(|()| self.wait_for_members(store, deadline, should_stop));
        let Some(members) = members? else { return Ok(None) };
        check_members(self.hosts, &members)?;
        let mut hosts = Vec::new();
        for (name, member) in self.hosts.iter().zip(members) {
            hosts.push(HostWorkers { name: name.clone(), workers: member.workers });
        }
        Ok(Some(Topology { hosts }))
    }

    /// Returns the error of a store that broke, which its host did when it ended.
    fn first_host_ended(&self, cause: &Error) -> Error {
        Error::input(format!(
            "host {} ended before all hosts of the job had met; its log says why ({cause})",
            self.hosts[0]
        ))
    }

    /// Starts the store: for the other hosts on every interface, for one host on loopback alone,
    /// since whoever reaches it could end the job.
    fn serve_store(&self) -> Result<JobStore> {
        let address = if self.hosts.len() == 1 {
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        } else {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port))
        };
        match TcpListener::bind(address) {
            Ok(listener) => JobStore::serve(listener),
            Err(cause) => Err(Error::input(format!(
                "the port {} on which the hosts of a job meet cannot be used ({cause}); set \
                 another one by --{} (MASKMAKER_RENDEZVOUS_PORT), the same on all hosts",
                self.port,
                RENDEZVOUS_PORT.name.replace('_', "-")
            ))),
        }
    }

    /// Connects to the store in the first host, which may start later than this one.
    fn reach_store(
        &self,
        deadline: Instant,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<JobStore>> {
        let host = &self.hosts[0];
        loop {
            let attempt = resolve(host, self.port)
                .and_then(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT));
            match attempt {
                Ok(_) => {
                    let address = StoreAddress { host: host.clone(), port: self.port };
                    return JobStore::connect(address).map(Some);
                }
                Err(cause) if Instant::now() >= deadline => {
                    return Err(Error::input(format!(
                        "host {} cannot reach host {host} on port {} for {} s ({cause}); {}",
                        self.hosts[self.current_host],
                        self.port,
                        self.timeout.as_secs(),
                        missing_host_advice()
                    )));
                }
                Err(_) if should_stop() => return Ok(None),
                Err(_) => std::thread::sleep(RETRY_INTERVAL),
            }
        }
    }

    fn wait_for_members(
        &self,
        store: &JobStore,
        deadline: Instant,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Member>>> {
        let mut members = Vec::new();
        while members.len() < self.hosts.len() {
            let broken = |cause: Error| self.first_host_ended(&cause);
            if let Some(fault) = store.fault().map_err(broken)? {
                return Err(fault.into_error());
            }
            if let Some(text) = store.find(&member_key(members.len())).map_err(broken)? {
                let member = serde_json::from_slice(&text)
                    .map_err(|cause| Error::internal(format!("the settings of a host: {cause}")))?;
                members.push(member);
            } else if should_stop() {
                return Ok(None);
            } else if Instant::now() >= deadline {
                return Err(self.missing_hosts_error(store));
            } else {
                std::thread::sleep(RETRY_INTERVAL);
            }
        }
        Ok(Some(members))
    }

    fn missing_hosts_error(&self, store: &JobStore) -> Error {
        let mut missing = Vec::new();
        for (position, host) in self.hosts.iter().enumerate() {
            if !matches!(store.find(&member_key(position)), Ok(Some(_))) {
                missing.push(host.as_str());
            }
        }
        Error::input(format!(
            "of {} hosts of this job, {} did not come within {} s; {}",
            self.hosts.len(),
            missing.join(", "),
            self.timeout.as_secs(),
            missing_host_advice()
        ))
    }
}

fn missing_host_advice() -> &'static str {
    "look at that host's log; in a VPC the security group must allow all traffic from itself; \
     --rendezvous-timeout (MASKMAKER_RENDEZVOUS_TIMEOUT) sets how long to wait"
}

fn member_key(host: usize) -> String {
    format!("host/{host}/member")
}

/// Checks that all hosts run the same program with the same settings.
fn check_members(hosts: &[String], members: &[Member]) -> Result<()> {
    let mut problems = Problems::new();
    let first = &members[0];
    for (host, member) in hosts.iter().zip(members) {
        if let Some(problem) = &member.device_problem {
            problems.push(format!("host {host}: {problem}"));
        }
    }
    for (host, member) in hosts.iter().zip(members).skip(1) {
        if member.version != first.version {
            problems.push(format!(
                "host {host} runs maskmaker {}, host {} runs {}: all hosts must run the same image",
                member.version, hosts[0], first.version
            ));
        }
        if member.device != first.device {
            problems.push(format!(
                "host {host} has {}, host {} has {}: GPUs and processors cannot train one model \
                 together; take instances of the same kind for all hosts, or set \
                 MASKMAKER_DEVICE=cpu (Environment of the job) to train on processors",
                member.device.describe(),
                hosts[0],
                first.device.describe()
            ));
        }
        let mut names: Vec<&String> = first.settings.keys().chain(member.settings.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let [ours, theirs] = [first, member].map(|member| member.settings.get(name));
            if ours != theirs {
                problems.push(format!(
                    "{name} is {} on host {host} and {} on host {}: all hosts of a job must have \
                     the same settings",
                    theirs.map_or("unset", String::as_str),
                    ours.map_or("unset", String::as_str),
                    hosts[0]
                ));
            }
        }
    }
    problems.into_result()
}

/// Longest time that the first host keeps the store for hosts that have not left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Leaves the store. The first host, which keeps it, waits until the others have left.
pub fn leave(store: &JobStore, current_host: usize, host_count: usize) {
    if current_host > 0 {
        // A store that is gone needs no farewell.
        let _ = store.add_left_host();
        return;
    }
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    while Instant::now() < deadline {
        match store.left_hosts() {
            Ok(left) if left + 1 >= host_count as i64 => return,
            Err(_) => return,
            Ok(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn member(settings: &[(&str, &str)]) -> Member {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (version, device) = ("1".to_owned(), WorkerDevice::Cpu);
        Member { version, workers: 2, device, device_problem: None, settings }
    }

    /// Returns a port that no program uses, and that the system gives to nobody who asks for any.
    fn free_port() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        loop {
            let offset =
                std::process::id() as u16 % 100 * 50 + NEXT.fetch_add(1, Ordering::Relaxed);
            let port = 25_000 + offset % 5000;
            if TcpListener::bind(("0.0.0.0", port)).is_ok() {
                return port;
            }
        }
    }

    fn meet(hosts: &[String], port: u16, members: &[Member]) -> Vec<Result<Option<Topology>>> {
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (current_host, own) in members.iter().enumerate() {
                let meeting = Meeting { hosts, current_host, port, timeout: TIMEOUT };
                threads.push(scope.spawn(move || {
                    let met = meeting.join(own, &|| false)?;
                    let Some((store, topology)) = met else { return Ok(None) };
                    leave(&store, current_host, hosts.len());
                    Ok(Some(topology))
                }));
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn hosts_find_each_other_and_number_their_workers() {
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        for result in meet(&hosts, free_port(), &[member(&[]), member(&[])]) {
            assert_eq!(result.unwrap().unwrap().world_size(), 4);
        }
    }

    #[test]
    fn other_settings_and_programs_are_told_on_every_host() {
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut other = member(&[("epochs", "3"), ("seed", "1")]);
        other.version = "2".to_owned();
        other.device = WorkerDevice::Gpu;
        other.device_problem = Some("the driver does not start".to_owned());
        let members = [member(&[("epochs", "2"), ("seed", "1")]), other];
        for result in meet(&hosts, free_port(), &members) {
            let error = result.unwrap_err();
            assert_eq!(error.exit_code(), 3);
            let problems = error.problems();
            assert_eq!(problems[0], "host 127.0.0.1: the driver does not start");
            assert!(problems[1].contains("127.0.0.1 runs maskmaker 2"), "{problems:?}");
            let devices = "host 127.0.0.1 has GPUs, host localhost has no GPU that can be used";
            assert!(problems[2].starts_with(devices), "{problems:?}");
            assert!(problems[3].starts_with("epochs is 3 on host 127.0.0.1 and 2 on host localh"));
            assert_eq!(problems.len(), 4);
        }
    }

    #[test]
    fn hosts_that_do_not_come_are_named() {
        let hosts = ["localhost".to_owned(), "b".to_owned(), "c".to_owned()];
        let timeout = Duration::from_millis(300);
        let meeting = |current_host| Meeting { hosts: &hosts, current_host, port: 0, timeout };
        assert!(meeting(0).join(&member(&[]), &|| true).unwrap().is_none());
        let error = meeting(0).join(&member(&[]), &|| false).unwrap_err().to_string();
        assert!(error.contains("of 3 hosts of this job, b, c did not come"), "{error}");
        assert!(error.contains("security group"), "{error}");
        let unreachable = Meeting { port: free_port(), ..meeting(1) };
        let error = unreachable.join(&member(&[]), &|| false).unwrap_err().to_string();
        assert!(error.contains("host b cannot reach host localhost on port"), "{error}");
        assert!(unreachable.join(&member(&[]), &|| true).unwrap().is_none());
    }

    #[test]
    fn a_port_in_use_is_told_with_the_setting() {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let hosts = ["localhost".to_owned(), "b".to_owned()];
        let port = listener.local_addr().unwrap().port();
        let meeting = Meeting { hosts: &hosts, current_host: 0, port, timeout: TIMEOUT };
        let error = meeting.join(&member(&[]), &|| false).unwrap_err().to_string();
        assert!(error.contains("--rendezvous-port"), "{error}");
    }
}
