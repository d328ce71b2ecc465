//! Compiled code by source text, and its source lines for tracebacks.
//!
//! Each source is a file of its own to Python, `<erlang-1>`, `<erlang-2>` …, so that a traceback can
//! show its lines: Python's `linecache` is given them when the first traceback is wanted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use py_runtime::code::{self, Kind};
use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

/// Compiled sources to keep per context, the longest one worth keeping, and how much in all.
const MOST: usize = 512;
const LONGEST: usize = 64 << 10;
const MOST_BYTES: usize = 2 << 20;

/// The code of one context.
#[derive(Default)]
pub(super) struct CodeCache {
    expressions: Sources,
    statements: Sources,
}

#[derive(Default)]
struct Sources {
    code: HashMap<Vec<u8>, Compiled>,
    bytes: usize,
}

struct Compiled {
    code: Object,
    /// Of its file name.
    number: u64,
    /// Whether `linecache` has its lines.
    is_shown: bool,
}

impl CodeCache {
    /// The code of a source, compiled at need.
    pub(super) fn get(
        &mut self,
        at: Attached<'_>,
        source: &[u8],
        kind: Kind,
    ) -> Result<Object, Exception> {
        let sources = match kind {
            Kind::Expression => &mut self.expressions,
            Kind::Statements => &mut self.statements,
        };
        if let Some(compiled) = sources.code.get(source) {
            return Ok(compiled.code.clone_ref(at));
        }
        let number = next_number();
        let code = code::compile(at, source, &file_name(number), kind)?;
        if source.len() <= LONGEST {
            sources.make_room(at, source.len());
            let compiled = Compiled { code: code.clone_ref(at), number, is_shown: false };
            sources.code.insert(source.to_vec(), compiled);
        }
        Ok(code)
    }

    /// Gives `linecache` the lines that it hasn't got yet. For the sake of a traceback only, so that
    /// failing at it is no failure; called with the exception set, which it leaves in its place.
    pub(super) fn show_lines(&mut self, at: Attached<'_>) {
        exception::aside(at, || {
            self.expressions.show_lines(at);
            self.statements.show_lines(at);
        });
    }
}

/// Workers' lines would stay in the `linecache` that they share with those that live on.
impl Drop for CodeCache {
    fn drop(&mut self) {
        // SAFETY: a `CodeCache` is dropped attached, as every `Object` is.
        let at = unsafe { Attached::assume() };
        self.expressions.clear(at);
        self.statements.clear(at);
    }
}

impl Sources {
    /// Sources made up per call would fill it; starting over is cheaper than keeping score.
    fn make_room(&mut self, at: Attached<'_>, bytes: usize) {
        if self.code.len() >= MOST || self.bytes + bytes > MOST_BYTES {
            self.clear(at);
        }
        self.bytes += bytes;
    }

    /// Forgets all, and takes from `linecache` what it was given.
    fn clear(&mut self, at: Attached<'_>) {
        let is_shown = self.code.values().any(|compiled| compiled.is_shown);
        let cache = if is_shown { linecache(at) } else { None };
        for compiled in self.code.drain().map(|(_, compiled)| compiled) {
            if let (true, Some(cache)) = (compiled.is_shown, &cache) {
                hide(at, cache, compiled.number);
            }
        }
        self.bytes = 0;
    }

    fn show_lines(&mut self, at: Attached<'_>) {
        let Some(cache) = linecache(at) else { return };
        for (source, compiled) in &mut self.code {
            if !compiled.is_shown {
                compiled.is_shown = show(at, &cache, compiled.number, source).is_some();
            }
        }
    }
}

/// Unique among all contexts: workers share their `linecache`.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn file_name(number: u64) -> String {
    format!("<erlang-{number}>")
}

/// `linecache.cache`, a dictionary. `None`: it isn't there, and no exception is set.
fn linecache(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; the module's name ends in NUL.
    let cache = unsafe {
        Object::from_owned(at, ffi::PyImport_ImportModule(c"linecache".as_ptr()))
            .and_then(|module| module.getattr_c(at, c"cache"))
            .filter(|cache| ffi::PyDict_Check(cache.as_ptr()) != 0)
    };
    exception::clear(at);
    cache
}

/// `cache[name] = (len(source), None, source.splitlines(True), name)`; without a time of change, the
/// entry is never taken for stale.
fn show(at: Attached<'_>, cache: &Object, number: u64, source: &[u8]) -> Option<()> {
    let name = Object::text(at, &file_name(number))?;
    // SAFETY: attached; each call gets live objects, and a failure is a null that ends the chain.
    unsafe {
        let length = source.len() as ffi::Py_ssize_t;
        let decoded =
            ffi::PyUnicode_DecodeUTF8(source.as_ptr().cast(), length, c"replace".as_ptr());
        let text = Object::from_owned(at, decoded)?;
        let lines = Object::from_owned(at, ffi::PyUnicode_Splitlines(text.as_ptr(), 1))?;
        let size = Object::from_owned(at, ffi::PyLong_FromSsize_t(length))?;
        let entry = Object::from_owned(at, ffi::PyTuple_New(4))?;
        for (place, part) in
            [size, Object::none(at), lines, name.clone_ref(at)].into_iter().enumerate()
        {
            ffi::PyTuple_SET_ITEM(entry.as_ptr(), place as ffi::Py_ssize_t, part.into_ptr());
        }
        (ffi::PyDict_SetItem(cache.as_ptr(), name.as_ptr(), entry.as_ptr()) == 0).then_some(())
    }
}

fn hide(at: Attached<'_>, cache: &Object, number: u64) {
    if let Some(name) = Object::text(at, &file_name(number)) {
        // SAFETY: attached; both are live. It may be gone already.
        unsafe { ffi::PyDict_DelItem(cache.as_ptr(), name.as_ptr()) };
    }
    exception::clear(at);
}
