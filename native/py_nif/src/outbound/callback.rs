//! A call from Python to Erlang: from the thread that waits to the process that answers, and back.
//!
//! The function's name and arguments go to the process that runs it in one message, moved, not copied.
//! What Erlang holds of the call is a [`Ticket`]: once the last process that has it is gone, the call
//! is answered, if nobody has, so that no death in Erlang leaves Python waiting.
//!
//! To start a process takes about as long as everything else. So some stand by, each with a ticket
//! issued ahead, and a call goes straight to one of them, which stands by again as it answers. Only
//! when there is none left does it go to the service, which starts one for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;
use py_runtime::context::Wait;
use rustler::sys::{ErlNifPid, ErlNifTerm, enif_send};
use rustler::{Encoder, Env, Resource, ResourceArc, Term};

use crate::outbound::services::Service;
use crate::request::call::Call;
use crate::resources::contexts::Context;
use crate::term::{self, OwnedEnv, Saved, atom, binary, pid_term, tuple, word};

mod atoms {
    rustler::atoms! { py_call }
}

/// How many processes stand by: enough for a few contexts that call at the same time.
const STAND_BY: usize = 8;

/// Who waits, and how it is woken.
pub(crate) enum Waiter {
    /// A context's thread, which serves meanwhile.
    Context(Arc<Context>),
    /// Any other thread, which sleeps.
    Thread(Thread),
}

/// A call that has not been answered, or whose answer has not been looked at.
pub(crate) struct Pending {
    waiter: Waiter,
    /// The word of the pid of the process that runs the function, or 0.
    handler: AtomicUsize,
    answer: Mutex<Option<Answer>>,
    is_over: AtomicBool,
}

/// What is called, in an environment of its own.
pub(crate) struct Request {
    env: OwnedEnv,
    name: ErlNifTerm,
    arguments: ErlNifTerm,
}

/// What became of a call.
pub(crate) enum Answer {
    /// The value in `{ok, Value}`, if it is the same in every environment.
    Plain(ErlNifTerm),
    /// See `py_callback:answer/2`.
    Given(Saved),
    /// Whoever was to answer is gone.
    Lost,
}

// SAFETY: a plain value needs no environment, and what is saved may change threads.
unsafe impl Send for Answer {}

impl Answer {
    /// What the process that ran the function has said. To copy a term costs memory that one thread
    /// allocates and another frees, so plain ones go without.
    fn of(said: Term) -> Self {
        let env = said.get_env().as_c_arg();
        // SAFETY: the answer is a term of this NIF call, and so are a tuple's elements.
        unsafe {
            if let [_ok, value] = term::elements(env, said.as_c_arg())
                && term::is_plain(env, *value)
            {
                return Answer::Plain(*value);
            }
            Answer::Given(Saved::new(said.as_c_arg()))
        }
    }
}

/// What Erlang holds of a call, or of the one to come.
pub(crate) struct Ticket(Mutex<Use>);

/// What a ticket is good for.
enum Use {
    /// The next call.
    Next,
    /// This one.
    This(Arc<Pending>),
    /// Nothing: whoever had it is gone.
    Void,
}

#[rustler::resource_impl]
impl Resource for Ticket {}

// A panic in a NIF leaves a call as it found it: its answer is set in one go.
impl std::panic::RefUnwindSafe for Ticket {}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Use::This(pending) = self.0.get_mut() {
            pending.settle(Answer::Lost);
        }
    }
}

impl Ticket {
    fn call(&self) -> Option<Arc<Pending>> {
        match &*self.0.lock() {
            Use::This(pending) => Some(Arc::clone(pending)),
            Use::Next | Use::Void => None,
        }
    }

    /// `false`: it isn't to be had any more.
    fn claim(&self, pending: &Arc<Pending>) -> bool {
        let mut good_for = self.0.lock();
        let is_free = matches!(*good_for, Use::Next);
        if is_free {
            *good_for = Use::This(Arc::clone(pending));
        }
        is_free
    }

    /// Makes it good for the next call. The one it was for, or `None`, and nothing has changed.
    fn renew(&self) -> Option<Arc<Pending>> {
        let mut good_for = self.0.lock();
        match std::mem::replace(&mut *good_for, Use::Next) {
            Use::This(pending) => Some(pending),
            other => {
                *good_for = other;
                None
            }
        }
    }

    /// Makes it void, and nobody's call lost. The call it was for, if any.
    fn void(&self) -> Option<Arc<Pending>> {
        match std::mem::replace(&mut *self.0.lock(), Use::Void) {
            Use::This(pending) => Some(pending),
            Use::Next | Use::Void => None,
        }
    }
}

/// A process that waits for a call.
struct StandBy {
    pid: ErlNifPid,
    ticket: ResourceArc<Ticket>,
}

/// Those that wait. In front whoever answered last and is awake still, then the others in the order
/// in which they were started.
static STANDING_BY: Mutex<VecDeque<StandBy>> = Mutex::new(VecDeque::new());

/// Forgets the processes of a service that is gone, which end with it.
pub(crate) fn forget_standing_by() {
    let gone = std::mem::take(&mut *STANDING_BY.lock());
    // Outside of the lock.
    drop(gone);
}

