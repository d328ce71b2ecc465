//! A call from Python to Erlang: from the thread that waits to the process that answers, and back.
//!
//! The function's name and arguments go to the process that runs it, the worker, in one message,
//! moved, not copied. Erlang holds a [`CallbackRef`] for each call: once the last process that has
//! it is gone, the reference's destructor answers an unanswered call, so that no death in Erlang
//! leaves Python waiting.
//!
//! To start a process takes about as long as everything else. So some workers are idle, each with a
//! reference for its next call. A call goes straight to one of them, which is idle again as it
//! answers. Only when no worker is idle does a call go to the service, which starts a process for
//! it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;
use py_runtime::context::Wait;
use rustler::sys::{ErlNifPid, ErlNifTerm};
use rustler::{Encoder, Env, Resource, ResourceArc, Term};

use crate::outbound::services::Service;
use crate::request::call::{Call, Notice};
use crate::resources::contexts::Context;
use crate::term::{self, SavedTerm, TermEnv, atom, binary, pid_term, send, to_bits, tuple};
use crate::thread::host::{CallbackResult, ErlangCall};

mod atoms {
    rustler::atoms! { py_call }
}

/// How many workers may be idle: enough for a few contexts that call at the same time.
const MAX_IDLE: usize = 8;

/// The thread that waits, and how it is woken.
pub(crate) enum CallingThread {
    /// A context's thread, which runs other jobs meanwhile.
    Context(Arc<Context>),
    /// A context's thread, of which code on the event loop waits for the call of this number.
    EventLoop(Arc<Context>, u64),
    /// Any other thread, which sleeps.
    Other(Thread),
}

/// A call that has not been answered, or whose answer has not been taken.
pub(crate) struct PendingCallback {
    thread: CallingThread,
    /// The word of the pid of the process that runs the function, or 0.
    handler: AtomicUsize,
    answer: Mutex<Option<CallbackResult>>,
    is_over: AtomicBool,
}

/// The function's name and its arguments, in an environment of their own.
pub(crate) struct CallbackMessage {
    env: TermEnv,
    name: ErlNifTerm,
    arguments: ErlNifTerm,
}

/// Takes the worker's answer. To copy a term costs memory that one thread allocates and another
/// frees, so immediate terms are not copied.
fn result_of(answer: Term) -> CallbackResult {
    let env = answer.get_env().as_c_arg();
    // SAFETY: the answer is a term of this NIF call, and so are a tuple's elements.
    unsafe {
        if let [_ok, value] = term::elements(env, answer.as_c_arg())
            && term::is_immediate(env, *value)
        {
            return CallbackResult::Immediate(*value);
        }
        CallbackResult::Term(SavedTerm::new(answer.as_c_arg()))
    }
}

/// A reference that Erlang holds, for a call or for the next one.
pub(crate) struct CallbackRef(Mutex<RefState>);

/// What a reference stands for.
enum RefState {
    /// The next call of an idle worker.
    Idle,
    /// This call.
    Assigned(Arc<PendingCallback>),
    /// Nothing any more.
    Spent,
}

#[rustler::resource_impl]
impl Resource for CallbackRef {}

// A panic in a NIF leaves a call as it found it: its answer is set in one go.
impl std::panic::RefUnwindSafe for CallbackRef {}

impl Drop for CallbackRef {
    fn drop(&mut self) {
        if let RefState::Assigned(pending) = self.0.get_mut() {
            pending.complete(CallbackResult::Lost);
        }
    }
}

impl CallbackRef {
    fn call(&self) -> Option<Arc<PendingCallback>> {
        match &*self.0.lock() {
            RefState::Assigned(pending) => Some(Arc::clone(pending)),
            RefState::Idle | RefState::Spent => None,
        }
    }

    /// Assigns a call to an idle worker's reference. `false`: it isn't idle.
    fn claim(&self, pending: &Arc<PendingCallback>) -> bool {
        let mut good_for = self.0.lock();
        let is_free = matches!(*good_for, RefState::Idle);
        if is_free {
            *good_for = RefState::Assigned(Arc::clone(pending));
        }
        is_free
    }

    /// Makes it stand for the next call. Returns its call; `None`: it has none, and nothing has
    /// changed.
    fn reuse(&self) -> Option<Arc<PendingCallback>> {
        let mut good_for = self.0.lock();
        match std::mem::replace(&mut *good_for, RefState::Idle) {
            RefState::Assigned(pending) => Some(pending),
            other => {
                *good_for = other;
                None
            }
        }
    }

    /// Makes it stand for nothing. Returns its call, which is not lost, if it has one.
    fn spend(&self) -> Option<Arc<PendingCallback>> {
        match std::mem::replace(&mut *self.0.lock(), RefState::Spent) {
            RefState::Assigned(pending) => Some(pending),
            RefState::Idle | RefState::Spent => None,
        }
    }
}

/// A process that waits for a call.
struct IdleWorker {
    pid: ErlNifPid,
    reference: ResourceArc<CallbackRef>,
}

/// Those that wait. In front the one that answered last and is awake still, then the others in the
/// order in which they were started.
static IDLE_WORKERS: Mutex<VecDeque<IdleWorker>> = Mutex::new(VecDeque::new());

/// Drops the workers of a service that is gone, which end with it.
pub(crate) fn drop_idle_workers() {
    let gone = std::mem::take(&mut *IDLE_WORKERS.lock());
    // Outside of the lock.
    drop(gone);
}

impl CallbackMessage {
    pub(crate) fn new(call: ErlangCall<'_>) -> Self {
        let ErlangCall { name, env, arguments } = call;
        // SAFETY: the environment is ours alone.
        let name = unsafe { binary(env.as_ptr(), name.as_bytes()) };
        CallbackMessage { env, name, arguments }
    }

