//! Giving back the import locks that an interrupted job has kept.
//!
//! An interrupt may come between two bytecodes of Python's own `importlib`: after it has taken a lock
//! and before the block begins that would give it back. The lock would be this thread's for ever, and
//! whoever imports anything else (before 3.12 in any interpreter) would wait for ever. So after a job
//! that was interrupted, once none waits below it on the thread, this thread gives back what it has.

use crate::code;
use crate::exception::clear;
use crate::namespace::new_namespace;
use crate::object::Attached;

/// Of the locks of modules, only those that exist are looked at.
const GIVE_BACK: &[u8] = br#"
import _imp, _thread
from importlib import _bootstrap

try:
    while True:
        _imp.release_lock()
except RuntimeError:
    pass

for _reference in list(getattr(_bootstrap, "_module_locks", {}).values()):
    _lock = _reference()
    while getattr(_lock, "owner", None) == _thread.get_ident():
        _lock.release()
"#;

/// Gives back all import locks of this thread, which isn't importing anything.
pub(crate) fn give_back(at: Attached<'_>) {
    // What fails here has no caller to be told; the worst is that nothing is given back.
    if let Ok(namespace) = new_namespace(at) {
        let _ = code::exec(at, GIVE_BACK, "<import locks>", &namespace);
    }
    clear(at);
}
