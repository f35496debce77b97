//! What the tests ask of a Go process, and how long they wait for its answer.

use tokio::time::timeout;

use super::peer::Peer;
use super::{GRACE, SOON};

/// A Go process with one session.
pub(crate) struct Go(Peer);

impl Go {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(peer)
    }

    /// Gives a command that waits, without waiting for its answer.
    pub(crate) async fn begin(&mut self, command: &str) {
        self.0.ask(command).await;
    }

    /// The answer's word behind `ok`.
    pub(crate) async fn ends(&mut self) -> String {
        let answer = timeout(SOON, self.0.answer()).await.expect("Go answers");
        let word = answer.strip_prefix("ok").unwrap_or_else(|| panic!("Go says {answer}"));
        word.trim_start().to_owned()
    }

    pub(crate) async fn does(&mut self, command: &str) -> String {
        self.begin(command).await;
        self.ends().await
    }

    pub(crate) async fn fails(&mut self, command: &str) -> String {
        self.begin(command).await;
        let answer = timeout(SOON, self.0.answer()).await.expect("Go answers");
        answer.strip_prefix("error ").unwrap_or_else(|| panic!("Go says {answer}")).to_owned()
    }

    pub(crate) async fn waits(&mut self) {
        if let Ok(answer) = timeout(GRACE, self.0.answer()).await {
            panic!("Go did not wait: {answer}");
        }
    }
}
