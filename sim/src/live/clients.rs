//! The client processes of a round: started, killed, stopped and continued, and listened to.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::clock::Epoch;
use super::errand::{Errand, Told};
use super::merge::{Item, ItemOf};
use crate::history::What;
use crate::node::Node;
use crate::plan::Plan;
use crate::real::{RealError, spawn, thread};

/// The subcommand that a client's process is started with.
pub(crate) const SUBCOMMAND: &str = "real-client";

/// How many operations of each session's program were begun, by client.
type Begun = Arc<Mutex<Vec<Vec<usize>>>>;

/// All client processes of a round; those that live are killed when it is dropped.
pub(super) struct Clients {
    plan: Arc<Plan>,
    planted: Option<String>,
    epoch: Epoch,
    resource: SocketAddr,
    items: Sender<Item>,
    begun: Begun,
    clients: Vec<Client>,
}

struct Client {
    endpoints: Vec<String>,
    process: Option<Child>,
    life: u32,
    /// How many faults keep it dead, and how many keep it standing still.
    crashes: u32,
    pauses: u32,
}

impl Clients {
    pub(super) fn new(
        plan: &Arc<Plan>,
        planted: Option<&str>,
        epoch: Epoch,
        resource: SocketAddr,
        endpoints: Vec<Vec<String>>,
        items: &Sender<Item>,
    ) -> Self {
        let begun = plan.clients.iter().map(|client| vec![0; client.lanes.len()]).collect();
        let clients = endpoints.into_iter().map(|endpoints| Client {
            endpoints,
            process: None,
            life: 0,
            crashes: 0,
            pauses: 0,
        });
        Self {
            plan: Arc::clone(plan),
            planted: planted.map(str::to_owned),
            epoch,
            resource,
            items: items.clone(),
            begun: Arc::new(Mutex::new(begun)),
            clients: clients.collect(),
        }
    }

    pub(super) fn start_all(&mut self) -> Result<(), RealError> {
        (0..self.clients.len()).try_for_each(|client| self.start(client))
    }

    /// Begins a life, which goes on behind the operation that the one before died in.
    fn start(&mut self, index: usize) -> Result<(), RealError> {
        let done = self.begun.lock().unwrap_or_else(PoisonError::into_inner)[index].clone();
        let client = &mut self.clients[index];
        client.life += 1;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let errand = Errand {
            plan: Plan::clone(&self.plan),
            client: number,
            life: client.life,
            done,
            endpoints: client.endpoints.clone(),
            resource: self.resource,
            began_ns: self.epoch.began_ns,
            planted: self.planted.clone(),
        };
        let failed = |what: &'static str| RealError::io(format!("starting client {index}: {what}"));
        let own = std::env::current_exe().map_err(failed("its program"))?;
        let mut command = Command::new(own);
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = spawn(command).map_err(failed("its process"))?;
        let _ = self.items.send(Item::of_round(self.epoch.elapsed_ns(), Node::Client(number), What::Started));
        let errand = serde_json::to_vec(&errand).map_err(|error| failed("its errand")(error.into()))?;
        if let Some(mut input) = process.stdin.take() {
            input.write_all(&errand).map_err(failed("its errand"))?;
        }
        if let Some(output) = process.stdout.take() {
            let (items, begun, life) = (self.items.clone(), Arc::clone(&self.begun), client.life);
            thread(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // A line that was cut off by its writer's death says nothing.
                    let Ok(told) = serde_json::from_str::<Told>(&line) else { continue };
                    if let Told::Step {
                        what: What::Asks { lane, .. } | What::PassesOver { lane, .. }, ..
                    } = &told
                    {
                        let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(count) = begun[index].get_mut(*lane as usize) {
                            *count += 1;
                        }
                    }
                    let _ = items.send(Item { client: number, life, of: ItemOf::Told(told) });
                }
            });
        }
        client.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn crash(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.crashes += 1;
        if client.crashes > 1 {
            return;
        }
        kill(&mut client.process);
        self.tell(index, What::Crashed);
    }

    /// Its next life, unless another fault keeps it dead.
    pub(super) fn restart(&mut self, index: usize) -> Result<(), RealError> {
        let client = &mut self.clients[index];
        client.crashes = client.crashes.saturating_sub(1);
        if client.crashes > 0 {
            return Ok(());
        }
        let is_paused = client.pauses > 0;
        self.start(index)?;
        if is_paused {
            self.signal(index, Signal::STOP);
        }
        Ok(())
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.pauses += 1;
        if client.pauses == 1 {
            self.signal(index, Signal::STOP);
            self.tell(index, What::Paused);
        }
    }

    /// SIGCONT, unless another fault keeps it standing still.
    pub(super) fn resume(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.pauses = client.pauses.saturating_sub(1);
        if client.pauses == 0 {
            // Told first: what it does then comes after.
            self.tell(index, What::Resumed);
            self.signal(index, Signal::CONT);
        }
    }

    fn tell(&self, index: usize, what: What) {
        let node = Node::Client(u32::try_from(index).unwrap_or(u32::MAX));
        let _ = self.items.send(Item::of_round(self.epoch.elapsed_ns(), node, what));
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = self.clients[index].process.as_ref();
        if let Some(pid) = process.and_then(|process| Pid::from_raw(process.id().cast_signed())) {
            // One that has ended is past being stopped.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.clients.iter_mut().for_each(|client| kill(&mut client.process));
    }
}

fn kill(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let _ = process.kill();
        let _ = process.wait();
    }
}
