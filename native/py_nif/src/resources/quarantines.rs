//! The quarantine of each pool: how many of its threads are stuck, and how many may be.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use py_runtime::ward::Ward;
use rustler::{Atom, Encoder, Env};

use crate::settings;
use crate::term::word;

/// The ward of each pool that has contexts or stuck threads, by the word of the pool's name. A pool
/// that is stopped and started again finds the threads of its former life.
static WARDS: LazyLock<Mutex<HashMap<usize, Weak<Ward>>>> = LazyLock::new(Mutex::default);

/// The ward of a pool (an atom; `undefined` for contexts that are in none).
pub(crate) fn ward(pool: Atom, env: Env) -> Arc<Ward> {
    let mut wards = WARDS.lock();
    let pool = word(pool.encode(env).as_c_arg());
    if let Some(ward) = wards.get(&pool).and_then(Weak::upgrade) {
        return ward;
    }
    wards.retain(|_, ward| ward.strong_count() > 0);
    let ward = Arc::new(Ward::new(settings::quarantine_limit()));
    wards.insert(pool, Arc::downgrade(&ward));
    ward
}
