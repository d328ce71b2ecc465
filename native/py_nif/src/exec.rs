//! What a request does: call, eval, exec, and making a namespace.
//!
//! Runs on a context thread, attached. A failure is plain data when it leaves here; no exception
//! stays set.

mod asyncio;
mod code_cache;
mod event_loop;
pub(crate) mod running;
mod source_lines;
mod streams;

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use py_runtime::code::{self, Kind};
use py_runtime::exception::{self, Exception, TracebacksWanted};
use py_runtime::ffi;
use py_runtime::handle::Handle;
use py_runtime::job::Scope;
use py_runtime::namespace::new_namespace;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm};

use crate::call::Call;
use crate::convert::{ConvertError, Converter, Pairs, Remains, Types, Values, text};
use crate::directory::Context;
use crate::error::{Death, Error};
use crate::names::{Name, Names};
use crate::processes::Processes;
use crate::python_module;
use crate::request::{Flags, Namespace, Request, Results};
use crate::resources::{self, Found};
use crate::settings;
use crate::term::{atom, tuple};
use asyncio::{Asyncio, is_coroutine};
use code_cache::CodeCache;
pub(crate) use event_loop::LoopSlot;
pub(crate) use streams::Push;

/// How many arguments there is room for between two calls.
const MOST_ARGUMENTS: usize = 4096;

/// What the jobs of one context share on its thread. A job that calls Erlang has others run on top
/// of it, so whatever is borrowed while Python code may run need not be had.
pub(crate) struct Local {
    types: Types,
    names: RefCell<Names>,
    code: RefCell<CodeCache>,
    /// The event loop, once there was a coroutine.
    asyncio: OnceCell<Asyncio>,
    /// The namespaces of processes.
    pub(crate) processes: Processes,
    /// The event loop of code that runs in the context's own namespace.
    event_loop: LoopSlot,
    /// Scratch space for arguments, empty between calls. Taken while it is in use.
    arguments: Cell<Vec<Object>>,
}

impl Local {
    pub(crate) fn new(py: Attached<'_>) -> Result<Self, Exception> {
        python_module::install(py)?;
        Ok(Local {
            types: Types::load(py)?,
            names: RefCell::default(),
            code: RefCell::new(CodeCache::new(py)?),
            asyncio: OnceCell::new(),
            processes: Processes::default(),
            event_loop: LoopSlot::default(),
            arguments: Cell::default(),
        })
    }

    pub(crate) fn types(&self) -> &Types {
        &self.types
    }

    /// Runs what the context begins with.
    pub(crate) fn preload(
        &self,
        py: Attached<'_>,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        let code = self.code.borrow_mut().preload(py, source)?;
        let done = code::run(py, &code, namespace, namespace);
        done.map(drop).ok_or_else(|| Exception::take(py))
    }
}

/// One request on its way through.
struct Run<'a, 's> {
    py: Attached<'s>,
    context: &'s Arc<Context>,
    namespace: &'s Object,
    local: &'a Local,
    caller: ErlNifPid,
    /// How the caller wants terms.
    values: Values,
    /// Where the request's terms live.
    env: *mut ErlNifEnv,
    results: Results,
}

