//! Every NIF of `py_nif.erl`, and nothing else.
//!
//! They run on schedulers and may use everything below. None of them waits, and none touches
//! Python. Those on the hot path are written against the raw interface; the rest leaves decoding
//! and encoding to Rustler.

mod backpressure;
mod callbacks;
mod contexts;
mod copying;
mod direct;
mod hidden;
mod pools;
mod python;
mod requests;
mod services;
