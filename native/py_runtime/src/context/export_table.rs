//! The exports of one context, and who ends its interpreter.
//!
//! An interpreter with exports left is not ended but kept, without a thread, until the last of them
//! has gone. Those that outlive their context are released by a thread which is started for that, and
//! which ends the interpreter after the last. Releasing runs Python code, perhaps for ever, so that no
//! context's exports wait for those of another.

use std::mem::MaybeUninit;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};
use crate::interpreter::mode::Mode;
use crate::interpreter::parked::Vacant;
use crate::interpreter::{Interpreter, visit_main};
use crate::sync::os_thread;

/// A buffer on its way to a thread that may release it. Dropping it anywhere else leaks it.
pub(crate) struct Buffer(Box<ffi::Py_buffer>);

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buffer").field(&self.0.len).finish()
    }
}

// SAFETY: the structure is only read, or released by `release`, whose caller vouches for the thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A contiguous buffer of `object`, which it keeps alive. `None`: exception set.
    pub(crate) fn get(_: Attached<'_>, object: &Object) -> Option<Self> {
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::zeroed());
        // SAFETY: attached, says the token; on success the view is filled in.
        unsafe {
            let got =
                ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE);
            (got == 0).then(|| Buffer(Box::from_raw(Box::into_raw(view).cast::<ffi::Py_buffer>())))
        }
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.0.len <= 0 {
            return &[];
        }
        // SAFETY: the view has `len` bytes at `buf` until it is released.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len.unsigned_abs()) }
    }

    /// # Safety
    /// The thread is attached to the interpreter of the buffer's object.
    pub(crate) unsafe fn release(mut self) {
        // SAFETY: filled in by `PyObject_GetBuffer`, released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}

/// The exports of one context.
#[derive(Debug, Default)]
pub(crate) struct Exports(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Exports that live, wherever they are.
    live: usize,
    /// Those of them that were handed over since the mailbox ended.
    late: Vec<Buffer>,
    /// Whether a thread has been started for what is late.
    has_thread: bool,
    fate: Fate,
}

/// Whose the interpreter is.
#[derive(Debug, Default)]
enum Fate {
    /// The context thread's, which will look at what is late before it ends it.
    #[default]
    Served,
    /// Nobody's, or in the hands of the thread for what is late.
    Left(Place),
    /// It has been ended.
    Over,
}

/// Where the objects of a context without a thread are.
#[derive(Debug)]
enum Place {
    /// The main interpreter, which stays.
    Main,
    /// An interpreter that waits for its last export to go.
    Lingering(Vacant),
}

impl Place {
    /// Not attached.
    fn release(&self, buffer: Buffer) {
        // SAFETY: the visits below attach this thread to the interpreter of the buffer's object.
        let release = || unsafe { buffer.release() };
        match self {
            // SAFETY: not attached, says the caller.
            Place::Main => unsafe { visit_main(release) },
            Place::Lingering(vacant) => vacant.visit(release),
        }
    }
}

impl Exports {
    /// Counts one in. `false`: the interpreter is, or may be, gone.
    pub(crate) fn add(&self) -> bool {
        let mut state = self.0.lock();
        let open = matches!(state.fate, Fate::Served);
        state.live += usize::from(open);
        open
    }

    /// How many live.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().live
    }

    /// Counts one out that was never made.
    pub(crate) fn take_back(&self) {
        self.0.lock().live -= 1;
    }

    /// Releases one on the context thread, which is attached.
    ///
    /// # Safety
    /// The thread is attached to the context's interpreter.
    pub(crate) unsafe fn release(&self, buffer: Buffer) {
        // SAFETY: passed on to the caller.
        unsafe { buffer.release() };
        self.0.lock().live -= 1;
    }

    /// Releases what is late on the context thread, which is attached; the state is after that.
    ///
    /// # Safety
    /// As for [`Exports::release`].
    unsafe fn release_late(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock();
        while let Some(buffer) = state.late.pop() {
            // Without the lock: finalizers are Python code.
            // SAFETY: passed on to the caller.
            MutexGuard::unlocked(&mut state, || unsafe { buffer.release() });
            state.live -= 1;
        }
        state
    }
}

/// Ends the interpreter of a context whose thread is done, or leaves it for its exports.
pub(crate) fn settle(exports: &Arc<Exports>, interpreter: Interpreter) {
    // SAFETY: attached, see `Interpreter`.
    let mut state = unsafe { exports.release_late() };
    if interpreter.mode() == Mode::Worker {
        state.fate = Fate::Left(Place::Main);
        return;
    }
    if state.live == 0 {
        state.fate = Fate::Over;
        return;
    }
    drop(state);
    // Without the lock: leaving runs Python code. What is handed over meanwhile is kept for later.
    let Some(vacant) = interpreter.vacate() else { return };
    let mut state = exports.0.lock();
    state.fate = Fate::Left(Place::Lingering(vacant));
    see_to_late(exports, state);
}

/// Lets go of one whose context has no thread any more. Any thread; never waits.
pub(crate) fn release_late(exports: &Arc<Exports>, buffer: Buffer) {
    let mut state = exports.0.lock();
    state.late.push(buffer);
    see_to_late(exports, state);
}

/// Starts the thread for what is late, if there is anything that it may do and it isn't at it.
fn see_to_late(exports: &Arc<Exports>, mut state: MutexGuard<'_, State>) {
    if state.has_thread || state.late.is_empty() || !matches!(state.fate, Fate::Left(_)) {
        return;
    }
    state.has_thread = true;
    drop(state);
    let shared = Arc::clone(exports);
    if os_thread::spawn_python("py_late", move || let_go_of_late(&shared)).is_err() {
        // The next one that is late tries again.
        exports.0.lock().has_thread = false;
    }
}

/// On a thread of its own. With the last export it ends the interpreter, too.
fn let_go_of_late(exports: &Exports) {
    let mut state = exports.0.lock();
    let Fate::Left(place) = std::mem::replace(&mut state.fate, Fate::Over) else { return };
    while let Some(buffer) = state.late.pop() {
        // Who comes now finds that there is a thread, and leaves it to that.
        MutexGuard::unlocked(&mut state, || place.release(buffer));
        state.live -= 1;
    }
    match place {
        Place::Lingering(vacant) if state.live == 0 => {
            drop(state);
            // Entering it makes it end here.
            drop(vacant.enter());
        }
        place => {
            state.fate = Fate::Left(place);
            state.has_thread = false;
        }
    }
}
