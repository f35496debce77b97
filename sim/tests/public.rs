//! What users hold is `Send` and `Sync` and can be shown: a change that takes that away is found here.

use std::fmt::Debug;

fn shown<T: Send + Sync + Debug>() {}

#[test]
fn what_users_hold_is_send_sync_and_can_be_shown() {
    shown::<tenure::Etcd>();
    shown::<tenure::EtcdBuilder>();
    shown::<tenure::Session>();
    shown::<tenure::SessionBuilder>();
    shown::<tenure::Mutex>();
    shown::<tenure::MutexGuard>();
    shown::<tenure::RwLock>();
    shown::<tenure::ReadGuard>();
    shown::<tenure::WriteGuard>();
    shown::<tenure::Election>();
    shown::<tenure::Leadership>();
    shown::<tenure::Leader>();
    shown::<tenure::Observation>();
    shown::<tenure::Tenure>();
    shown::<tenure::LockerOf>();
    shown::<tenure::Semaphore>();
    shown::<tenure::Permit>();
    shown::<tenure::Counter>();
    shown::<tenure::Barrier>();
    shown::<tenure::BarrierHold>();
    shown::<tenure::DoubleBarrier>();
    shown::<tenure::Entered>();
    shown::<tenure::Queue>();
    shown::<tenure::PriorityQueue>();
    shown::<tenure::Claim>();
    shown::<tenure::Stm>();
    shown::<tenure::StmError<String>>();
    shown::<tenure::Transaction>();
    shown::<tenure::blocking::Locker>();
    shown::<tenure::blocking::Queue>();
    shown::<tenure::blocking::Stm>();
    shown::<tenure::Error>();
    shown::<tenure::ConnectError>();
    shown::<tenure::CallError>();
    shown::<tenure::Refusal>();
    shown::<tenure::TokioRuntime>();
    shown::<tenure_sim::Context>();
    shown::<tenure_sim::Faults>();
    shown::<tenure_sim::Report>();
    shown::<tenure_sim::Failed>();
    shown::<tenure_sim::SimulationBuilder>();
    shown::<tenure_sim::own::Outside>();
    // It is moved between tasks, and polled by one at a time.
    fn moved<T: Send + Debug>() {}
    moved::<tenure::Observer>();
}