    /// Sends the call to an idle worker. `false`: there is none.
    fn send_to_idle(&self, pending: &Arc<PendingCallback>) -> bool {
        let env = self.env.as_ptr();
        // SAFETY: all three are terms of our environment, an atom is one of any.
        let message =
            unsafe { tuple(env, &[atoms::py_call().as_c_arg(), self.name, self.arguments]) };
        loop {
            // A statement of its own: the lock isn't held meanwhile.
            let next = IDLE_WORKERS.lock().pop_front();
            let Some(IdleWorker { pid, reference }) = next else { return false };
            if !reference.claim(pending) {
                continue;
            }
            pending.is_run_by(pid);
            // SAFETY: the message is a term of this environment, which it takes along if it is
            // sent, and this is no scheduler's thread.
            let sent = unsafe { send(pid, env, message) };
            // If not, the worker has been killed, or its service has, which may have answered
            // already.
            if sent || reference.spend().is_none() {
                return true;
            }
        }
    }

    /// Has the service start a process for the call. `false`: there is no service.
    fn request_worker(&self, pending: &Arc<PendingCallback>) -> bool {
        let reference =
            ResourceArc::new(CallbackRef(Mutex::new(RefState::Assigned(Arc::clone(pending)))));
        let ptr = self.env.as_ptr();
        // SAFETY: the environment is ours alone, and this is no scheduler's thread.
        unsafe {
            let reference = reference.encode(Env::new(&ptr, ptr)).as_c_arg();
            let message =
                tuple(ptr, &[atom(ptr, "py_callback"), reference, self.name, self.arguments]);
            Service::Callbacks.send(ptr, message)
        }
    }
}

impl PendingCallback {
    /// Has a function called in Erlang. `None`: there is no service.
    pub(crate) fn start(request: &CallbackMessage, thread: CallingThread) -> Option<Arc<Self>> {
        let pending = Arc::new(PendingCallback {
            thread,
            handler: AtomicUsize::new(0),
            answer: Mutex::new(None),
            is_over: AtomicBool::new(false),
        });
        (request.send_to_idle(&pending) || request.request_worker(&pending)).then_some(pending)
    }

    /// Notes the process that runs the function.
    fn is_run_by(&self, pid: ErlNifPid) {
        self.handler.store(to_bits(pid_term(pid)), Ordering::Release);
    }

    /// The first answer counts.
    fn complete(&self, answer: CallbackResult) {
        {
            let mut place = self.answer.lock();
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            *place = Some(answer);
            self.is_over.store(true, Ordering::Release);
        }
        match &self.thread {
            CallingThread::Context(context) => context.wake_waiting_job(),
            CallingThread::EventLoop(context, number) => {
                context.notify(Notice::CallAnswered(*number));
            }
            CallingThread::Other(thread) => thread.unpark(),
        }
    }

    /// Whether it has been answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The answer, once there is one.
    pub(crate) fn take_answer(&self) -> Option<CallbackResult> {
        self.answer.lock().take()
    }
}

impl Wait<Call> for Arc<PendingCallback> {
    fn is_over(&self) -> bool {
        self.is_answered()
    }

    /// A job that the worker asks of this context has to be done before the worker can answer.
    fn needs(&self, job: &Call) -> bool {
        self.handler.load(Ordering::Acquire) == to_bits(pid_term(job.caller()))
    }
}

/// A reference for one more idle worker. `None`: there are enough.
pub(crate) fn new_ref() -> Option<ResourceArc<CallbackRef>> {
    let has_place = IDLE_WORKERS.lock().len() < MAX_IDLE;
    has_place.then(|| ResourceArc::new(CallbackRef(Mutex::new(RefState::Idle))))
}

/// A worker has the reference and waits for a call.
pub(crate) fn worker_idle(reference: ResourceArc<CallbackRef>, pid: ErlNifPid) {
    IDLE_WORKERS.lock().push_back(IdleWorker { pid, reference });
}

/// Answers, and the worker is idle before Python can make its next call. `false`: nothing was done,
/// because enough workers are idle or there is nothing to answer.
pub(crate) fn answer_and_idle(
    reference: ResourceArc<CallbackRef>,
    pid: ErlNifPid,
    answer: Term,
) -> bool {
    let mut idle = IDLE_WORKERS.lock();
    if idle.len() >= MAX_IDLE {
        return false;
    }
    let Some(pending) = reference.reuse() else { return false };
    idle.push_front(IdleWorker { pid, reference });
    drop(idle);
    pending.complete(result_of(answer));
    true
}

/// The worker with the reference gets no more calls. `false`: it was not idle, so a call may be on
/// its way to it.
pub(crate) fn worker_leaves(reference: &ResourceArc<CallbackRef>) -> bool {
    let mut idle = IDLE_WORKERS.lock();
    let place = idle.iter().position(|other| std::ptr::eq(&*other.reference, &**reference));
    place.and_then(|place| idle.remove(place)).is_some()
}

impl CallbackRef {
    /// Notes the process that is going to run the function. `false`: there is no call.
    pub(crate) fn begin(&self, pid: ErlNifPid) -> bool {
        let pending = self.call();
        if let Some(pending) = &pending {
            pending.is_run_by(pid);
        }
        pending.is_some()
    }

    /// Answers the call. The first answer counts, and the reference is spent.
    pub(crate) fn answer(&self, answer: Term) {
        if let Some(pending) = self.spend() {
            pending.complete(result_of(answer));
        }
    }
}
