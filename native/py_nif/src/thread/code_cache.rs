//! Compiled code by source text.
//!
//! Each source is a file of its own to Python, `<erlang-1>`, `<preload-5f3a91c2>` …, so that its
//! lines can be found for tracebacks and by `inspect`, see [`super::source_lines`];
//! or it is part of a file, see [`source_places`].

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use py_runtime::code::{self, Kind};
use py_runtime::exception::Exception;
use py_runtime::object::{Attached, Object};

use super::source_lines::Lines;
use super::source_places;

/// How many compiled sources a context keeps, how long each may be, and how many bytes in all.
const MAX_SOURCES: usize = 512;
const MAX_SOURCE: usize = 64 << 10;
const MAX_BYTES: usize = 2 << 20;

/// The code of one context.
pub(crate) struct CodeCache {
    expressions: Sources,
    statements: Sources,
    lines: Lines,
}

#[derive(Default)]
struct Sources {
    code: HashMap<Vec<u8>, Object>,
    bytes: usize,
}

impl CodeCache {
    /// `entries` is where the interpreter keeps the lines of sources.
    pub(crate) fn new(entries: Object) -> Self {
        let (expressions, statements) = (Sources::default(), Sources::default());
        CodeCache { expressions, statements, lines: Lines::new(entries) }
    }

    /// The code of a source, compiled at need.
    pub(crate) fn get(
        &mut self,
        py: Attached<'_>,
        source: &[u8],
        kind: Kind,
    ) -> Result<Object, Exception> {
        let sources = match kind {
            Kind::Expression => &mut self.expressions,
            Kind::Statements => &mut self.statements,
        };
        if let Some(code) = sources.code.get(source) {
            return Ok(code.clone_ref(py));
        }
        let code = match source_places::find(source) {
            Some(place) => {
                let code = compile(py, &moved_down(source, kind, place.line), &place.file, kind)?;
                self.lines.place(py, &place.file, place.line, source);
                code
            }
            None => {
                let name = new_name();
                let code = compile(py, source, &name, kind)?;
                self.lines.add(py, name, source);
                code
            }
        };
        if source.len() <= MAX_SOURCE {
            sources.insert(source, code.clone_ref(py));
        }
        Ok(code)
    }

    /// Compiles a context's preload code. Its lines are kept as long as the context.
    pub(crate) fn preload(&mut self, py: Attached<'_>, source: &[u8]) -> Result<Object, Exception> {
        let name = preload_name(source);
        let code = code::compile(py, source, &name, Kind::Statements)?;
        self.lines.keep(py, name, source);
        Ok(code)
    }

    /// Gives `linecache` the lines again, should they not be there any more. Called with an
    /// exception set, which it leaves in its place.
    pub(crate) fn show_lines(&self, py: Attached<'_>) {
        self.lines.show(py);
    }
}

impl Sources {
    /// Sources that are generated per call would fill it. To start over is cheaper than to count
    /// uses.
    fn insert(&mut self, source: &[u8], code: Object) {
        if self.code.len() >= MAX_SOURCES || self.bytes + source.len() > MAX_BYTES {
            self.code.clear();
            self.bytes = 0;
        }
        self.bytes += source.len();
        self.code.insert(source.to_vec(), code);
    }
}

/// Blanks and tabs may come before an expression.
fn without_indent(source: &[u8], kind: Kind) -> &[u8] {
    let is_blank = |byte: &&u8| kind == Kind::Expression && matches!(byte, b' ' | b'\t');
    &source[source.iter().take_while(is_blank).count()..]
}

/// A source that begins on a line, with empty lines before it.
fn moved_down(source: &[u8], kind: Kind, line: u32) -> Vec<u8> {
    let mut moved = vec![b'\n'; usize::try_from(line - 1).unwrap_or(0)];
    moved.extend_from_slice(without_indent(source, kind));
    moved
}

/// Compiles; an expression as Python's `eval` takes it. The error tells where statements were given
/// for an expression.
pub(crate) fn compile(
    py: Attached<'_>,
    source: &[u8],
    name: &str,
    kind: Kind,
) -> Result<Object, Exception> {
    let source = without_indent(source, kind);
    code::compile(py, source, name, kind).map_err(|error| {
        let is_syntax = kind == Kind::Expression && error.class == "SyntaxError";
        if is_syntax
            && !is_empty(source)
            && code::compile(py, source, name, Kind::Statements).is_ok()
        {
            let message = error.message + STATEMENTS_HINT;
            return Exception { message, ..error };
        }
        error
    })
}

/// Nothing but blanks and comments, which are no statements either.
fn is_empty(source: &[u8]) -> bool {
    source
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .all(|line| line.is_empty() || line.starts_with(b"#"))
}

const STATEMENTS_HINT: &str = ": eval takes an expression, and these are statements: use exec";

/// A name that no other source has: workers share one interpreter.
fn new_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("<erlang-{}>", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A name by the text's hash: the contexts of a pool have the same preload code, and report the
/// same error for it.
fn preload_name(source: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(source);
    // Half of it is short and will do.
    format!("<preload-{:08x}>", hasher.finish() as u32)
}
