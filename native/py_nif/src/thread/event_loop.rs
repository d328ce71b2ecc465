//! The event loop of a context: made when the first coroutine comes, run turn by turn by the
//! thread, which waits for it and for jobs at once.

use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::time::Duration;

use py_runtime::code;
use py_runtime::context::{LoopOptions, LoopWait};
use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::namespace::library_namespace;
use py_runtime::object::{Attached, Object};

use super::step;

static SOURCE: code::Source =
    code::Source::new(include_bytes!("event_loop.py"), "<asyncio of the context>");

/// The loop, and the functions of `event_loop.py`. Dropped on the context thread, attached.
pub(crate) struct EventLoop {
    event_loop: Object,
    /// What is known of a loop of our own class. None: a module of the user's has made it.
    own: Option<OwnLoop>,
    /// Whose code runs.
    call: Object,
    step: Object,
    running_loop: Object,
    turn: Object,
    start: Object,
    cancel_task: Object,
    retrieve: Object,
    /// Runs a coroutine to completion, on a loop of its own.
    pub(crate) run: Object,
    /// Runs a coroutine to completion, on the tasks' loop.
    pub(crate) run_first: Object,
    /// Makes a coroutine that runs several side by side.
    pub(crate) gather: Object,
    /// The class of asynchronous iterators that are taken step by step.
    pub(crate) steps: Object,
    end: Object,
}

/// An exception is set.
#[derive(Debug)]
pub(crate) struct NoFuture;

/// What is known of a loop of our own class.
struct OwnLoop {
    /// The callbacks that are due.
    ready: Object,
    /// The length of a `deque`, whatever its class says.
    deque_len: ffi::lenfunc,
    /// The descriptor of its selector.
    fd: RawFd,
}

impl OwnLoop {
    /// `None`: exception set.
    fn of(py: Attached<'_>, event_loop: &Object) -> Option<Self> {
        let ready = event_loop.getattr_c(py, c"_ready")?;
        let selector = event_loop.getattr_c(py, c"_selector")?;
        let fd = selector.call_method0(py, c"fileno")?;
        let deque = Object::import(py, c"collections")?.getattr_c(py, c"deque")?;
        // SAFETY: attached; a number, and a type, whose slot is of the kind that its number says.
        let (fd, deque_len) = unsafe {
            let slot = ffi::PyType_GetSlot(deque.as_ptr().cast(), ffi::Py_sq_length);
            let length = std::mem::transmute::<*mut std::ffi::c_void, Option<ffi::lenfunc>>(slot);
            (ffi::PyLong_AsLong(fd.as_ptr()), length)
        };
        Some(OwnLoop { ready, deque_len: deque_len?, fd: fd.try_into().ok()? })
    }

    /// Whether a callback is due.
    fn is_ready(&self) -> bool {
        // SAFETY: attached, as the owner of an `Object` is; an instance of a subclass of `deque`,
        // whose own length this is.
        unsafe { (self.deque_len)(self.ready.as_ptr()) > 0 }
    }
}

impl EventLoop {
    pub(crate) fn new(py: Attached<'_>, options: &LoopOptions) -> Result<Self, Exception> {
        let namespace = library_namespace(py, "py_context_router.asyncio")?;
        Self::define(py, &namespace, options).ok_or_else(|| Exception::take(py))?;
        SOURCE.exec(py, &namespace)?;
        Self::of(py, &namespace).ok_or_else(|| Exception::take(py))
    }

    fn define(py: Attached<'_>, namespace: &Object, options: &LoopOptions) -> Option<()> {
        let seconds = |time: Option<Duration>| {
            Object::float(py, time.map_or(f64::INFINITY, |time| time.as_secs_f64()))
        };
        namespace.set_item(py, c"INTERRUPT_GRACE", &seconds(options.interrupt_grace)?)?;
        namespace.set_item(py, c"CANCEL_GRACE", &seconds(options.cancel_grace)?)?;
        let module = match &options.module {
            Some(module) => Object::text(py, module)?,
            None => Object::none(py),
        };
        namespace.set_item(py, c"EVENT_LOOP", &module)?;
        namespace.set_item(py, c"Step", &step::make_type(py)?)
    }

    /// `None`: exception set.
    fn of(py: Attached<'_>, namespace: &Object) -> Option<Self> {
        let get = |name: &std::ffi::CStr| namespace.get_item(py, name);
        let event_loop = get(c"loop")?;
        let is_ours = get(c"is_ours")?.is_bool(true);
        let own = if is_ours { Some(OwnLoop::of(py, &event_loop)?) } else { None };
        Some(EventLoop {
            event_loop,
            own,
            call: get(c"call")?,
            step: get(c"Step")?,
            running_loop: get(c"get_running_loop")?,
            turn: get(if is_ours { c"turn" } else { c"turn_other" })?,
            start: get(c"start")?,
            cancel_task: get(c"cancel_task")?,
            retrieve: get(c"retrieve")?,
            run: get(c"run")?,
            run_first: get(c"run_first")?,
            gather: get(c"gather")?,
            steps: get(c"Steps")?,
            end: get(c"end")?,
        })
    }