/// Does what the request says and makes the result term, `ok` or `{ok, Value}`, in `reply_env`.
/// `remains` is to be dropped when it has been sent.
pub(crate) fn run(
    call: &Call,
    scope: &Scope<'_, Call>,
    reply_env: *mut ErlNifEnv,
    remains: &mut Remains,
) -> Result<ErlNifTerm, Error> {
    let Scope { py, context, namespace, local, .. } = scope;
    // SAFETY: the request's terms are read-only.
    let flags = unsafe { Flags::of(call.env(), call.elements()) };
    let _tracebacks = TracebacksWanted::from_now(flags.tracebacks());
    let request = Request::decode(call.elements()).ok_or(Error::Panicked)?;
    let results = match request {
        Request::ToTerm { .. } => Results::Terms,
        _ => flags.results(),
    };
    let (caller, values, env) = (call.caller(), flags.values(), call.env());
    let mut run = Run { py: *py, context, namespace, local, caller, values, env, results };
    let value = match request {
        Request::Call { module, function, args, kwargs, env } => {
            Some(run.call(module, function, args, kwargs, env)?)
        }
        Request::Eval { source, locals, env } => Some(run.eval(source, locals, env)?),
        Request::Exec { source, env } => {
            run.exec(source, env)?;
            None
        }
        Request::CallMethod { object, method, args, kwargs } => {
            Some(run.call_method(object, method, args, kwargs)?)
        }
        Request::GetAttr { object, name } => Some(run.getattr(object, name)?),
        Request::ToTerm { object } => Some(run.object(object)?),
        Request::ToBuffer { object, share } => return run.buffer(reply_env, object, share),
        Request::StreamNext { stream, most } => return run.stream_next(reply_env, stream, most),
        Request::StreamPush(push) => return run.stream_push(reply_env, call, push),
        Request::StreamClose { stream } => {
            run.stream_close(stream)?;
            None
        }
        Request::Gather { parked, timeout } => return run.gather(reply_env, parked, timeout),
        Request::NewEnv => return run.new_env(reply_env),
    };
    let value = match value {
        Some(value) if flags.streams() => return run.stream(reply_env, value),
        Some(value) if is_coroutine(&value) => {
            if flags.parks() {
                return run.parked(reply_env, value);
            }
            Some(run.awaited(value)?)
        }
        value => value,
    };
    // SAFETY: the reply's environment is this thread's alone.
    unsafe {
        let ok = atom(reply_env, "ok");
        let term = match value {
            None => return Ok(ok),
            Some(value) if results == Results::Object => {
                run.converter().to_handle(reply_env, value)?
            }
            Some(value) => {
                let plainly = results == Results::Terms;
                run.converter().last_to_term(reply_env, value, plainly, remains)?
            }
        };
        Ok(tuple(reply_env, &[ok, term]))
    }
}

impl Run<'_, '_> {
    fn call(
        &mut self,
        module: ErlNifTerm,
        function: ErlNifTerm,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Object, Error> {
        #[cfg(feature = "faults")]
        self.hit_a_bug(module);
        #[cfg(feature = "fuzz")]
        if let Some(outcome) = self.fuzz(module, args) {
            return outcome;
        }
        let callable = self.find(module, function, env)?;
        self.apply(&callable, args, kwargs)
    }

    /// A panic in the middle of a job, with an exception set: what a bug of ours may leave behind.
    #[cfg(feature = "faults")]
    fn hit_a_bug(&mut self, module: ErlNifTerm) {
        // SAFETY: the request's terms are read-only.
        let source = unsafe { text::inspect(self.env, module) };
        if source == Some(b"_fault".as_slice()) {
            // SAFETY: attached; the exception is a live class.
            unsafe { ffi::PyErr_SetNone(ffi::PyExc_ValueError) };
            panic!("on purpose, by a test");
        }
    }

    #[cfg(feature = "fuzz")]
    fn fuzz(&mut self, module: ErlNifTerm, args: ErlNifTerm) -> Option<Result<Object, Error>> {
        // SAFETY: the request's terms are read-only.
        let module =
            unsafe { self.local.names.borrow_mut().get(self.py, self.env, module, "module") };
        let text = |text: &Object| py_runtime::exception::lossy_text(self.py, text);
        if text(&module.ok()?.whole)? != "_fuzz" {
            return None;
        }
        let mut arguments = Vec::new();
        // SAFETY: as above.
        unsafe { self.converter().to_arguments(self.env, args, &mut arguments) }.ok()?;
        let arguments: Vec<_> = arguments.iter().filter_map(text).collect();
        crate::fuzz::run(&self.converter(), &arguments);
        Some(Ok(Object::none(self.py)))
    }

    fn apply(
        &mut self,
        callable: &Object,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
    ) -> Result<Object, Error> {
        let mut arguments = self.local.arguments.take();
        let result = self.call_with(callable, &mut arguments, args, kwargs);
        if arguments.capacity() <= MOST_ARGUMENTS {
            arguments.clear();
            self.local.arguments.set(arguments);
        }
        result
    }

    fn call_with(
        &mut self,
        callable: &Object,
        arguments: &mut Vec<Object>,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
    ) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only.
        unsafe { self.converter().to_arguments(self.env, args, arguments) }?;
        let keywords = self.named_values(kwargs, "kwargs")?;
        let keywords = keywords.as_ref().map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: attached; `Object` is a transparent pointer, so a slice of them is an array of
        // `PyObject*`, and the objects live until after the call.
        let result = unsafe {
            let start = arguments.as_ptr().cast::<*mut ffi::PyObject>();
            let value =
                ffi::PyObject_VectorcallDict(callable.as_ptr(), start, arguments.len(), keywords);
            Object::from_owned(self.py, value)
        };
        self.or_raised(result)
    }

