//! What code on a context's thread needs of the side that talks to Erlang.
//!
//! The layers above implement these traits: nothing from here down knows of NIFs, mailboxes or
//! services. A call through one of them is made per request, per call of an Erlang function, per
//! line of output, per item of a stream. Only [`Handles`] is called per element of a value, for one
//! that is a reference, an object without a term or a large buffer.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use py_runtime::context::WaitError;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm};

use crate::convert::Handles;
use crate::request::error::Error;
use crate::request::flags::Values;
use crate::term::{ProcessId, SavedTerm, TermEnv};

/// The context whose thread this is.
pub(crate) trait Host: Handles {
    /// The pid of its process, as a term.
    fn owner(&self) -> ErlNifTerm;

    /// Whether other jobs wait, or other contexts for the GIL that they share with it.
    fn is_waited_for(&self) -> bool;

    /// A reference to a new namespace, as a term of `env`. `None`: the context has ended.
    ///
    /// # Safety
    /// `env` belongs to the current thread, which is attached to the context's interpreter.
    unsafe fn new_namespace(&self, env: *mut ErlNifEnv, namespace: Object) -> Option<ErlNifTerm>;

    /// The namespace that a reference stands for.
    ///
    /// # Safety
    /// `term` belongs to `env`, and the thread is attached to the context's interpreter.
    unsafe fn find_namespace(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
    ) -> Result<Object, Error>;

    /// Notifies the context of the death of processes.
    fn process_monitor(&self) -> Box<dyn MonitorProcesses>;
}

/// Notifies a context when processes die.
pub(crate) trait MonitorProcesses {
    /// Monitors a process. `false`: it is dead already.
    fn monitor(&self, pid: ErlNifPid) -> bool;

    /// The context has nothing of these processes any more.
    fn demonitor(&self, processes: &mut dyn Iterator<Item = ProcessId>);
}

/// What a job has done that it may not do on a scheduler, where it would have to be done in no
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It has taken too long.
    Slow,
    /// Its thread has waited.
    Waits,
    /// It has printed or logged.
    Output,
    /// It has called an Erlang function.
    Callback,
    /// It has a coroutine for a result.
    Coroutine,
    /// The module of its function isn't imported yet. It has done nothing.
    NotImported,
}

/// The job that runs.
pub(crate) trait JobControl {
    /// Whether it may wait for anything. On a scheduler it may not.
    fn may_wait(&self) -> bool {
        true
    }

    /// Notes what it has done that it may not do on a scheduler. The first counts.
    fn note_unfit(&self, why: Unfit);

    /// Whether it can wait as a task of the event loop.
    fn may_become_task(&self) -> bool;

    /// Whether it may wait for one more call of an Erlang function.
    fn check_depth(&self, limit: u32) -> Result<(), WaitError>;

    /// Calls an Erlang function. The context runs other jobs meanwhile.
    fn call_erlang(&self, call: ErlangCall<'_>, limit: u32) -> Result<CallbackResult, CallError>;

    /// Has an Erlang function called, for code of the event loop. The thread is notified of the
    /// answer by this number. `None`: there is no process that would run it.
    fn start_call(&self, call: ErlangCall<'_>, number: u64) -> Option<Arc<dyn PendingCall>>;

    /// Does something without the GIL.
    fn detached(&self, work: &mut dyn FnMut());

    /// Whether it was interrupted and hasn't raised `KeyboardInterrupt` for it yet.
    fn is_interrupted(&self) -> bool;

    /// Whether the caller makes a map of a result in the form of pairs.
    fn caller_makes_maps(&self) -> bool {
        false
    }

    /// Whether it was ever interrupted, or is answered already, or nobody wants its result any
    /// more.
    fn is_stopped(&self) -> bool;

    /// Notes that the interrupt has been raised, if it has.
    fn note_raised(&self);

    /// Runs `send` unless the job is answered already: no message may come after the reply.
    fn send_before_reply(&self, send: &mut dyn FnMut());
}

/// A call of a registered Erlang function. The arguments are a list in the environment.
pub(crate) struct ErlangCall<'a> {
    pub(crate) name: &'a str,
    pub(crate) env: TermEnv,
    pub(crate) arguments: ErlNifTerm,
}

/// What became of a call.
pub(crate) enum CallbackResult {
    /// The value in `{ok, Value}`, if it is the same in every environment.
    Immediate(ErlNifTerm),
    /// What the worker has answered, see `py_callback_worker`.
    Term(SavedTerm),
    /// The process that was to answer is gone.
    Lost,
}

// SAFETY: an immediate value needs no environment, and what is saved may change threads.
unsafe impl Send for CallbackResult {}

/// Why a call has no result.
pub(crate) enum CallError {
    Interrupted(WaitError),
    /// There is no process that would run the function.
    NotRunning,
    /// The job may not wait.
    CannotWait,
}

/// A call by a thread that is no context's.
pub(crate) trait PendingCall {
    fn is_answered(&self) -> bool;
    fn take_answer(&self) -> Option<CallbackResult>;
}

/// Where a job, or a thread without one, prints and logs.
pub(crate) trait Output {
    /// Takes in text for standard output (0) or error (1).
    fn write(&self, stream: usize, text: &[u8]);

