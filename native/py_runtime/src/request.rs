//! The state of one request: who may still answer it.
//!
//! ```text
//! waiting ──start──▶ running ──claim──▶ replying
//!    │ ╲                │                  ▲
//!    │  ╲───────────────┼──────claim───────╯   (refused or lost: answered without running)
//!    ╰──cancel──▶ cancelled ◀──cancel──╯
//! ```
//!
//! Each arrow is one compare-and-swap, so of a caller that gives up, a thread that has the result
//! and an owner that dies, exactly one wins. Whoever reaches `replying` sends the one reply; after
//! `cancelled` nothing is ever sent. Any thread may call any of these.

use crate::sync::{AtomicBool, AtomicU8, Ordering};

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const REPLYING: u8 = 2;
const CANCELLED: u8 = 3;

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// The job was waiting and will never run.
    Waiting,
    /// The job is running; its result will be thrown away.
    Running,
    /// The reply is on its way, or the job was cancelled before.
    TooLate,
}

/// The state machine above. Starts as waiting.
#[derive(Debug)]
pub struct RequestState {
    state: AtomicU8,
    interrupted: AtomicBool,
}

impl Default for RequestState {
    fn default() -> Self {
        RequestState { state: AtomicU8::new(WAITING), interrupted: AtomicBool::new(false) }
    }
}

impl RequestState {
    /// Takes the job up. `false`: it was cancelled or answered and must not run.
    pub fn start(&self) -> bool {
        self.state.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Claims the right to send the one reply. `false`: somebody else has it, or nobody wants it.
    pub fn claim_reply(&self) -> bool {
        self.leave(REPLYING).is_ok()
    }

    /// Gives up: no reply will be sent, unless it is too late.
    pub fn cancel(&self) -> Cancel {
        match self.leave(CANCELLED) {
            Ok(WAITING) => Cancel::Waiting,
            Ok(_) => Cancel::Running,
            Err(_) => Cancel::TooLate,
        }
    }

    /// Whether the request was given up.
    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Whether the one reply is being sent, or has been.
    pub fn is_replying(&self) -> bool {
        self.state.load(Ordering::Acquire) == REPLYING
    }

    /// Notes that somebody asked for the job to be interrupted, so that the exception it ends with
    /// is told apart from one that Python code raised itself. `false`: it has no use any more, the
    /// job is not running or has its outcome.
    pub fn interrupt(&self) -> bool {
        self.interrupted.store(true, Ordering::Release);
        self.state.load(Ordering::Acquire) == RUNNING
    }

    /// Whether somebody asked for the job to be interrupted.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Ends the request from either open state. One atomic step: were it two, a `start` between
    /// them would make a claim fail although nobody else had claimed.
    fn leave(&self, end: u8) -> Result<u8, u8> {
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state == WAITING || state == RUNNING).then_some(end)
        })
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_request_neither_runs_nor_replies() {
        let state = RequestState::default();
        assert_eq!(state.cancel(), Cancel::Waiting);
        assert!(!state.start());
        assert!(!state.claim_reply());
        assert!(state.is_cancelled());
    }

    #[test]
    fn the_reply_is_claimed_once() {
        let state = RequestState::default();
        assert!(state.start());
        assert!(state.claim_reply());
        assert!(!state.claim_reply());
        assert_eq!(state.cancel(), Cancel::TooLate);
    }

    #[test]
    fn a_running_request_can_be_given_up() {
        let state = RequestState::default();
        assert!(state.start());
        assert_eq!(state.cancel(), Cancel::Running);
        assert!(!state.claim_reply());
    }
}