    /// The function, looked up afresh each time, so that redefinitions and reloads are seen.
    fn find(
        &mut self,
        module: ErlNifTerm,
        function: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only.
        let (module, function) = unsafe {
            let mut names = self.local.names.borrow_mut();
            (
                names.get(self.py, self.env, module, "module")?,
                names.get(self.py, self.env, function, "function")?,
            )
        };
        let mut parts = function.parts.iter();
        let mut found = if is_main(self.py, &module) {
            self.global(env, parts.next().expect("a name has a part"))?
        } else {
            if matches!(self.which(env), Namespace::Named) {
                // Of no use here, but it must be one of this context's.
                drop(self.namespace(env)?);
            }
            self.module(&module)?
        };
        for part in parts {
            let attribute = found.getattr(self.py, part);
            found = self.or_raised(attribute)?;
        }
        Ok(found)
    }

    /// A global of the namespace in use.
    fn global(&mut self, env: ErlNifTerm, name: &Object) -> Result<Object, Error> {
        let namespace = self.namespace(env)?;
        self.item(&namespace, name)?.ok_or_else(|| {
            let name = py_runtime::exception::lossy_text(self.py, name).unwrap_or_default();
            let message = format!("name '{name}' is not defined");
            Error::Python(Exception::new("NameError", message))
        })
    }

    /// What a dictionary has under a name.
    fn item(&self, dict: &Object, name: &Object) -> Result<Option<Object>, Error> {
        let mut value = std::ptr::null_mut();
        // SAFETY: attached; a dictionary and a `str`. Gives a reference, because without a GIL
        // another thread may replace the value at any time.
        unsafe {
            if ffi::compat::PyDict_GetItemRef(dict.as_ptr(), name.as_ptr(), &raw mut value) < 0 {
                return Err(Exception::take(self.py).into());
            }
            Ok(Object::from_owned(self.py, value))
        }
    }

    /// The module, from `sys.modules` or by importing it. A module that another thread is just
    /// importing is waited for, as `import` does.
    fn module(&mut self, name: &Name) -> Result<Object, Error> {
        // SAFETY: attached; the name is a `str`.
        let module = unsafe {
            let known = Object::from_owned(self.py, ffi::PyImport_GetModule(name.whole.as_ptr()));
            match known {
                Some(known) if !is_initializing(self.py, &known) => Some(known),
                _ => {
                    ffi::PyErr_Clear();
                    Object::from_owned(self.py, ffi::PyImport_Import(name.whole.as_ptr()))
                }
            }
        };
        self.or_raised(module)
    }

    fn eval(
        &mut self,
        source: ErlNifTerm,
        locals: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Object, Error> {
        let code = self.compiled(source, Kind::Expression)?;
        let globals = self.namespace(env)?;
        let globals = match self.named_values(locals, "locals")? {
            None => globals,
            Some(locals) => self.overlaid(&globals, &locals)?,
        };
        self.or_raised(code::run(self.py, &code, &globals, &globals))
    }

    fn exec(&mut self, source: ErlNifTerm, env: ErlNifTerm) -> Result<(), Error> {
        let code = self.compiled(source, Kind::Statements)?;
        let globals = self.namespace(env)?;
        let done = self.or_raised(code::run(self.py, &code, &globals, &globals)).map(drop);
        if matches!(self.which(env), Namespace::Own) {
            self.local.processes.refresh(self.py);
        }
        done
    }

    /// The object behind a handle.
    fn object(&self, term: ErlNifTerm) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only; attached to the context's interpreter.
        match unsafe { resources::handle_object(self.py, Some(self.context), self.env, term) } {
            Found::Object(object) => Ok(object),
            Found::NoHandle => Err(Error::Convert(ConvertError::Unconvertible {
                path: "object".into(),
                what: "not a handle on a Python object".into(),
            })),
            Found::Elsewhere => Err(ConvertError::WrongContext.into()),
            Found::Gone => Err(Error::ContextDied(Death::NoProc)),
        }
    }