    /// Whether this is the loop.
    pub(crate) fn is(&self, other: &Object) -> bool {
        self.event_loop.as_ptr() == other.as_ptr()
    }

    /// How to wait for the loop.
    pub(crate) fn wait(&self, py: Attached<'_>) -> LoopWait {
        let Some(own) = &self.own else { return LoopWait::InLoop };
        let at_most = if own.is_ready() { Some(Duration::ZERO) } else { self.next_timer(py) };
        exception::clear(py);
        LoopWait::Poll { fd: own.fd, at_most }
    }

    /// The time until the first timer is due. `None`: there is none.
    fn next_timer(&self, py: Attached<'_>) -> Option<Duration> {
        let scheduled = self.event_loop.getattr_c(py, c"_scheduled")?;
        if scheduled.list_size(py) == 0 {
            return None;
        }
        let when = scheduled.list_item(py, 0)?.getattr_c(py, c"_when")?;
        // SAFETY: attached; what is no number is -1.
        let when = unsafe { ffi::PyFloat_AsDouble(when.as_ptr()) };
        Some(
            Duration::try_from_secs_f64((when - monotonic_seconds()).max(0.0))
                .unwrap_or(Duration::MAX),
        )
    }

    /// Runs what is due, once; a loop that isn't of our class until `wait` is readable.
    pub(crate) fn turn(&self, py: Attached<'_>, wait: Option<RawFd>) {
        let fd = wait.and_then(|fd| Object::int(py, fd.into()));
        drop(self.turn.call1(py, &fd.unwrap_or_else(|| Object::none(py))));
        exception::clear(py);
    }

    /// Starts a task for the call of this number. `None`: exception set.
    pub(crate) fn start(
        &self,
        py: Attached<'_>,
        coroutine: &Object,
        number: u64,
    ) -> Option<Object> {
        let step = step::new(py, &self.step, coroutine, Some(number))?;
        // SAFETY: attached.
        let number = unsafe { Object::from_owned(py, ffi::PyLong_FromUnsignedLongLong(number)) }?;
        self.start.call(py, [&step, &number])
    }

    /// Cancels a task: `now`, and again when its time to clean up is over.
    pub(crate) fn cancel(&self, py: Attached<'_>, task: &Object, now: bool) {
        drop(self.cancel_task.call(py, [task, &Object::bool(py, now)]));
        exception::clear(py);
    }

    /// Has asyncio not report the exception of a task.
    pub(crate) fn retrieve(&self, py: Attached<'_>, task: &Object) {
        drop(self.retrieve.call1(py, task));
        exception::clear(py);
    }

    /// A new future, if this loop runs here. `Err`: exception set.
    pub(crate) fn new_future(&self, py: Attached<'_>) -> Result<Option<Object>, NoFuture> {
        let running = self.running_loop.call0(py).ok_or(NoFuture)?;
        if !self.is(&running) {
            return Ok(None);
        }
        self.event_loop.call_method0(py, c"create_future").map(Some).ok_or(NoFuture)
    }

    /// The number of the call whose code runs.
    pub(crate) fn running_call(&self, py: Attached<'_>) -> Option<u64> {
        let mut value = null_mut();
        // SAFETY: attached; a live variable, and a place for a new reference or null.
        let value = unsafe {
            if ffi::PyContextVar_Get(self.call.as_ptr(), null_mut(), &raw mut value) < 0 {
                exception::clear(py);
                return None;
            }
            Object::from_owned(py, value)?
        };
        // SAFETY: attached; a live object.
        if unsafe { ffi::PyList_Check(value.as_ptr()) } == 0 || value.list_size(py) == 0 {
            return None;
        }
        let number = value.list_item(py, 0)?;
        // SAFETY: attached; what is no number is an error, which is cleared.
        let number = unsafe { ffi::PyLong_AsUnsignedLongLong(number.as_ptr()) };
        exception::clear(py);
        Some(number)
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        // SAFETY: dropped attached, as every `Object` is.
        let py = unsafe { Attached::assume() };
        if self.end.call0(py).is_none() {
            // At the very end there is no job that an error could be reported to.
            exception::clear(py);
        }
    }
}

/// The time of `time.monotonic()`.
fn monotonic_seconds() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_secs_f64()
}

/// Whether a value is what an `async def` returns.
pub(crate) fn is_coroutine(value: &Object) -> bool {
    value.class_ptr() == &raw mut ffi::PyCoro_Type
}
