//! The quarantine of each pool: how many of its threads are stuck, and how many may be.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use py_runtime::quarantine::Quarantine;
use rustler::{Atom, Encoder, Env};

use crate::settings;
use crate::term::to_bits;

/// The quarantine of each pool that has contexts or stuck threads, by the word of the pool's name.
/// A pool that is stopped and started again finds its stuck threads counted.
static QUARANTINES: LazyLock<Mutex<HashMap<usize, Weak<Quarantine>>>> =
    LazyLock::new(Mutex::default);

/// The quarantine of a pool (an atom; `undefined` for contexts that are in none).
pub(crate) fn of_pool(pool: Atom, env: Env) -> Arc<Quarantine> {
    let mut quarantines = QUARANTINES.lock();
    let pool = to_bits(pool.encode(env).as_c_arg());
    if let Some(quarantine) = quarantines.get(&pool).and_then(Weak::upgrade) {
        return quarantine;
    }
    quarantines.retain(|_, quarantine| quarantine.strong_count() > 0);
    let quarantine = Arc::new(Quarantine::new(settings::quarantine_limit()));
    quarantines.insert(pool, Arc::downgrade(&quarantine));
    quarantine
}
