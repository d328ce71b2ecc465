//! Starting CPython, once per OS process, on a thread that lives as long as it does.
//!
//! Holds what is settled once: the configuration, the environment, the audit hook, the allocators,
//! the main interpreter's `threading`. Uses `gil`, `cpython`, `sync` and `alloc`. Never makes an
//! interpreter.
//!
//! That thread is Python's "main thread"; afterwards it only waits. The interpreter is never
//! finalized: doing so under running threads aborts the VM, and `halt` is clean without it.

pub(crate) mod audit_hook;
pub mod environment;
pub(crate) mod python_threads;

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, mpsc};

use pyo3_ffi as ffi;

use crate::cpython::async_exc;
use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};
use crate::cpython::trace_functions;
use crate::cpython::version;
use crate::gil::switch_interval;
use crate::sync::os_thread;

/// A built-in module: its name and its init function.
pub type BuiltinModule = (&'static CStr, extern "C" fn() -> *mut ffi::PyObject);

/// What the first boot decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The python executable to act as; it decides `sys.prefix`, site-packages and
    /// `sys.executable`. A virtual environment's python brings its packages.
    pub executable: Option<PathBuf>,
    /// The environment variables to start with, by name, in place of those of the OS process.
    pub variables: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Modules to build in, before anything is imported.
    pub modules: &'static [BuiltinModule],
}

/// Why Python isn't running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// CPython refused to start, with its own message.
    Failed(String),
    /// It runs already, as another executable than the one asked for now.
    RunningAs(Option<PathBuf>),
}

static BOOTED: OnceLock<()> = OnceLock::new();
/// The outcome of the first boot. Locked during the boot, so that it happens once.
static OUTCOME: Mutex<Option<Result<Option<PathBuf>, BootError>>> = Mutex::new(None);

/// Starts Python. Blocks for some ten milliseconds the first time; later calls find it running.
pub fn boot(options: &Options) -> Result<(), BootError> {
    let mut outcome = OUTCOME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match &*outcome {
        Some(Ok(running)) if options.executable.is_none() || running == &options.executable => {
            Ok(())
        }
        Some(Ok(running)) => Err(BootError::RunningAs(running.clone())),
        Some(Err(error)) => Err(error.clone()),
        None => {
            let result = boot_thread(options.clone());
            *outcome = Some(result.clone().map(|()| options.executable.clone()));
            result
        }
    }
}

/// Whether Python runs.
pub fn is_booted() -> bool {
    BOOTED.get().is_some()
}

fn boot_thread(options: Options) -> Result<(), BootError> {
    let (done, outcome) = mpsc::channel();
    let main = move || match initialise(&options) {
        Ok(()) => {
            let _ = BOOTED.set(());
            let _ = done.send(Ok(()));
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            let _ = done.send(Err(error));
        }
    };
    os_thread::spawn_python("py_main", main)
        .map_err(|error| BootError::Failed(format!("no thread for Python: {error}")))?;
    outcome
        .recv()
        .unwrap_or_else(|_| Err(BootError::Failed("Python's main thread panicked".into())))
}

fn initialise(options: &Options) -> Result<(), BootError> {
    make_symbols_global()?;
    crate::alloc::arenas::install();
    crate::alloc::large_blocks::install();
    crate::boot::audit_hook::install();
    for (name, init) in options.modules {
        // SAFETY: before initialisation, as required; name and function are static.
        if unsafe { ffi::PyImport_AppendInittab(name.as_ptr(), Some(*init)) } != 0 {
            return Err(BootError::Failed("no memory for the built-in modules".into()));
        }
    }
    if let Some(variables) = &options.variables {
        environment::replace(variables);
    }
    initialise_from_config(options.executable.as_deref())?;
    // SAFETY: a successful initialisation leaves this thread attached to the main interpreter.
    let py = unsafe { Attached::assume() };
    let prepared = prepare_main(py);
    // SAFETY: attached; the state stays with this thread.
    unsafe { ffi::PyEval_SaveThread() };
    prepared.map_err(|e| BootError::Failed(format!("{}: {}", e.class, e.message)))
}

