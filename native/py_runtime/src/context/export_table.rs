//! The exports of one context, and who ends its interpreter.
//!
//! An interpreter with exports left is not ended but kept, without a thread, until the last of them
//! has gone. Those that outlive their context are released by a thread which is started for that,
//! and which ends the interpreter after the last. Releasing runs Python code, perhaps for ever, so
//! that no context's exports wait for those of another.

use std::mem::MaybeUninit;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};
use crate::interpreter::mode::Mode;
use crate::interpreter::parked::ParkedInterpreter;
use crate::interpreter::{Interpreter, with_main_attached};
use crate::sync::os_thread;

/// A buffer on its way to a thread that may release it. Dropping it anywhere else leaks it.
pub(crate) struct PyBuffer(Box<ffi::Py_buffer>);

impl std::fmt::Debug for PyBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PyBuffer").field(&self.0.len).finish()
    }
}

// SAFETY: the structure is only read, or released by `release`, whose caller vouches for the
// thread.
unsafe impl Send for PyBuffer {}
// SAFETY: as above.
unsafe impl Sync for PyBuffer {}

impl PyBuffer {
    /// A contiguous buffer of `object`, which it keeps alive. `None`: exception set.
    pub(crate) fn get(_: Attached<'_>, object: &Object) -> Option<Self> {
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::zeroed());
        // SAFETY: attached, as the token proves; on success the view is filled in.
        unsafe {
            let got =
                ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE);
            (got == 0)
                .then(|| PyBuffer(Box::from_raw(Box::into_raw(view).cast::<ffi::Py_buffer>())))
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
pub(crate) struct ExportTable(Mutex<ExportState>);

#[derive(Debug, Default)]
struct ExportState {
    /// How many exports live, wherever they are.
    live: usize,
    /// Those of them that were dropped since the mailbox ended.
    after_end: Vec<PyBuffer>,
    /// Whether a thread has been started to release those.
    has_thread: bool,
    fate: InterpreterFate,
}

/// What has become of the interpreter.
#[derive(Debug, Default)]
enum InterpreterFate {
    /// The context thread has it, and releases what was dropped late before it ends it.
    #[default]
    Running,
    /// No thread is in it, or the one that releases exports.
    Abandoned(Place),
    /// It has been ended.
    Ended,
}

/// Where the objects of a context without a thread are.
#[derive(Debug)]
enum Place {
    /// The main interpreter, which stays.
    Main,
    /// An interpreter that waits for its last export to be released.
    Parked(ParkedInterpreter),
}

impl Place {
    /// Not attached.
    fn release(&self, buffer: PyBuffer) {
        // SAFETY: both branches attach this thread to the interpreter of the buffer's object.
        let release = || unsafe { buffer.release() };
        match self {
            // SAFETY: not attached, as the caller vouches.
            Place::Main => unsafe { with_main_attached(release) },
            Place::Parked(parked) => parked.with_attached(release),
        }
    }
}

impl ExportTable {
    /// Counts one in. `false`: the interpreter is, or may be, gone.
    pub(crate) fn add(&self) -> bool {
        let mut state = self.0.lock();
        let open = matches!(state.fate, InterpreterFate::Running);
        state.live += usize::from(open);
        open
    }

    /// How many live.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().live
    }

    /// Undoes [`ExportTable::add`]: the export couldn't be made.
    pub(crate) fn cancel_add(&self) {
        self.0.lock().live -= 1;
    }

    /// Releases one on the context thread, which is attached.
    ///
    /// # Safety
    /// The thread is attached to the context's interpreter.
    pub(crate) unsafe fn release(&self, buffer: PyBuffer) {
        // SAFETY: as the caller vouches.
        unsafe { buffer.release() };
        self.0.lock().live -= 1;
    }

    /// Releases what was dropped late on the context thread, which is attached. Returns the state,
    /// locked.
    ///
    /// # Safety
    /// As for [`ExportTable::release`].
    unsafe fn release_deferred(&self) -> MutexGuard<'_, ExportState> {
        let mut state = self.0.lock();
        while let Some(buffer) = state.after_end.pop() {
            // Without the lock: finalizers are Python code.
            // SAFETY: as the caller vouches.
            MutexGuard::unlocked(&mut state, || unsafe { buffer.release() });
            state.live -= 1;
        }
        state
    }
}

/// Ends the interpreter of a context whose thread is done, or keeps it for its exports.
pub(crate) fn end_or_keep_interpreter(exports: &Arc<ExportTable>, interpreter: Interpreter) {
    // SAFETY: attached, see `Interpreter`.
    let mut state = unsafe { exports.release_deferred() };
    if interpreter.mode() == Mode::Worker {
        state.fate = InterpreterFate::Abandoned(Place::Main);
        return;
    }
    if state.live == 0 {
        state.fate = InterpreterFate::Ended;
        return;
    }
    drop(state);
    // Without the lock: parking runs Python code. What is dropped meanwhile is kept for later.
    let Some(parked) = interpreter.park() else { return };
    let mut state = exports.0.lock();
    state.fate = InterpreterFate::Abandoned(Place::Parked(parked));
    spawn_releaser(exports, state);
}

/// Has an export released whose context has no thread any more. Any thread; never waits.
pub(crate) fn defer_release(exports: &Arc<ExportTable>, buffer: PyBuffer) {
    let mut state = exports.0.lock();
    state.after_end.push(buffer);
    spawn_releaser(exports, state);
}

/// Starts the release thread unless it runs or has nothing to release.
fn spawn_releaser(exports: &Arc<ExportTable>, mut state: MutexGuard<'_, ExportState>) {
    if state.has_thread
        || state.after_end.is_empty()
        || !matches!(state.fate, InterpreterFate::Abandoned(_))
    {
        return;
    }
    state.has_thread = true;
    drop(state);
    let shared = Arc::clone(exports);
    if os_thread::spawn_python("py_release", move || release_after_end(&shared)).is_err() {
        // The next export that is dropped tries again.
        exports.0.lock().has_thread = false;
    }
}

/// On a thread of its own. With the last export it ends the interpreter, too.
fn release_after_end(exports: &ExportTable) {
    let mut state = exports.0.lock();
    let InterpreterFate::Abandoned(place) =
        std::mem::replace(&mut state.fate, InterpreterFate::Ended)
    else {
        return;
    };
    while let Some(buffer) = state.after_end.pop() {
        // What is dropped now is left to this thread.
        MutexGuard::unlocked(&mut state, || place.release(buffer));
        state.live -= 1;
    }
    match place {
        Place::Parked(parked) if state.live == 0 => {
            drop(state);
            // Entering it makes it end here.
            drop(parked.enter());
        }
        place => {
            state.fate = InterpreterFate::Abandoned(place);
            state.has_thread = false;
        }
    }
}
