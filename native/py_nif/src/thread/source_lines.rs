//! The lines of sources, for tracebacks, `logging.exception` and `inspect`.
//!
//! All of these ask Python's `linecache`. Until some code imports that, the interpreter's lines are
//! kept in `sources`, a dictionary of the module `erlang`'s own Python code, which puts them into
//! `linecache` when it is imported.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use parking_lot::Mutex;

use py_runtime::exception;
use py_runtime::ffi;
use py_runtime::namespace::modules;
use py_runtime::object::{Attached, Object};

/// How many sources of a context have their lines kept, and how many bytes they take in all. The
/// oldest go first.
const MAX_SOURCES: usize = 2048;
const MAX_BYTES: usize = 4 << 20;
/// What Python takes for a line beside its text.
const LINE_BYTES: usize = 64;

/// How many contexts of an interpreter keep the lines of a name.
static KEPT: LazyLock<Mutex<HashMap<(i64, String), usize>>> = LazyLock::new(Mutex::default);

/// The lines of one context's sources. A failure here fails nothing else: no exception is left set.
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

    /// Adds a source. The oldest are dropped if there are too many.
    pub(super) fn add(&mut self, py: Attached<'_>, name: String, source: &[u8]) {
        let ends = source.iter().filter(|byte| **byte == b'\n').count();
        let bytes = source.len() + LINE_BYTES * (ends + 1);
        if bytes > MAX_BYTES {
            return;
        }
        self.put(py, &name, source);
        self.bytes += bytes;
        self.recent.push_back((name, bytes));
        while self.recent.len() > MAX_SOURCES || self.bytes > MAX_BYTES {
            let Some((oldest, bytes)) = self.recent.pop_front() else { return };
            self.bytes -= bytes;
            self.remove(py, &oldest);
        }
    }

    /// Adds a source that stays, which other contexts may have by the same name.
    pub(super) fn keep(&mut self, py: Attached<'_>, name: String, source: &[u8]) {
        self.put(py, &name, source);
        *KEPT.lock().entry((py.interpreter_number(), name.clone())).or_default() += 1;
        self.kept.push(name);
    }

    /// No longer keeps a source. `true`: no context of the interpreter does.
    fn release(py: Attached<'_>, name: &str) -> bool {
        let key = (py.interpreter_number(), name.to_owned());
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
    pub(super) fn place(&self, py: Attached<'_>, file: &str, line: u32, source: &[u8]) {
        let placed = Object::text(py, file).and_then(|name| {
            // SAFETY: attached; a dictionary, whose values are live.
            let known = unsafe {
                let known = ffi::PyDict_GetItemWithError(self.entries.as_ptr(), name.as_ptr());
                Object::from_borrowed(py, known)
            };
            let lines = match &known {
                // If it isn't a tuple with a list in it, what follows fails.
                Some(entry) => entry.tuple_item(py, 2)?,
                None => Object::list(py)?,
            };
            put_lines(py, &lines, usize::try_from(line).ok()?, source)?;
            self.publish(py, &name, &entry(py, &name, 0, &lines)?)
        });
        if placed.is_none() {
            exception::clear(py);
        }
    }

    fn put(&self, py: Attached<'_>, name: &str, source: &[u8]) {
        let done = Object::text(py, name).and_then(|name| {
            let lines = Object::list(py)?;
            put_lines(py, &lines, 1, source)?;
            self.publish(py, &name, &entry(py, &name, source.len(), &lines)?)
        });
        if done.is_none() {
            exception::clear(py);
        }
    }

    /// `None`: exception set.
    fn publish(&self, py: Attached<'_>, name: &Object, entry: &Object) -> Option<()> {
        let linecache = linecache(py, false);
        [Some(&self.entries), linecache.as_ref()]
            .into_iter()
            .flatten()
            .all(|dict| dict.set(py, name, entry).is_some())
            .then_some(())
    }

    fn remove(&self, py: Attached<'_>, name: &str) {
        let Some(name) = Object::text(py, name) else { return exception::clear(py) };
        for dict in [Some(&self.entries), linecache(py, false).as_ref()].into_iter().flatten() {
            // It may be gone already.
            let _ = dict.remove(py, &name);
            exception::clear(py);
        }
    }

    /// Gives `linecache` all lines once more, beside an exception that is set.
    pub(super) fn show(&self, py: Attached<'_>) {
        exception::preserving_exception(py, || {
            if let Some(linecache) = linecache(py, true) {
                let _ = linecache.update(py, &self.entries);
            }
        });
    }
}

/// The dictionary is shared with contexts that live on, which need not keep the lines of this one.
impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: dropped attached, as every `Object` is.
        let py = unsafe { Attached::assume() };
        let unused = self.kept.iter().filter(|name| Self::release(py, name));
        let names = self.recent.iter().map(|(name, _)| name).chain(unused);
        names.for_each(|name| self.remove(py, name));
    }
}

/// `linecache.cache`, a dictionary; imported if it is `wanted`. `None`: it isn't there, and no
/// exception is set.
fn linecache(py: Attached<'_>, wanted: bool) -> Option<Object> {
    let module = if wanted {
        Object::import(py, c"linecache")
    } else {
        // Not `PyImport_GetModule`, which waits for a thread that is just importing it.
        modules(py).and_then(|modules| modules.get_item(py, c"linecache"))
    };
    let cache = module
        .and_then(|module| module.getattr_c(py, c"cache"))
        // SAFETY: attached; a live object.
        .filter(|cache| unsafe { ffi::PyDict_Check(cache.as_ptr()) != 0 });
    if cache.is_none() {
        exception::clear(py);
    }
    cache
}

/// `(size, None, lines, name)`; without a time of change, it is never taken for stale. `None`:
/// exception set.
fn entry(py: Attached<'_>, name: &Object, size: usize, lines: &Object) -> Option<Object> {
    let size = Object::int(py, i64::try_from(size).ok()?)?;
    Object::tuple(py, [&size, &Object::none(py), lines, name])
}

/// Puts the lines of a source into a list, the first of them as line `first`, from 1. Lines before
/// that are empty unless they are there. `None`: exception set.
fn put_lines(py: Attached<'_>, lines: &Object, first: usize, source: &[u8]) -> Option<()> {
    let empty = line_text(py, b"")?;
    let texts = source.split_inclusive(|byte| *byte == b'\n');
    for (place, line) in (first - 1..).zip(texts) {
        let line = line_text(py, line)?;
        let place = ffi::Py_ssize_t::try_from(place).ok()?;
        while lines.list_size(py) <= place {
            lines.append(py, &empty)?;
        }
        // SAFETY: attached; live objects, and what is no list is refused. Setting an item takes a
        // reference over.
        let done = unsafe { ffi::PyList_SetItem(lines.as_ptr(), place, line.into_ptr()) };
        (done == 0).then_some(())?;
    }
    Some(())
}

/// With the line's end, as `linecache` has them.
fn line_text(py: Attached<'_>, line: &[u8]) -> Option<Object> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
    line.push(b'\n');
    let length = ffi::Py_ssize_t::try_from(line.len()).ok()?;
    // SAFETY: attached; pointer and length are those of one vector.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(line.as_ptr().cast(), length, c"replace".as_ptr());
        Object::from_owned(py, text)
    }
}