impl Request {
    /// # Safety
    /// `arguments` is a list in `env`.
    pub(crate) unsafe fn new(name: &str, env: OwnedEnv, arguments: ErlNifTerm) -> Self {
        // SAFETY: the environment is ours alone.
        let name = unsafe { binary(env.as_ptr(), name.as_bytes()) };
        Request { env, name, arguments }
    }

    /// Gives the call to a process that stands by. `false`: there is none.
    fn give(&self, pending: &Arc<Pending>) -> bool {
        let env = self.env.as_ptr();
        // SAFETY: all three are terms of our environment, an atom is one of any.
        let message =
            unsafe { tuple(env, &[atoms::py_call().as_c_arg(), self.name, self.arguments]) };
        loop {
            // A statement of its own: the lock isn't held meanwhile.
            let next = STANDING_BY.lock().pop_front();
            let Some(StandBy { pid, ticket }) = next else { return false };
            if !ticket.claim(pending) {
                continue;
            }
            pending.is_run_by(pid);
            // SAFETY: the message is a term of this environment, which it takes along if it is
            // sent, and this is no scheduler's thread.
            let sent = unsafe { enif_send(std::ptr::null_mut(), &raw const pid, env, message) };
            // If not, it has been killed, or its service has, which may have answered for it already.
            if sent != 0 || ticket.void().is_none() {
                return true;
            }
        }
    }

    /// Has a process started for the call. `false`: nobody serves.
    fn order(&self, pending: &Arc<Pending>) -> bool {
        let ticket = ResourceArc::new(Ticket(Mutex::new(Use::This(Arc::clone(pending)))));
        let ptr = self.env.as_ptr();
        // SAFETY: the environment is ours alone, and this is no scheduler's thread.
        unsafe {
            let ticket = ticket.encode(Env::new(&ptr, ptr)).as_c_arg();
            let message =
                tuple(ptr, &[atom(ptr, "py_callback"), ticket, self.name, self.arguments]);
            Service::Callbacks.send(ptr, message)
        }
    }
}

impl Pending {
    /// Has a function called in Erlang. `None`: nobody serves.
    pub(crate) fn start(request: &Request, waiter: Waiter) -> Option<Arc<Self>> {
        let pending = Arc::new(Pending {
            waiter,
            handler: AtomicUsize::new(0),
            answer: Mutex::new(None),
            is_over: AtomicBool::new(false),
        });
        (request.give(&pending) || request.order(&pending)).then_some(pending)
    }

    /// By this process the function is run.
    fn is_run_by(&self, pid: ErlNifPid) {
        self.handler.store(word(pid_term(pid)), Ordering::Release);
    }

    /// The first answer counts.
    fn settle(&self, answer: Answer) {
        {
            let mut place = self.answer.lock();
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            *place = Some(answer);
            self.is_over.store(true, Ordering::Release);
        }
        match &self.waiter {
            Waiter::Context(context) => context.nudge_waiting(),
            Waiter::Thread(thread) => thread.unpark(),
        }
    }

    /// Whether it has been answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The answer, once there is one.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        self.answer.lock().take()
    }
}

impl Wait<Call> for Arc<Pending> {
    fn is_over(&self) -> bool {
        self.is_answered()
    }

    /// What the process that runs the function asks of this context has to be done before it can
    /// answer.
    fn needs(&self, job: &Call) -> bool {
        self.handler.load(Ordering::Acquire) == word(pid_term(job.caller()))
    }
}

/// A ticket for a process that is to stand by. `None`: enough do.
pub(crate) fn new_ticket() -> Option<ResourceArc<Ticket>> {
    let has_place = STANDING_BY.lock().len() < STAND_BY;
    has_place.then(|| ResourceArc::new(Ticket(Mutex::new(Use::Next))))
}

/// A process has the ticket and waits for a call.
pub(crate) fn stand_by(ticket: ResourceArc<Ticket>, pid: ErlNifPid) {
    STANDING_BY.lock().push_back(StandBy { pid, ticket });
}

/// Answers, and the process waits for its next call before Python can make that. `false`: nothing
/// was done, because enough stand by or there is nothing to answer.
pub(crate) fn answer_and_stand_by(
    ticket: ResourceArc<Ticket>,
    pid: ErlNifPid,
    answer: Term,
) -> bool {
    let mut standing_by = STANDING_BY.lock();
    if standing_by.len() >= STAND_BY {
        return false;
    }
    let Some(pending) = ticket.renew() else { return false };
    standing_by.push_front(StandBy { pid, ticket });
    drop(standing_by);
    pending.settle(Answer::of(answer));
    true
}

/// Whoever has the ticket doesn't stand by any more, and another may. `false`: it didn't, so a call
/// may be on its way.
pub(crate) fn retire(ticket: &ResourceArc<Ticket>) -> bool {
    let mut standing_by = STANDING_BY.lock();
    let place = standing_by.iter().position(|other| std::ptr::eq(&*other.ticket, &**ticket));
    place.and_then(|place| standing_by.remove(place)).is_some()
}

impl Ticket {
    /// A process is going to run the function. `false`: there is no call.
    pub(crate) fn begin(&self, pid: ErlNifPid) -> bool {
        let pending = self.call();
        if let Some(pending) = &pending {
            pending.is_run_by(pid);
        }
        pending.is_some()
    }

    /// Answers the call. The first answer counts, and the ticket is void.
    pub(crate) fn answer(&self, answer: Term) {
        if let Some(pending) = self.void() {
            pending.settle(Answer::of(answer));
        }
    }
}
