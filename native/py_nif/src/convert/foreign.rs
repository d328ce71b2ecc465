//! References of other nodes that stand for something there: handles on Python objects,
//! environments, tables. Here they are names and no more, and keep nothing alive.
//!
//! The VM marks the numbers of such a reference ("magic"), so that it is known again when it comes
//! back; no NIF function tells. Whether the mark is where it has been since OTP 20 is checked once.

use std::ffi::c_char;
use std::sync::LazyLock;

use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_make_ref, enif_snprintf};
use rustler::{Encoder, Env, Resource, ResourceArc};

use crate::term::TermEnv;

/// In the second of a reference's numbers.
const MARK: u64 = 1 << 17;

/// A resource whose reference has the mark.
struct Probe;

#[rustler::resource_impl]
impl Resource for Probe {}

static MARK_IS_KNOWN: LazyLock<bool> = LazyLock::new(|| {
    let env = TermEnv::new();
    // SAFETY: the environment is ours, and both references are of it.
    unsafe {
        let plain = enif_make_ref(env.as_ptr());
        let probe = ResourceArc::new(Probe).encode(Env::new(&env, env.as_ptr()));
        let resource = probe.as_c_arg();
        let is_marked = |term| RefNumbers::of(env.as_ptr(), term).is_some_and(|n| n.is_marked);
        is_marked(resource) && !is_marked(plain)
    }
});

/// Whether a reference is of another node, and stands for something there.
///
/// # Safety
/// `reference` is a reference of `env`.
pub(super) unsafe fn is_foreign_handle(env: *mut ErlNifEnv, reference: ErlNifTerm) -> bool {
    // SAFETY: the caller vouches for the term.
    let numbers = unsafe { RefNumbers::of(env, reference) };
    numbers.is_some_and(|n| n.is_foreign && n.is_marked) && *MARK_IS_KNOWN
}

struct RefNumbers {
    is_foreign: bool,
    is_marked: bool,
}

impl RefNumbers {
    /// Of a reference as the VM prints it: `#Ref<Node.….Second.First>`, with 0 for this node.
    ///
    /// # Safety
    /// `reference` is a term of `env`.
    unsafe fn of(_: *mut ErlNifEnv, reference: ErlNifTerm) -> Option<Self> {
        let mut text = [0_u8; 128];
        // SAFETY: no more than the buffer's length is written.
        let written = unsafe {
            enif_snprintf!(
                text.as_mut_ptr().cast::<c_char>(),
                text.len(),
                c"%T".as_ptr(),
                reference
            )
        };
        let text = text.get(..usize::try_from(written).ok()?)?;
        let text = std::str::from_utf8(text).ok()?.strip_prefix("#Ref<")?.strip_suffix('>')?;
        let numbers = text.split('.').map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let [node, .., second, _first] = numbers.as_slice() else { return None };
        Some(RefNumbers { is_foreign: *node != 0, is_marked: second & MARK != 0 })
    }
}
