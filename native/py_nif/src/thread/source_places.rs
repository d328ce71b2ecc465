//! Where sources stand that are part of a program: the file and line of a sigil `~PY`.
//!
//! A request brings the bare text. Whoever compiles it, which happens once per context, looks here
//! whether the text has a place, so that tracebacks name that.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::RwLock;

/// How many sources have a place, how long each may be in bytes, and how far down its file. There
/// are as many as a program has sigils; more come from programs that write programs, and go
/// without.
const MOST: usize = 4096;
const LONGEST: usize = 64 << 10;
const LAST_LINE: u32 = 1_000_000;

/// A file's name, and the line there on which the source begins, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
}

static PLACES: LazyLock<RwLock<HashMap<Vec<u8>, Place>>> = LazyLock::new(RwLock::default);

/// Notes the place of a source. Of one that stands in many places the first counts.
pub(crate) fn note(source: &[u8], file: &str, line: u32) {
    if source.len() > LONGEST || line == 0 || line > LAST_LINE {
        return;
    }
    if PLACES.read().contains_key(source) {
        return;
    }
    let mut places = PLACES.write();
    if places.len() < MOST {
        let place = Place { file: file.to_owned(), line };
        places.entry(source.to_vec()).or_insert(place);
    }
}

/// The place of a source, if it has one.
pub(crate) fn find(source: &[u8]) -> Option<Place> {
    PLACES.read().get(source).cloned()
}
