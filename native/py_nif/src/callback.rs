//! A call from Python to Erlang: from the thread that waits to the process that answers, and back.
//!
//! The arguments stay here until the process that runs the function takes them. What Erlang holds
//! meanwhile is a [`Ticket`]: once the last process that has it is gone, the call is answered, if
//! nobody has, so that no death in Erlang leaves Python waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;
use py_runtime::context::Wait;
use rustler::sys::{ErlNifTerm, enif_make_copy};
use rustler::{Atom, Encoder, Env, Resource, ResourceArc, Term};

use crate::call::Call;
use crate::directory::Context;
use crate::service::Service;
use crate::term::{OwnedEnv, Saved, atom, binary, pid_term, tuple, word};

mod atoms {
    rustler::atoms! { ok }
}

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
    /// A list, in an environment that is only read.
    arguments: ErlNifTerm,
    _env: OwnedEnv,
    /// The word of the pid of the process that runs the function, or 0.
    handler: AtomicUsize,
    answer: Mutex<Option<Answer>>,
    is_over: AtomicBool,
}

// SAFETY: the list's environment is only read; everything else is made for sharing.
unsafe impl Send for Pending {}
// SAFETY: as above.
unsafe impl Sync for Pending {}

/// What became of a call.
pub(crate) enum Answer {
    /// See `py_callback:answer/1`.
    Given(Saved),
    /// Whoever was to answer is gone.
    Lost,
}

/// What Erlang holds of a call.
pub(crate) struct Ticket(Arc<Pending>);

#[rustler::resource_impl]
impl Resource for Ticket {}

// A panic in a NIF leaves a call as it found it: its answer is set in one go.
impl std::panic::RefUnwindSafe for Ticket {}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.settle(Answer::Lost);
    }
}

impl Pending {
    /// Has the function `name` called in Erlang. `arguments` is a list in `env`. `None`: nobody
    /// serves.
    pub(crate) fn start(
        name: &str,
        env: OwnedEnv,
        arguments: ErlNifTerm,
        waiter: Waiter,
    ) -> Option<Arc<Self>> {
        let pending = Arc::new(Pending {
            waiter,
            arguments,
            _env: env,
            handler: AtomicUsize::new(0),
            answer: Mutex::new(None),
            is_over: AtomicBool::new(false),
        });
        let ticket = ResourceArc::new(Ticket(Arc::clone(&pending)));
        let message = OwnedEnv::new();
        let ptr = message.as_ptr();
        // SAFETY: the environment is ours alone, and this is no scheduler's thread.
        let sent = unsafe {
            let ticket = ticket.encode(Env::new(&ptr, ptr)).as_c_arg();
            let name = binary(ptr, name.as_bytes());
            let message = tuple(ptr, &[atom(ptr, "py_callback"), ticket, name]);
            Service::Callbacks.send(ptr, message)
        };
        sent.then_some(pending)
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

/// `callback_take(Ticket) -> Args`, called by the process that is going to run the function.
#[rustler::nif]
fn callback_take<'a>(env: Env<'a>, ticket: ResourceArc<Ticket>) -> Term<'a> {
    let pending = &ticket.0;
    pending.handler.store(word(pid_term(*env.pid().as_c_arg())), Ordering::Release);
    // SAFETY: the list's environment is never written again; the copy is the NIF call's.
    unsafe { Term::new(env, enif_make_copy(env.as_c_arg(), pending.arguments)) }
}

/// `callback_answer(Ticket, Answer) -> ok`; the first one counts.
#[rustler::nif]
fn callback_answer(ticket: ResourceArc<Ticket>, answer: Term) -> Atom {
    // SAFETY: the answer is a term of this NIF call.
    ticket.0.settle(Answer::Given(unsafe { Saved::new(answer.as_c_arg()) }));
    atoms::ok()
}