    /// An attribute, or with a dotted name an attribute's attribute.
    fn getattr(&mut self, object: ErlNifTerm, name: ErlNifTerm) -> Result<Object, Error> {
        let mut found = self.object(object)?;
        // SAFETY: the request's terms are read-only.
        let name = unsafe { self.local.names.borrow_mut().get(self.py, self.env, name, "name") }?;
        for part in &name.parts {
            let attribute = found.getattr(self.py, part);
            found = self.or_raised(attribute)?;
        }
        Ok(found)
    }

    fn call_method(
        &mut self,
        object: ErlNifTerm,
        method: ErlNifTerm,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
    ) -> Result<Object, Error> {
        let method = self.getattr(object, method)?;
        self.apply(&method, args, kwargs)
    }

    fn buffer(
        &mut self,
        reply_env: *mut ErlNifEnv,
        object: ErlNifTerm,
        share: ErlNifTerm,
    ) -> Result<ErlNifTerm, Error> {
        let object = self.object(object)?;
        // SAFETY: the reply's environment is this thread's alone; whoever asks for a share vouches
        // for it.
        unsafe {
            let share = share == atom(self.env, "true");
            let buffer = self.converter().to_buffer(reply_env, &object, share)?;
            Ok(tuple(reply_env, &[atom(reply_env, "ok"), buffer]))
        }
    }

    fn new_env(&mut self, reply_env: *mut ErlNifEnv) -> Result<ErlNifTerm, Error> {
        let held = Handle::new(self.context, new_namespace(self.py)?);
        let reference =
            resources::new_env(reply_env, held.ok_or(Error::ContextDied(Death::ThreadEnded))?);
        // SAFETY: the reply's environment is this thread's alone.
        Ok(unsafe { tuple(reply_env, &[atom(reply_env, "ok"), reference]) })
    }

    fn which(&self, env: ErlNifTerm) -> Namespace {
        // SAFETY: the request's terms are read-only.
        unsafe { Namespace::decode(self.env, env) }
    }

    /// The namespace in use: the context's own, the calling process's, or the one that the request
    /// names.
    fn namespace(&mut self, env: ErlNifTerm) -> Result<Object, Error> {
        match self.which(env) {
            Namespace::Own => Ok(self.namespace.clone_ref(self.py)),
            Namespace::Process(pid) => {
                let processes = &self.local.processes;
                let pid = pid.unwrap_or(self.caller);
                Ok(processes.namespace(self.py, self.context, self.namespace, pid)?)
            }
            Namespace::Named => resources::env_namespace(self.py, self.env, env, self.context),
        }
    }

    /// A copy of `globals` with `locals` over it. Real locals would not do: the body of a lambda
    /// or comprehension inside the expression doesn't see those.
    fn overlaid(&mut self, globals: &Object, locals: &Object) -> Result<Object, Error> {
        // SAFETY: attached; both are dictionaries.
        let copy = unsafe {
            let copy = Object::from_owned(self.py, ffi::PyDict_Copy(globals.as_ptr()));
            copy.filter(|copy| ffi::PyDict_Update(copy.as_ptr(), locals.as_ptr()) == 0)
        };
        self.or_raised(copy)
    }

