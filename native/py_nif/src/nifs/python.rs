//! The NIFs about Python as a whole: starting it, its version, the modes that it supports, and
//! where sources stand.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use py_runtime::boot::{self, BootError};
use py_runtime::os_thread;
use rustler::{Atom, Binary, Encoder, Env, NifResult, OwnedEnv, Term};

use super::contexts::decode_mode;
use crate::erlang_module;
use crate::outbound::output;
use crate::settings::Settings;
use crate::thread::source_places;

mod atoms {
    rustler::atoms! {
        ok, error, undefined, py_boot, py_atexit, boot_failed, running_as, system_limit,
        unsupported_mode,
    }
}

/// `boot(Executable :: binary() | undefined, Settings) -> ok`, then `{py_boot, Outcome}`:
/// `ok | {error, {boot_failed, Why} | {running_as, Executable}}`.
#[rustler::nif]
fn boot(env: Env, executable: Term, settings: Settings) -> NifResult<Atom> {
    let executable = match executable.decode::<Binary>() {
        Ok(path) if path.contains(&0) => return Err(rustler::Error::BadArg),
        Ok(path) => Some(PathBuf::from(OsStr::from_bytes(path.as_slice()))),
        Err(_) if executable.decode::<Atom>()? == atoms::undefined() => None,
        Err(_) => return Err(rustler::Error::BadArg),
    };
    settings.apply();
    let caller = env.pid();
    let variables = settings.variables();
    let boot = move || {
        let outcome = boot::boot(&boot::Options {
            executable,
            variables,
            modules: &[(erlang_module::NAME, erlang_module::init)],
        });
        // The caller may be gone.
        let _ = OwnedEnv::new().send_and_clear(&caller, |env| {
            (
                atoms::py_boot(),
                outcome.map_err(|error| boot_error(env, error)).map_or_else(
                    |error| (atoms::error(), error).encode(env),
                    |()| atoms::ok().encode(env),
                ),
            )
        });
    };
    os_thread::spawn("py_boot", boot)
        .map_err(|_| rustler::Error::Term(Box::new(atoms::system_limit())))?;
    Ok(atoms::ok())
}

fn boot_error(env: Env, error: BootError) -> Term {
    match error {
        BootError::Failed(why) => (atoms::boot_failed(), why).encode(env),
        BootError::RunningAs(path) => {
            let path = path.map(|path| path.to_string_lossy().into_owned());
            (atoms::running_as(), path).encode(env)
        }
    }
}

/// `run_atexit() -> ok`, then `py_atexit` is sent to the caller.
#[rustler::nif]
fn run_atexit(env: Env) -> NifResult<Atom> {
    let caller = env.pid();
    let run = move || {
        py_runtime::interpreter::run_atexit();
        output::flush_thread_output();
        // The caller may have stopped waiting.
        let _ = OwnedEnv::new().send_and_clear(&caller, |env| atoms::py_atexit().encode(env));
    };
    os_thread::spawn_python("py_atexit", run)
        .map_err(|_| rustler::Error::Term(Box::new(atoms::system_limit())))?;
    Ok(atoms::ok())
}

/// `version() -> binary()`: of the linked Python.
#[rustler::nif]
fn version() -> &'static str {
    py_runtime::version::version()
}

/// `build_executable() -> binary() | undefined`: of the Python that the library was built with.
#[rustler::nif]
fn build_executable(env: Env) -> Term {
    match py_runtime::version::build_executable() {
        Some(path) => path.to_string_lossy().encode(env),
        None => atoms::undefined().encode(env),
    }
}

/// `check_mode(Mode) -> ok | {error, {unsupported_mode, Mode, Why}}`
#[rustler::nif]
fn check_mode(env: Env, mode: Atom) -> NifResult<Term> {
    Ok(match decode_mode(mode)?.check() {
        Ok(()) => atoms::ok().encode(env),
        Err(why) => (atoms::error(), (atoms::unsupported_mode(), mode, why)).encode(env),
    })
}

/// `locate(Source, File, Line) -> ok`: the source stands there in a file.
#[rustler::nif]
fn locate(source: Binary, file: &str, line: u32) -> Atom {
    source_places::note(&source, file, line);
    atoms::ok()
}
