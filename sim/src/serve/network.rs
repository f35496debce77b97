//! The bytes of one connection between a real client and a member: what the simulated link does to them. They arrive in order, as
//! TCP has it: what is lost is sent again, so it comes late; what is cut waits.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tenure::Runtime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::cluster::{Door, Doors, LinkState, LiveClock};

/// One direction of one connection.
pub(super) struct Lane {
    pub(super) doors: watch::Receiver<Doors>,
    pub(super) member: usize,
    pub(super) client: usize,
    /// To the member, or from it.
    pub(super) inward: bool,
    pub(super) clock: LiveClock,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) rng: ChaCha8Rng,
}

/// A lost packet is sent again within so many milliseconds of simulated time.
const RETRANSMIT_MS: std::ops::RangeInclusive<u64> = 200..=800;

impl Lane {
    /// Carries bytes until one side ends.
    pub(super) async fn carry(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.pass().await;
            if to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        self.pass().await;
        // It may be closed already.
        let _ = to.shutdown().await;
    }

    /// Waits for as long as the link holds bytes back.
    async fn pass(&mut self) {
        let state = self.state();
        let lost = state.loss_per_mille > 0 && self.rng.random_range(0..1000) < state.loss_per_mille;
        let mut late_ms = if lost { self.rng.random_range(RETRANSMIT_MS) } else { 0 };
        if state.delay_max_ms > 0 {
            late_ms += self.rng.random_range(0..=state.delay_max_ms);
        }
        if late_ms > 0 {
            let wait: Duration = self.clock.real_span(late_ms * 1_000_000);
            self.runtime.sleep_until(self.runtime.now() + wait).await;
        }
        let (member, client, inward) = (self.member, self.client, self.inward);
        // An error says that the world has ended, and this connection with it.
        let _ = self.doors.wait_for(|doors| is_open(doors, member, client, inward)).await;
    }

    fn state(&self) -> LinkState {
        let doors = self.doors.borrow();
        let (to, from) = doors.links[self.member][self.client];
        if self.inward { to } else { from }
    }
}

fn is_open(doors: &Doors, member: usize, client: usize, inward: bool) -> bool {
    let (to, from) = doors.links[member][client];
    let cut = if inward { to.cut } else { from.cut };
    !cut && doors.members[member].0 != Door::Hangs
}