    fn compiled(&mut self, source: ErlNifTerm, kind: Kind) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only, and live as long as the request.
        let source = unsafe { text::inspect(self.env, source) }.ok_or_else(|| {
            Error::Convert(ConvertError::Unconvertible {
                path: "code".into(),
                what: "not a binary".into(),
            })
        })?;
        // Compiling can warn, and a warning runs Python code, which can have others run on top.
        Ok(match self.local.code.try_borrow_mut() {
            Ok(mut cache) => cache.get(self.py, source, kind)?,
            Err(_) => code_cache::compile(self.py, source, "<erlang>", kind)?,
        })
    }

    /// A dictionary from a map whose keys are names: keyword arguments or variables. `None` for an
    /// empty map. Keys are names whatever they would convert to as values: `none` is "none" here.
    fn named_values(&mut self, map: ErlNifTerm, root: &str) -> Result<Option<Object>, Error> {
        let mut dict = None;
        // SAFETY: the request's terms are read-only.
        let pairs = unsafe { Pairs::new(self.env, map) }.ok_or_else(|| {
            let (path, what) = (root.into(), "not a map".into());
            Error::Convert(ConvertError::Unconvertible { path, what })
        })?;
        for (key, value) in pairs {
            let dict = match &mut dict {
                Some(dict) => dict,
                // SAFETY: attached.
                none => none.insert(
                    self.or_raised(unsafe { Object::from_owned(self.py, ffi::PyDict_New()) })?,
                ),
            };
            self.set_named(dict, key, value, root)?;
        }
        Ok(dict)
    }

    fn set_named(
        &mut self,
        dict: &Object,
        key: ErlNifTerm,
        value: ErlNifTerm,
        root: &str,
    ) -> Result<(), Error> {
        // SAFETY: the request's terms are read-only.
        let name = unsafe { self.local.names.borrow_mut().get(self.py, self.env, key, root) }?;
        let path = || {
            let name = py_runtime::exception::lossy_text(self.py, &name.whole).unwrap_or_default();
            format!("{root}.{name}")
        };
        // SAFETY: as above.
        let value = match unsafe { self.converter().to_python(self.env, value, "") } {
            Err(ConvertError::Unconvertible { path: rest, what }) => {
                return Err(Error::Convert(ConvertError::Unconvertible {
                    path: path() + &rest,
                    what,
                }));
            }
            other => other?,
        };
        // SAFETY: attached; a dictionary, a `str`, a live object.
        unsafe {
            if ffi::PyDict_Contains(dict.as_ptr(), name.whole.as_ptr()) == 1 {
                let what = "the same name twice".into();
                return Err(Error::Convert(ConvertError::Unconvertible { path: path(), what }));
            }
            let done = ffi::PyDict_SetItem(dict.as_ptr(), name.whole.as_ptr(), value.as_ptr());
            self.or_raised((done == 0).then_some(()))
        }
    }

    /// The term for a result, as the caller wants it.
    ///
    /// # Safety
    /// `reply_env` is a process-independent environment that nobody else uses meanwhile.
    unsafe fn result(
        &self,
        reply_env: *mut ErlNifEnv,
        value: &Object,
    ) -> Result<ErlNifTerm, Error> {
        if self.results == Results::Object {
            let value = value.clone_ref(self.py);
            // SAFETY: passed on to the caller.
            return Ok(unsafe { self.converter().to_handle(reply_env, value) }?);
        }
        let plainly = self.results == Results::Terms;
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.converter().to_term(reply_env, value, plainly) }?)
    }

    /// A handle on an object, as a reference, in `reply_env`, which is this thread's alone.
    fn handle(&self, reply_env: *mut ErlNifEnv, object: Object) -> Result<ErlNifTerm, Error> {
        // SAFETY: the environment is this thread's alone; attached to the context's interpreter.
        let handle = unsafe { resources::new_handle(reply_env, self.context, object) };
        handle.ok_or(Error::ContextDied(Death::ThreadEnded))
    }

    fn converter(&self) -> Converter<'_> {
        Converter {
            py: self.py,
            types: &self.local.types,
            context: Some(self.context),
            values: self.values,
            max_depth: settings::max_depth(),
        }
    }

    fn or_raised<T>(&mut self, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| {
            if TracebacksWanted::now() {
                // A traceback that is made while this is done goes without.
                if let Ok(cache) = self.local.code.try_borrow() {
                    cache.show_lines(self.py);
                }
            }
            Exception::take(self.py).into()
        })
    }
}

fn is_main(py: Attached<'_>, module: &Name) -> bool {
    let _ = py;
    // SAFETY: attached; the name is a `str`, the text ends in NUL.
    unsafe {
        ffi::PyUnicode_CompareWithASCIIString(module.whole.as_ptr(), c"__main__".as_ptr()) == 0
    }
}

/// Whether a module found in `sys.modules` is still being imported (by another thread).
///
/// # Safety
/// Attached.
unsafe fn is_initializing(py: Attached<'_>, module: &Object) -> bool {
    let flag =
        module.getattr_c(py, c"__spec__").and_then(|spec| spec.getattr_c(py, c"_initializing"));
    // SAFETY: attached; the flag is a live object.
    let is_set = flag.map_or(-1, |flag| unsafe { ffi::PyObject_IsTrue(flag.as_ptr()) });
    if is_set < 0 {
        // A module without a flag that says so (put there by hand) has nothing to wait for.
        exception::clear(py);
    }
    is_set == 1
}
