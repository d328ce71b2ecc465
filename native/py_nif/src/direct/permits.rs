//! The functions whose calls may run on their callers' schedulers, and how each has done so far.
//!
//! A permit begins on probation: calls run in the queue and are measured. If nearly all of the
//! first ones are short and need nothing but Python, calls run directly. One that takes longer than
//! its context's limit then puts the function under suspicion: the next calls are measured, too. A
//! function whose permit is revoked is on probation again after a pause, which doubles each time.
//!
//! What is measured is CPU time and how often the thread has slept, see
//! [`probation`](super::probation): a thread that is scheduled out is late for nothing. On a busy
//! machine these are too much for a good function now and then, so a few calls may be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustler::sys::ErlNifTerm;

use crate::term::{BuildWordHasher, to_bits};
use crate::thread::host::Unfit;

/// How many calls are measured on probation, and how many of them may be slow or wait.
const PROBATION_CALLS: u32 = 32;
const MAX_UNFIT_ON_PROBATION: u32 = 8;
/// How many calls are measured after one that took too long, and how many of them may be slow or
/// wait.
const SUSPECT_CALLS: u32 = 16;
const MAX_UNFIT_UNDER_SUSPICION: u32 = 8;
/// How long a permit is revoked for the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// How many functions may be permitted, by registration or by call options: bounds what a program
/// leaves behind that makes names up.
const MAX_PERMITS: usize = 4096;

/// How a call of a permitted function is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the scheduler.
    Direct,
    /// On the scheduler, measured.
    DirectMeasured,
    /// In the queue, measured.
    Probation,
    /// In the queue.
    Queue,
}

const PROBATION: u8 = 0;
const DIRECT: u8 = 1;
const SUSPECT: u8 = 2;
const REVOKED: u8 = 3;

/// What `list_direct` shows of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Probation,
    Direct,
    Revoked(Unfit),
}

/// One function's permit.
#[derive(Debug)]
pub(crate) struct Permit {
    /// Registered, and not only named by a call's option.
    is_registered: AtomicBool,
    /// The phase, readable without the lock.
    phase: AtomicU8,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    /// Calls that were measured in this phase, and how many were slow or waited.
    calls: u32,
    unfit: u32,
    /// Why it was last revoked, and until when.
    revoked: Option<(Unfit, Instant)>,
    pause: Duration,
}

impl Permit {
    fn new() -> Self {
        let record = Record { calls: 0, unfit: 0, revoked: None, pause: FIRST_PAUSE };
        Permit {
            is_registered: AtomicBool::new(false),
            phase: AtomicU8::new(PROBATION),
            record: Mutex::new(record),
        }
    }

    /// How a call is to run now.
    #[inline]
    pub(crate) fn way(&self) -> Way {
        match self.phase.load(Ordering::Relaxed) {
            DIRECT => Way::Direct,
            SUSPECT => Way::DirectMeasured,
            PROBATION => Way::Probation,
            _ => self.way_when_revoked(),
        }
    }

    #[cold]
    fn way_when_revoked(&self) -> Way {
        let mut record = self.record.lock();
        let is_over = record.revoked.is_none_or(|(_, until)| until <= Instant::now());
        if !is_over {
            return Way::Queue;
        }
        self.enter(&mut record, PROBATION);
        Way::Probation
    }

    /// A call that was measured has ended.
    #[cold]
    pub(crate) fn measured(&self, unfit: Option<Unfit>) {
        let mut record = self.record.lock();
        let (calls, most) = match self.phase.load(Ordering::Relaxed) {
            PROBATION => (PROBATION_CALLS, MAX_UNFIT_ON_PROBATION),
            SUSPECT => (SUSPECT_CALLS, MAX_UNFIT_UNDER_SUSPICION),
            _ => return,
        };
        record.calls += 1;
        match unfit {
            Some(why @ (Unfit::Slow | Unfit::Waits)) => {
                record.unfit += 1;
                if record.unfit > most {
                    return self.revoke(&mut record, why);
                }
            }
            Some(why) => return self.revoke(&mut record, why),
            None => (),
        }
        if record.calls >= calls {
            self.enter(&mut record, DIRECT);
        }
    }

