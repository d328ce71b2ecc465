//! Where sources stand that are part of a program: the file and line of a sigil `~PY`.
//!
//! A request brings the bare text. When the text is compiled, once per context, its place is looked
//! up here, so that tracebacks name it.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::RwLock;

/// How many sources have a place, how long each may be in bytes, and how far down its file. A
/// program has as many as it has sigils. More come from programs that generate sigils; those
/// sources have no place.
const MAX_SOURCES: usize = 4096;
const MAX_SOURCE: usize = 64 << 10;
const MAX_LINE: u32 = 1_000_000;

/// A file's name, and the line there on which the source begins, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourcePlace {
    pub(crate) file: String,
    pub(crate) line: u32,
}

static PLACES: LazyLock<RwLock<HashMap<Vec<u8>, SourcePlace>>> = LazyLock::new(RwLock::default);

/// Notes the place of a source. If a source stands in many places, the first counts.
pub(crate) fn note(source: &[u8], file: &str, line: u32) {
    if source.len() > MAX_SOURCE || line == 0 || line > MAX_LINE {
        return;
    }
    if PLACES.read().contains_key(source) {
        return;
    }
    let mut places = PLACES.write();
    if places.len() < MAX_SOURCES {
        let place = SourcePlace { file: file.to_owned(), line };
        places.entry(source.to_vec()).or_insert(place);
    }
}

/// The place of a source, if it has one.
pub(crate) fn find(source: &[u8]) -> Option<SourcePlace> {
    PLACES.read().get(source).cloned()
}
