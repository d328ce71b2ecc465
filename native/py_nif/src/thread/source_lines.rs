//! The lines of sources for those who show them: tracebacks, `logging.exception`, `inspect`.
//!
//! All of these ask Python's `linecache`. It is imported by whoever needs it; until then the
//! interpreter's lines are kept in `sources`, a dictionary of the module `erlang`'s own Python
//! code, which hands them over when `linecache` is imported.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use parking_lot::Mutex;

use py_runtime::exception;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

/// How many sources of a context have their lines kept, and how many bytes they take in all. The
/// oldest go first.
const MOST: usize = 2048;
const MOST_BYTES: usize = 4 << 20;
/// What Python takes for a line beside its text.
const LINE_BYTES: usize = 64;

/// How many contexts of an interpreter keep the lines of a name.
static KEPT: LazyLock<Mutex<HashMap<(i64, String), usize>>> = LazyLock::new(Mutex::default);

/// The lines of one context's sources. Failing at them is no failure: no exception is left set.
pub(super) struct Lines {
    /// Entries for `linecache` by file name, shared by the contexts of one interpreter.
    entries: Object,
    recent: VecDeque<(String, usize)>,
    bytes: usize,
    kept: Vec<String>,
}

impl Lines {
    pub(super) fn new(entries: Object) -> Self {
        Lines { entries, recent: VecDeque::new(), bytes: 0, kept: Vec::new() }
    }

    /// Adds a source; older ones make room.
    pub(super) fn add(&mut self, at: Attached<'_>, name: String, source: &[u8]) {
        let ends = source.iter().filter(|byte| **byte == b'\n').count();
        let bytes = source.len() + LINE_BYTES * (ends + 1);
        if bytes > MOST_BYTES {
            return;
        }
        self.put(at, &name, source);
        self.bytes += bytes;
        self.recent.push_back((name, bytes));
        while self.recent.len() > MOST || self.bytes > MOST_BYTES {
            let Some((oldest, bytes)) = self.recent.pop_front() else { return };
            self.bytes -= bytes;
            self.remove(at, &oldest);
        }
    }

    /// Adds a source that stays, which other contexts may have by the same name.
    pub(super) fn keep(&mut self, at: Attached<'_>, name: String, source: &[u8]) {
        self.put(at, &name, source);
        *KEPT.lock().entry((interpreter_number(at), name.clone())).or_default() += 1;
        self.kept.push(name);
    }

    /// No longer keeps a source. `true`: no context of the interpreter does.
    fn give_up(at: Attached<'_>, name: &str) -> bool {
        let key = (interpreter_number(at), name.to_owned());
        let mut kept = KEPT.lock();
        let users = kept.get_mut(&key).map(|users| {
            *users -= 1;
            *users
        });
        let is_last = users.is_none_or(|users| users == 0);
        if is_last {
            kept.remove(&key);
        }
        is_last
    }

    /// Adds a source that is part of a file, beginning on `line`. It stays, and so do the lines of
    /// the file's other parts: there are no more than its program has.
    pub(super) fn place(&self, at: Attached<'_>, file: &str, line: u32, source: &[u8]) {
        let placed = Object::text(at, file).and_then(|name| {
            // SAFETY: attached; a dictionary, whose values are live.
            let known = unsafe {
                let known = ffi::PyDict_GetItemWithError(self.entries.as_ptr(), name.as_ptr());
                Object::from_borrowed(at, known)
            };
            let lines = match &known {
                // SAFETY: attached; if it isn't a tuple with a list in it, what follows fails.
                Some(entry) => unsafe {
                    Object::from_borrowed(at, ffi::PyTuple_GetItem(entry.as_ptr(), 2))?
                },
                None => no_lines(at)?,
            };
            put_lines(at, &lines, usize::try_from(line).ok()?, source)?;
            self.publish(at, &name, &entry(at, &name, 0, &lines)?)
        });
        if placed.is_none() {
            exception::clear(at);
        }
    }

    fn put(&self, at: Attached<'_>, name: &str, source: &[u8]) {
        let done = Object::text(at, name).and_then(|name| {
            let lines = no_lines(at)?;
            put_lines(at, &lines, 1, source)?;
            self.publish(at, &name, &entry(at, &name, source.len(), &lines)?)
        });
        if done.is_none() {
            exception::clear(at);
        }
    }

    /// `None`: exception set.
    fn publish(&self, at: Attached<'_>, name: &Object, entry: &Object) -> Option<()> {
        let linecache = linecache(at, false);
        [Some(&self.entries), linecache.as_ref()]
            .into_iter()
            .flatten()
            // SAFETY: attached; dictionaries, which take references of their own.
            .all(|dict| unsafe {
                ffi::PyDict_SetItem(dict.as_ptr(), name.as_ptr(), entry.as_ptr()) == 0
            })
            .then_some(())
    }