    /// A direct call has taken longer than the limit.
    #[cold]
    pub(crate) fn overran(&self) {
        let mut record = self.record.lock();
        if self.phase.load(Ordering::Relaxed) == DIRECT {
            self.enter(&mut record, SUSPECT);
        }
    }

    fn enter(&self, record: &mut Record, phase: u8) {
        (record.calls, record.unfit) = (0, 0);
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// A direct call has done what it may not do on a scheduler.
    #[cold]
    pub(crate) fn misbehaved(&self, why: Unfit) {
        self.revoke(&mut self.record.lock(), why);
    }

    fn revoke(&self, record: &mut Record, why: Unfit) {
        record.revoked = Some((why, Instant::now() + record.pause));
        record.pause = (record.pause * 2).min(MAX_PAUSE);
        self.enter(record, REVOKED);
    }

    fn shown(&self) -> Shown {
        let record = self.record.lock();
        match (self.phase.load(Ordering::Relaxed), record.revoked) {
            (DIRECT | SUSPECT, _) => Shown::Direct,
            (REVOKED, Some((why, _))) => Shown::Revoked(why),
            _ => Shown::Probation,
        }
    }
}

/// The words of two atoms, of a module and a function.
type Key = (usize, usize);

type Permits = HashMap<Key, Arc<Permit>, BuildWordHasher>;

static PERMITS: LazyLock<ArcSwap<Permits>> = LazyLock::new(ArcSwap::default);

/// Whether any function is permitted, or ever was.
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether any function is permitted. Until then a call costs nothing more.
#[inline(always)]
pub(crate) fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

fn key(module: ErlNifTerm, function: ErlNifTerm) -> Key {
    (to_bits(module), to_bits(function))
}

/// Gives `work` the permit of a function, named by two atoms.
#[inline]
pub(crate) fn with<T>(
    module: ErlNifTerm,
    function: ErlNifTerm,
    work: impl FnOnce(&Permit) -> T,
) -> Option<T> {
    PERMITS.load().get(&key(module, function)).map(|permit| work(permit))
}

/// The permit of a function that is registered.
#[inline]
pub(crate) fn with_registered<T>(
    module: ErlNifTerm,
    function: ErlNifTerm,
    work: impl FnOnce(&Permit) -> Option<T>,
) -> Option<T> {
    let registered =
        |permit: &Permit| permit.is_registered.load(Ordering::Relaxed).then(|| work(permit));
    with(module, function, registered).flatten().flatten()
}

/// Permits calls of a function whose option asks for it. `false`: too many are permitted.
#[cold]
pub(crate) fn permit(module: ErlNifTerm, function: ErlNifTerm) -> bool {
    add(key(module, function)).is_some()
}

/// Permits all calls of a function, which begins on probation again if it was revoked. `false`: too
/// many are permitted.
pub(crate) fn register(module: ErlNifTerm, function: ErlNifTerm) -> bool {
    let key = key(module, function);
    let Some(permit) = add(key) else { return false };
    permit.is_registered.store(true, Ordering::Relaxed);
    let mut record = permit.record.lock();
    if permit.phase.load(Ordering::Relaxed) == REVOKED {
        (record.pause, record.revoked) = (FIRST_PAUSE, None);
        permit.enter(&mut record, PROBATION);
    }
    true
}

fn add(key: Key) -> Option<Arc<Permit>> {
    py_runtime::direct::enable();
    ANY.store(true, Ordering::Relaxed);
    PERMITS.rcu(|permits| {
        if permits.contains_key(&key) || permits.len() >= MAX_PERMITS {
            return Arc::clone(permits);
        }
        let mut permits = HashMap::clone(permits);
        permits.insert(key, Arc::new(Permit::new()));
        Arc::new(permits)
    });
    PERMITS.load().get(&key).cloned()
}

/// Forgets a function.
pub(crate) fn unregister(module: ErlNifTerm, function: ErlNifTerm) {
    let key = key(module, function);
    PERMITS.rcu(|permits| {
        let mut permits = HashMap::clone(permits);
        permits.remove(&key);
        permits
    });
}

/// The functions that are registered.
pub(crate) fn list() -> Vec<(Key, Shown)> {
    let permits = PERMITS.load();
    let registered =
        permits.iter().filter(|(_, permit)| permit.is_registered.load(Ordering::Relaxed));
    registered.map(|(key, permit)| (*key, permit.shown())).collect()
}
