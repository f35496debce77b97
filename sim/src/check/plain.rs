//! What a history says of clients that use etcd itself: their operations from call to return, and what their watches told.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::{Request, WatchRequest};

use super::Moment;
use crate::history::{CallEnd, WatchSays, What};

/// An operation through the library's backend.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// Its number.
    pub op: u64,
    /// Whose.
    pub client: u32,
    /// What was asked.
    pub request: &'a Arc<Request>,
    /// When.
    pub called: Moment,
    /// When and how it ended; `None` if its client died, or the run ended, before.
    pub ended: Option<(Moment, &'a CallEnd)>,
}

/// A watch that resumes by itself, as its client saw it.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    /// Its number.
    pub stream: u64,
    /// Whose.
    pub client: u32,
    /// What was asked.
    pub request: &'a WatchRequest,
    /// When.
    pub opened: Moment,
    /// What it told, in order.
    pub said: Vec<(Moment, &'a WatchSays)>,
    /// When its client closed it, found it ended, or died.
    pub closed: Option<Moment>,
}

/// What clients did with etcd itself.
#[derive(Clone, Debug, Default)]
pub struct Plain<'a> {
    /// Every operation by its number, so in the order of their calls.
    pub operations: BTreeMap<u64, Operation<'a>>,
    /// Every stream by its number, so in the order in which they were opened.
    pub streams: BTreeMap<u64, Stream<'a>>,
}

impl<'a> Plain<'a> {
    /// Takes in a step of a client.
    pub(super) fn step(&mut self, client: u32, now: Moment, what: &'a What) {
        match what {
            What::Calls { op, request } => {
                let operation = Operation { op: *op, client, request, called: now, ended: None };
                self.operations.insert(*op, operation);
            }
            What::Returned { op, end } => {
                if let Some(operation) = self.operations.get_mut(op) {
                    operation.ended.get_or_insert((now, end));
                }
            }
            What::StreamOpened { stream, request } => {
                let opened =
                    Stream { stream: *stream, client, request, opened: now, said: Vec::new(), closed: None };
                self.streams.insert(*stream, opened);
            }
            What::StreamSaid { stream, says } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.said.push((now, says));
                }
            }
            What::StreamClosed { stream } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.closed.get_or_insert(now);
                }
            }
            What::Crashed => {
                for stream in self.streams.values_mut().filter(|stream| stream.client == client) {
                    stream.closed.get_or_insert(now);
                }
            }
            _ => {}
        }
    }
}