    fn remove(&self, at: Attached<'_>, name: &str) {
        let Some(name) = Object::text(at, name) else { return exception::clear(at) };
        for dict in [Some(&self.entries), linecache(at, false).as_ref()].into_iter().flatten() {
            // SAFETY: attached; both are live. It may be gone already.
            unsafe { ffi::PyDict_DelItem(dict.as_ptr(), name.as_ptr()) };
            exception::clear(at);
        }
    }

    /// Gives `linecache` all lines once more, beside an exception that is set.
    pub(super) fn show(&self, at: Attached<'_>) {
        exception::aside(at, || {
            if let Some(linecache) = linecache(at, true) {
                // SAFETY: attached; both are dictionaries.
                unsafe { ffi::PyDict_Update(linecache.as_ptr(), self.entries.as_ptr()) };
            }
        });
    }
}

/// What is shared with contexts that live on must not keep the lines of one that has ended.
impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: dropped attached, as every `Object` is.
        let at = unsafe { Attached::assume() };
        let unused = self.kept.iter().filter(|name| Self::give_up(at, name));
        let names = self.recent.iter().map(|(name, _)| name).chain(unused);
        names.for_each(|name| self.remove(at, name));
    }
}

/// CPython's number of the interpreter.
fn interpreter_number(_: Attached<'_>) -> i64 {
    // SAFETY: attached.
    unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) }
}

/// `linecache.cache`, a dictionary; imported if it is `wanted`. `None`: it isn't there, and no
/// exception is set.
fn linecache(at: Attached<'_>, wanted: bool) -> Option<Object> {
    // SAFETY: attached; the module's name ends in NUL.
    let module = unsafe {
        if wanted {
            Object::from_owned(at, ffi::PyImport_ImportModule(c"linecache".as_ptr()))
        } else {
            let modules = ffi::PyImport_GetModuleDict();
            let module = ffi::PyDict_GetItemString(modules, c"linecache".as_ptr());
            Object::from_borrowed(at, module)
        }
    };
    let cache = module
        .and_then(|module| module.getattr_c(at, c"cache"))
        // SAFETY: attached; a live object.
        .filter(|cache| unsafe { ffi::PyDict_Check(cache.as_ptr()) != 0 });
    if cache.is_none() {
        exception::clear(at);
    }
    cache
}

/// `(size, None, lines, name)`; without a time of change, it is never taken for stale. `None`:
/// exception set.
fn entry(at: Attached<'_>, name: &Object, size: usize, lines: &Object) -> Option<Object> {
    // SAFETY: attached; each call gets live objects, and a failure is a null that ends the chain.
    unsafe {
        let size = Object::from_owned(at, ffi::PyLong_FromSize_t(size))?;
        let none = ffi::Py_None();
        let entry = ffi::PyTuple_Pack(4, size.as_ptr(), none, lines.as_ptr(), name.as_ptr());
        Object::from_owned(at, entry)
    }
}

fn no_lines(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached.
    unsafe { Object::from_owned(at, ffi::PyList_New(0)) }
}

/// Puts the lines of a source into a list, the first of them as line `first`, from 1. Lines before
/// that are empty unless they are there. `None`: exception set.
fn put_lines(at: Attached<'_>, lines: &Object, first: usize, source: &[u8]) -> Option<()> {
    let empty = line_text(at, b"")?;
    let texts = source.split_inclusive(|byte| *byte == b'\n');
    for (place, line) in (first - 1..).zip(texts) {
        let line = line_text(at, line)?;
        let place = ffi::Py_ssize_t::try_from(place).ok()?;
        // SAFETY: attached; live objects, and what is no list is refused. Setting an item takes a
        // reference over.
        unsafe {
            while ffi::PyList_Size(lines.as_ptr()) <= place {
                (ffi::PyList_Append(lines.as_ptr(), empty.as_ptr()) == 0).then_some(())?;
            }
            let done = ffi::PyList_SetItem(lines.as_ptr(), place, line.into_ptr());
            (done == 0).then_some(())?;
        }
    }
    Some(())
}

/// With the line's end, as `linecache` has them.
fn line_text(at: Attached<'_>, line: &[u8]) -> Option<Object> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
    line.push(b'\n');
    let length = ffi::Py_ssize_t::try_from(line.len()).ok()?;
    // SAFETY: attached; pointer and length are those of one vector.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(line.as_ptr().cast(), length, c"replace".as_ptr());
        Object::from_owned(at, text)
    }
}
