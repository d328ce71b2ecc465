//! The state of one reply: who may still send it.
//!
//! ```text
//! waiting ──start──▶ running ──claim──▶ replying ──sent──▶ sent
//!    │ ╲                │                  ▲
//!    │  ╲───────────────┼──────claim───────╯   (refused or lost: answered without running)
//!    ╰──cancel──▶ cancelled ◀──cancel──╯
//! ```
//!
//! Each arrow but the last is one compare-and-swap. So of a caller that cancels, a thread that has
//! the result and an owner that dies, exactly one wins. The one that reaches `replying` sends the
//! one reply; after `cancelled` no reply is ever sent. Any thread may call any of these methods,
//! except where another rule is given.
//!
//! What a running job sends before its reply has to arrive before it, also if another thread sends
//! the reply. So for the moment of sending the state is not `running` but `sending`: the job can be
//! cancelled as before, but a thread that claims its reply waits for the end of that.

use crate::sync::{AtomicBool, AtomicU8, Ordering, yield_now};

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const REPLYING: u8 = 2;
const CANCELLED: u8 = 3;
const SENT: u8 = 4;
const SENDING: u8 = 5;

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
pub struct ReplyState {
    state: AtomicU8,
    interrupted: AtomicBool,
}

impl Default for ReplyState {
    fn default() -> Self {
        ReplyState { state: AtomicU8::new(WAITING), interrupted: AtomicBool::new(false) }
    }
}

impl ReplyState {
    /// Takes the job up. `false`: it was cancelled or answered and must not run.
    pub fn start(&self) -> bool {
        self.state.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Claims the right to send the one reply. `false`: another thread has it, or no caller wants
    /// it. Not on a scheduler: it waits while the job [sends](Self::send_before_reply) something.
    pub fn claim_reply(&self) -> bool {
        loop {
            match self.transition(REPLYING, &[WAITING, RUNNING]) {
                Ok(_) => return true,
                Err(SENDING) => yield_now(),
                Err(_) => return false,
            }
        }
    }

    /// The one reply has been sent. For the thread that claimed it.
    pub fn replied(&self) {
        self.state.store(SENT, Ordering::Release);
    }

    /// Sends something ahead of the reply, unless that is claimed already or no caller wants it.
    /// For the thread that runs the job; `send` must not wait.
    pub fn send_before_reply(&self, send: impl FnOnce()) {
        if self.transition(SENDING, &[RUNNING]).is_ok() {
            send();
            // Unless it was cancelled meanwhile.
            let _ = self.transition(RUNNING, &[SENDING]);
        }
    }

    /// The caller cancels: no reply will be sent, unless it is too late.
    pub fn cancel(&self) -> Cancel {
        match self.transition(CANCELLED, &[WAITING, RUNNING, SENDING]) {
            Ok(WAITING) => Cancel::Waiting,
            Ok(_) => Cancel::Running,
            Err(_) => Cancel::TooLate,
        }
    }

    /// Whether the caller has cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Whether the one reply is being sent, or has been.
    pub fn is_replying(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), REPLYING | SENT)
    }

    /// Whether nothing will be sent any more: the one reply has been, or never will be.
    pub fn is_settled(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), SENT | CANCELLED)
    }

    /// Notes that the job is interrupted on request, so that the exception it ends with is
    /// distinguished from one that Python code has raised itself. `false`: the job doesn't run, or
    /// has its outcome.
    pub fn interrupt(&self) -> bool {
        let runs = matches!(self.state.load(Ordering::Acquire), RUNNING | SENDING);
        if runs {
            self.interrupted.store(true, Ordering::Release);
        }
        runs
    }

    /// Whether the job was interrupted on request.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// Goes from one of the states `open` to `end`. One atomic step: were it two, a `start` between
    /// them would make a claim fail although no other thread had claimed.
    fn transition(&self, end: u8, open: &[u8]) -> Result<u8, u8> {
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
        let state = ReplyState::default();
        assert_eq!(state.cancel(), Cancel::Waiting);
        assert!(!state.start());
        assert!(!state.claim_reply());
        assert!(state.is_cancelled());
    }

    #[test]
    fn the_reply_is_claimed_once() {
        let state = ReplyState::default();
        assert!(state.start());
        assert!(state.claim_reply());
        assert!(!state.claim_reply());
        assert_eq!(state.cancel(), Cancel::TooLate);
    }

    #[test]
    fn a_request_is_over_when_its_reply_is_sent_or_never_will_be() {
        let state = ReplyState::default();
        assert!(state.claim_reply());
        assert!(!state.is_settled());
        state.replied();
        assert!(state.is_settled() && state.is_replying());
        assert_eq!(state.cancel(), Cancel::TooLate);
        let state = ReplyState::default();
        state.cancel();
        assert!(state.is_settled());
    }

    #[test]
    fn a_job_sends_something_only_while_its_reply_is_open() {
        let sends = |state: &ReplyState| {
            let mut sent = false;
            state.send_before_reply(|| sent = true);
            sent
        };
        let state = ReplyState::default();
        assert!(!sends(&state), "it doesn't run yet");
        assert!(state.start());
        assert!(sends(&state) && sends(&state));
        assert!(state.claim_reply());
        assert!(!sends(&state));
        let state = ReplyState::default();
        assert!(state.start());
        state.send_before_reply(|| assert_eq!(state.cancel(), Cancel::Running));
        assert!(state.is_cancelled() && !sends(&state));
    }

    #[test]
    fn only_a_running_request_is_interrupted() {
        let state = ReplyState::default();
        assert!(!state.interrupt() && !state.was_interrupted());
        assert!(state.start());
        assert!(state.interrupt() && state.was_interrupted());
        assert!(state.claim_reply());
        assert!(!state.interrupt());
    }

    #[test]
    fn a_job_that_is_sending_something_can_be_interrupted() {
        let state = ReplyState::default();
        assert!(state.start());
        state.send_before_reply(|| assert!(state.interrupt()));
        assert!(state.was_interrupted());
    }

    #[test]
    fn a_running_request_can_be_cancelled() {
        let state = ReplyState::default();
        assert!(state.start());
        assert_eq!(state.cancel(), Cancel::Running);
        assert!(!state.claim_reply());
    }

    #[test]
    fn a_request_that_runs_is_neither_cancelled_nor_answered() {
        let state = ReplyState::default();
        assert!(!state.is_cancelled() && !state.is_replying() && !state.is_settled());
        assert!(state.start());
        assert!(!state.is_cancelled() && !state.is_replying() && !state.is_settled());
    }
}
