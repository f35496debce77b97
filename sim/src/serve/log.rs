//! What a server writes down of its faults, and what it counts for its metrics.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::fault::Fault;
use crate::history::{Step, What};
use crate::scenario::BadInput;

/// Faults that the control service begins are numbered from here on, those of the plan from 0.
pub(super) const CONTROL: usize = 1 << 32;

/// Hears of the world's steps. It keeps no history: a server has no end.
#[derive(Debug, Default)]
pub(super) struct Log {
    file: Option<Mutex<File>>,
    pub(super) leader_changes: AtomicU64,
    pub(super) puts: AtomicU64,
    pub(super) deletes: AtomicU64,
    pub(super) leases_granted: AtomicU64,
    pub(super) leases_revoked: AtomicU64,
    pub(super) leases_expired: AtomicU64,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: f64,
    by: &'static str,
    number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    begins: Option<&'a Fault>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ends: bool,
}

impl Log {
    /// One that writes to a file, or to none.
    pub(super) fn to(path: Option<&Path>) -> Result<Self, BadInput> {
        let create = |path: &Path| {
            let refused = |error| BadInput(format!("--log: {} cannot be written: {error}", path.display()));
            File::create(path).map(Mutex::new).map_err(refused)
        };
        Ok(Self { file: path.map(create).transpose()?, ..Self::default() })
    }

    /// Takes in one step.
    pub(super) fn hear(&self, step: &Step) {
        use tenure::kv::{EventKind, Request};
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        match &step.what {
            What::FaultBegins { index, fault } => self.write(step.at_ns, *index, Some(fault)),
            What::FaultEnds { index } => self.write(step.at_ns, *index, None),
            What::Leads { .. } => add(&self.leader_changes, 1),
            What::LeaseExpired { .. } => add(&self.leases_expired, 1),
            What::Committed { request, events, .. } => {
                let puts = events.iter().filter(|event| event.kind == EventKind::Put).count();
                add(&self.puts, puts);
                add(&self.deletes, events.len() - puts);
                match **request {
                    Request::LeaseGrant { .. } => add(&self.leases_granted, 1),
                    Request::LeaseRevoke { .. } => add(&self.leases_revoked, 1),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn write(&self, at_ns: u64, index: usize, begins: Option<&Fault>) {
        let Some(file) = &self.file else { return };
        let (by, number) = match index.checked_sub(CONTROL) {
            Some(number) => ("control", number),
            None => ("plan", index),
        };
        let at_ms = at_ns as f64 / 1e6;
        let line = Line { at_ms, by, number, begins, ends: begins.is_none() };
        if let Ok(line) = serde_json::to_string(&line) {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not stop the server.
            let _ = writeln!(file, "{line}");
        }
    }
}