    /// Sends what has been written of an unfinished line.
    fn flush(&self, stream: usize);

    /// Whether too much is in flight.
    fn is_full(&self) -> bool;

    /// Waits until it isn't, or `stop`. Not attached.
    fn wait_for_capacity(&self, stop: &dyn Fn() -> bool);

    /// Sends an event to `logger`, from a context's process if there is one.
    ///
    /// # Safety
    /// The terms belong to `env`, which is this thread's, no scheduler's.
    unsafe fn log(
        &self,
        env: &TermEnv,
        severity: u64,
        message_and_meta: [ErlNifTerm; 2],
        context: Option<ErlNifTerm>,
    );

    /// When `logger`'s level was last asked for.
    fn level_asked_at(&self) -> &Cell<Option<Instant>>;
}

/// The Erlang processes that Python talks to: one for the VM's life.
pub(crate) trait Outbound: Sync {
    /// How the function registered as `name` wants its arguments.
    fn function_values(&self, name: &str) -> Option<Values>;

    /// Calls an Erlang function for a thread that is no context's. `None`: there is no process that
    /// would run it.
    fn call_erlang(&self, call: ErlangCall<'_>) -> Option<Arc<dyn PendingCall>>;

    /// Has a process send a message, because only a process can send there. `false`: there is none.
    ///
    /// # Safety
    /// The terms belong to `env`, which is this thread's, no scheduler's.
    unsafe fn send_remote(&self, env: &TermEnv, to: ErlNifTerm, message: ErlNifTerm) -> bool;

    /// Whether messages that this thread has sent so are in flight.
    fn has_remote_sends(&self) -> bool;

    /// Waits until they have been passed on, or `stop`. Not attached.
    fn wait_for_remote_sends(&self, stop: &dyn Fn() -> bool);

    /// Whether too many are in flight.
    fn has_too_many_remote_sends(&self) -> bool;

    /// Waits until they aren't, or `stop`. Not attached.
    fn wait_for_send_capacity(&self, stop: &dyn Fn() -> bool);

    /// Whether `logger` may let an event pass.
    fn log_allows(&self, severity: i64) -> bool;

    /// `logger`'s level as Python's `logging` numbers its own.
    fn log_level(&self) -> i64;

    /// Whether `logger` is so late that nobody should wait for it.
    fn log_is_late(&self) -> bool;

    /// Whether too many log events of this thread are in flight.
    fn has_too_many_log_events(&self) -> bool;

    /// Waits until they aren't, or `stop`; not for ever. Not attached.
    fn wait_for_log_capacity(&self, stop: &dyn Fn() -> bool);

    /// Whether an event is to be dropped, and counts it then.
    fn drops_log_event(&self) -> bool;

    /// Asks for `logger`'s level. `false`: there is no process that would answer.
    fn ask_for_log_level(&self) -> bool;

    /// Waits for it; not for ever. Not attached.
    fn wait_for_log_level(&self, at_most: Duration);

    /// Gives `work` the output of a thread without a job.
    fn with_thread_output(&self, work: &mut dyn FnMut(&dyn Output));

    /// The handles of a thread that is no context's.
    fn no_context(&self) -> &'static dyn Handles;
}

static OUTBOUND: OnceLock<&'static dyn Outbound> = OnceLock::new();

/// Sets the implementation, when the library is loaded.
pub(crate) fn set_outbound(outbound: &'static dyn Outbound) {
    // A library that is loaded again is the same one.
    let _ = OUTBOUND.set(outbound);
}

/// The Erlang processes that Python talks to.
pub(crate) fn outbound() -> &'static dyn Outbound {
    *OUTBOUND.get().expect("set when the library is loaded")
}