/// Makes libpython's symbols visible to extension modules, and keeps this library mapped.
///
/// The VM loads a NIF library with `RTLD_LOCAL`, and libpython comes with it; without this every
/// C extension fails with `undefined symbol: Py…`. Unloading code under live threads crashes, so
/// the library that holds this function is pinned.
fn make_symbols_global() -> Result<(), BootError> {
    let python = library_of(ffi::Py_IsInitialized as *const c_void)
        .ok_or_else(|| BootError::Failed("libpython is not a loaded library".into()))?;
    // SAFETY: the path comes from the loader; NOLOAD only changes flags of what is loaded.
    let handle = unsafe {
        libc::dlopen(python.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_GLOBAL)
    };
    if handle.is_null() {
        return Err(BootError::Failed(format!(
            "cannot make the symbols of {} global: a shared libpython is needed",
            python.to_string_lossy()
        )));
    }
    if let Some(own) = library_of(make_symbols_global as *const c_void) {
        // SAFETY: as above. In a test program this is the executable and the call a no-op.
        unsafe {
            libc::dlopen(own.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE)
        };
    }
    Ok(())
}

fn library_of(symbol: *const c_void) -> Option<CString> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` fills `info` when it returns non-zero; the name is a static string of the
    // loader, copied here.
    unsafe {
        if libc::dladdr(symbol, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())
    }
}

fn initialise_from_config(executable: Option<&Path>) -> Result<(), BootError> {
    let mut config = std::mem::MaybeUninit::<ffi::PyConfig>::uninit();
    // SAFETY: `InitPythonConfig` fills the whole structure; each later call gets the same one,
    // and `PyConfig_Clear` ends it on every path.
    unsafe {
        ffi::PyConfig_InitPythonConfig(config.as_mut_ptr());
        let config = config.assume_init_mut();
        // Signals belong to the VM.
        config.install_signal_handlers = 0;
        // The VM's command line is not Python's.
        config.parse_argv = 0;
        let status = set_executable(config, executable)
            .unwrap_or_else(|| ffi::Py_InitializeFromConfig(config));
        ffi::PyConfig_Clear(config);
        check(status)
    }
}

/// Sets the executable. `Some`: that failed, with this status.
///
/// # Safety
/// `config` is an initialised configuration.
unsafe fn set_executable(
    config: &mut ffi::PyConfig,
    executable: Option<&Path>,
) -> Option<ffi::PyStatus> {
    let path = executable.or(version::build_executable())?;
    let path = CString::new(OsStr::as_bytes(path.as_os_str())).ok()?;
    let config: *mut ffi::PyConfig = config;
    // SAFETY: the field belongs to the configuration, the text ends in NUL.
    let status = unsafe {
        ffi::PyConfig_SetBytesString(config, &raw mut (*config).executable, path.as_ptr())
    };
    // SAFETY: reads the status by value.
    (unsafe { ffi::PyStatus_Exception(status) } != 0).then_some(status)
}

fn check(status: ffi::PyStatus) -> Result<(), BootError> {
    // SAFETY: reads the status by value.
    if unsafe { ffi::PyStatus_Exception(status) } == 0 {
        return Ok(());
    }
    Err(BootError::Failed(status_text(&status)))
}

/// CPython's own message about a failed status.
pub(crate) fn status_text(status: &ffi::PyStatus) -> String {
    let message: *const c_char = status.err_msg;
    if message.is_null() {
        let code: c_int = status.exitcode;
        return format!("Python asked to exit with code {code}");
    }
    // SAFETY: CPython gives a static string.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// The few things the main interpreter needs before the first context.
fn prepare_main(py: Attached<'_>) -> Result<(), Exception> {
    // `threading` takes the thread that first imports it for the main one (up to 3.12).
    Object::import(py, c"threading").ok_or_else(|| Exception::take(py))?;
    async_exc::find_offset(py);
    trace_functions::find_offsets(py);
    // SAFETY: no precondition.
    async_exc::clear(py, unsafe { libc::pthread_self() } as u64);
    python_threads::install(py)?;
    switch_interval::bound(py)?;
    switch_interval::set(py)
}
