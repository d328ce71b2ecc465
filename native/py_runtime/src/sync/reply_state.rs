//! The state of one request: who may still answer it.
//!
//! ```text
//! waiting ──start──▶ running ──claim──▶ replying ──sent──▶ sent
//!    │ ╲                │                  ▲
//!    │  ╲───────────────┼──────claim───────╯   (refused or lost: answered without running)
//!    ╰──cancel──▶ cancelled ◀──cancel──╯
//! ```
//!
//! Each arrow but the last is one compare-and-swap, so of a caller that gives up, a thread that has the
//! result and an owner that dies, exactly one wins. Whoever reaches `replying` sends the one reply;
//! after `cancelled` no reply is ever sent. Any thread may call any of these, but for what is said
//! below.
//!
//! What a running job sends before its reply has to come before it, also if the reply is another
//! thread's. So for the moment of sending it is not `running` but `telling`: it can be cancelled as
//! before, but whoever claims its reply waits for the end of that.

use crate::sync::{AtomicBool, AtomicU8, Ordering, yield_now};

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const REPLYING: u8 = 2;
const CANCELLED: u8 = 3;
const SENT: u8 = 4;
const TELLING: u8 = 5;

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

    /// Claims the right to send the one reply. `false`: somebody else has it, or nobody wants it. Not
    /// on a scheduler: it waits while the job [tells](Self::tell) something.
    pub fn claim_reply(&self) -> bool {
        loop {
            match self.leave(REPLYING, &[WAITING, RUNNING]) {
                Ok(_) => return true,
                Err(TELLING) => yield_now(),
                Err(_) => return false,
            }
        }
    }

    /// The one reply has been sent. For whoever claimed it.
    pub fn replied(&self) {
        self.state.store(SENT, Ordering::Release);
    }

    /// Sends something ahead of the reply, unless that is claimed already or nobody wants it. For the
    /// thread that runs the job; `send` must not wait.
    pub fn tell(&self, send: impl FnOnce()) {
        if self.leave(TELLING, &[RUNNING]).is_ok() {
            send();
            // Unless it was cancelled meanwhile.
            let _ = self.leave(RUNNING, &[TELLING]);
        }
    }

    /// Gives up: no reply will be sent, unless it is too late.
    pub fn cancel(&self) -> Cancel {
        match self.leave(CANCELLED, &[WAITING, RUNNING, TELLING]) {
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
        matches!(self.state.load(Ordering::Acquire), REPLYING | SENT)
    }

    /// Whether nothing will be sent any more: the one reply has been, or never will be.
    pub fn is_over(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), SENT | CANCELLED)
    }

    /// Notes that somebody asked for the job to be interrupted, so that the exception it ends with
    /// is told apart from one that Python code raised itself. `false`: it has no use any more, the
    /// job is not running or has its outcome.
    pub fn interrupt(&self) -> bool {
        let runs = matches!(self.state.load(Ordering::Acquire), RUNNING | TELLING);
        if runs {
            self.interrupted.store(true, Ordering::Release);
        }
        runs
    }

    /// Whether somebody asked for the job to be interrupted.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Leaves whichever of these states it is in. One atomic step: were it two, a `start` between
    /// them would make a claim fail although nobody else had claimed.
    fn leave(&self, end: u8, open: &[u8]) -> Result<u8, u8> {
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            open.contains(&state).then_some(end)
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
    fn a_request_is_over_when_its_reply_is_sent_or_never_will_be() {
        let state = RequestState::default();
        assert!(state.claim_reply());
        assert!(!state.is_over());
        state.replied();
        assert!(state.is_over() && state.is_replying());
        assert_eq!(state.cancel(), Cancel::TooLate);
        let state = RequestState::default();
        state.cancel();
        assert!(state.is_over());
    }

    #[test]
    fn a_job_tells_something_only_while_its_reply_is_open() {
        let tells = |state: &RequestState| {
            let mut told = false;
            state.tell(|| told = true);
            told
        };
        let state = RequestState::default();
        assert!(!tells(&state), "it doesn't run yet");
        assert!(state.start());
        assert!(tells(&state) && tells(&state));
        assert!(state.claim_reply());
        assert!(!tells(&state));
        let state = RequestState::default();
        assert!(state.start());
        state.tell(|| assert_eq!(state.cancel(), Cancel::Running));
        assert!(state.is_cancelled() && !tells(&state));
    }

    #[test]
    fn only_a_running_request_is_interrupted() {
        let state = RequestState::default();
        assert!(!state.interrupt() && !state.was_interrupted());
        assert!(state.start());
        assert!(state.interrupt() && state.was_interrupted());
        assert!(state.claim_reply());
        assert!(!state.interrupt());
    }

    #[test]
    fn a_request_that_is_telling_something_can_be_interrupted() {
        let state = RequestState::default();
        assert!(state.start());
        state.tell(|| assert!(state.interrupt()));
        assert!(state.was_interrupted());
    }

    #[test]
    fn a_running_request_can_be_given_up() {
        let state = RequestState::default();
        assert!(state.start());
        assert_eq!(state.cancel(), Cancel::Running);
        assert!(!state.claim_reply());
    }
}
