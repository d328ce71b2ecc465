//! Calls and attributes.

use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::ErlNifTerm;

use super::executor::Executor;
use crate::request::decode::Namespace;
use crate::request::error::{ConvertError, Error};
use crate::term::Pairs;
use crate::thread::host::Unfit;
use crate::thread::name_cache::Name;

/// A longer buffer of arguments is freed between two calls.
const MAX_ARGUMENTS: usize = 4096;

impl Executor<'_> {
    pub(super) fn call(
        &mut self,
        module: ErlNifTerm,
        function: ErlNifTerm,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Object, Error> {
        #[cfg(feature = "faults")]
        crate::testing::faults::hit_a_bug(self.env, module);
        #[cfg(feature = "fuzz")]
        if let Some(outcome) = self.fuzz(module, args) {
            return outcome;
        }
        let callable = self.find(module, function, env)?;
        self.apply(&callable, args, kwargs)
    }

    #[cfg(feature = "fuzz")]
    fn fuzz(&mut self, module: ErlNifTerm, args: ErlNifTerm) -> Option<Result<Object, Error>> {
        // SAFETY: the request's terms are read-only.
        let module = unsafe { self.local.names.get(self.py, self.env, module, "module") };
        let text = |text: &Object| py_runtime::exception::lossy_text(self.py, text);
        if text(&module.ok()?.whole)? != "_fuzz" {
            return None;
        }
        let mut arguments = Vec::new();
        // SAFETY: as above.
        unsafe { self.converter().to_arguments(self.env, args, &mut arguments) }.ok()?;
        let arguments: Vec<_> = arguments.iter().filter_map(text).collect();
        crate::testing::fuzz::run(&self.converter(), &arguments);
        Some(Ok(Object::none(self.py)))
    }

    fn apply(
        &mut self,
        callable: &Object,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
    ) -> Result<Object, Error> {
        self.with_arguments(|run, arguments| run.call_with(callable, arguments, args, kwargs))
    }

    /// Gives `work` scratch space for arguments.
    pub(super) fn with_arguments<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Vec<Object>) -> T,
    ) -> T {
        let mut arguments = self.local.arguments.take();
        let result = work(self, &mut arguments);
        if arguments.capacity() <= MAX_ARGUMENTS {
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
        self.invoke(callable, arguments, keywords.as_ref())
    }

    pub(super) fn invoke(
        &mut self,
        callable: &Object,
        arguments: &[Object],
        keywords: Option<&Object>,
    ) -> Result<Object, Error> {
        let keywords = keywords.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: attached; `Object` is a transparent pointer, so a slice of them is an array of
        // `PyObject*`, and the objects live until after the call.
        let result = unsafe {
            let start = arguments.as_ptr().cast::<*mut ffi::PyObject>();
            let value =
                ffi::PyObject_VectorcallDict(callable.as_ptr(), start, arguments.len(), keywords);
            Object::from_owned(self.py, value)
        };
        self.or_exception(result)
    }

    /// The function, looked up afresh each time, so that redefinitions and reloads are seen.
    pub(super) fn find(
        &mut self,
        module: ErlNifTerm,
        function: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only.
        let (module, function) = unsafe {
            let names = &self.local.names;
            (
                names.get(self.py, self.env, module, "module")?,
                names.get(self.py, self.env, function, "function")?,
            )
        };
        let (first, others) = function.parts.split_first().expect("a name has a part");
        let mut found = if module.is_main {
            self.global(env, first)?
        } else {
            if matches!(self.which(env), Namespace::Named) {
                // It isn't used, but it must be one of this context's.
                drop(self.namespace(env)?);
            }
            let module = self.module(&module)?;
            self.attribute(&module, first, function.is_special)?
        };
        for part in others {
            let attribute = found.getattr(self.py, part);
            found = self.or_exception(attribute)?;
        }
        Ok(found)
    }

    /// An attribute of a module. That of an ordinary module is found in its dictionary, unless the
    /// class of all modules may have one of this name.
    fn attribute(
        &mut self,
        module: &Object,
        name: &Object,
        is_special: bool,
    ) -> Result<Object, Error> {
        if !is_special && let Some(found) = self.item_of_module(module, name)? {
            return Ok(found);
        }
        let attribute = module.getattr(self.py, name);
        self.or_exception(attribute)
    }

    fn item_of_module(&mut self, module: &Object, name: &Object) -> Result<Option<Object>, Error> {
        // SAFETY: attached; the object is live, and asked for its dictionary if it is a module. The
        // dictionary is borrowed from the module, which keeps it.
        let dict = unsafe {
            if ffi::PyModule_CheckExact(module.as_ptr()) == 0 {
                return Ok(None);
            }
            Object::from_borrowed(self.py, ffi::PyModule_GetDict(module.as_ptr()))
        };
        dict.map_or(Ok(None), |dict| self.item(&dict, name))
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

    /// The value of a name in a dictionary.
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

    /// The module that is listed, for a job that can't wait for an import.
    #[cold]
    fn complete(&mut self, name: &Name, listed: Option<Object>) -> Result<Object, Error> {
        match listed.filter(|known| !known.is_none()) {
            Some(known) if !is_initializing(self.py, &known) => {
                name.module.set(Some(known.clone_ref(self.py)));
                Ok(known)
            }
            _ => {
                exception::clear(self.py);
                self.job.control.note_unfit(Unfit::NotImported);
                Err(Error::Interrupted)
            }
        }
    }

    /// The module, from `sys.modules` or by importing it. A module that another thread is just
    /// importing is waited for, as `import` does.
    ///
    /// One that was found complete is so from then on, and need not be asked for its `__spec__`
    /// each time.
    fn module(&mut self, name: &Name) -> Result<Object, Error> {
        let listed = self.listed(name)?;
        if let Some(complete) = name.module.take()
            && listed.as_ref().map(Object::as_ptr) == Some(complete.as_ptr())
        {
            let module = complete.clone_ref(self.py);
            name.module.set(Some(complete));
            return Ok(module);
        }
        if !self.job.control.may_wait() {
            return self.complete(name, listed);
        }
        // This waits for another thread's import.
        match Object::imported_as(self.py, &name.whole) {
            Some(known) if !known.is_none() => {
                if !is_initializing(self.py, &known) {
                    name.module.set(Some(known.clone_ref(self.py)));
                }
                Ok(known)
            }
            _ => {
                exception::clear(self.py);
                // SAFETY: attached; the name is a `str`.
                let module = unsafe {
                    Object::from_owned(self.py, ffi::PyImport_Import(name.whole.as_ptr()))
                };
                self.or_exception(module)
            }
        }
    }

    /// What `sys.modules` has under a name.
    fn listed(&mut self, name: &Name) -> Result<Option<Object>, Error> {
        // SAFETY: attached; the interpreter keeps the dictionary, which is borrowed.
        let modules = unsafe { Object::from_borrowed(self.py, ffi::PyImport_GetModuleDict()) };
        modules.map_or(Ok(None), |modules| self.item(&modules, &name.whole))
    }

    /// An attribute, or with a dotted name an attribute's attribute.
    pub(super) fn getattr(
        &mut self,
        object: ErlNifTerm,
        name: ErlNifTerm,
    ) -> Result<Object, Error> {
        let mut found = self.object(object)?;
        // SAFETY: the request's terms are read-only.
        let name = unsafe { self.local.names.get(self.py, self.env, name, "name") }?;
        for part in &name.parts {
            let attribute = found.getattr(self.py, part);
            found = self.or_exception(attribute)?;
        }
        Ok(found)
    }

    pub(super) fn call_method(
        &mut self,
        object: ErlNifTerm,
        method: ErlNifTerm,
        args: ErlNifTerm,
        kwargs: ErlNifTerm,
    ) -> Result<Object, Error> {
        let method = self.getattr(object, method)?;
        self.apply(&method, args, kwargs)
    }

    /// A dictionary from a map whose keys are names: keyword arguments or variables. `None` for an
    /// empty map. Keys are names whatever they would convert to as values: `none` is "none" here.
    pub(super) fn named_values(
        &mut self,
        map: ErlNifTerm,
        root: &str,
    ) -> Result<Option<Object>, Error> {
        let mut dict = None;
        // SAFETY: the request's terms are read-only.
        let pairs = unsafe { Pairs::new(self.env, map) }.ok_or_else(|| {
            let (path, what) = (root.into(), "not a map".into());
            Error::Convert(ConvertError::Unconvertible { path, what })
        })?;
        for (key, value) in pairs {
            let dict = match &mut dict {
                Some(dict) => dict,
                none => none.insert(self.or_exception(Object::dict(self.py))?),
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
        let name = unsafe { self.local.names.get(self.py, self.env, key, root) }?;
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
        // SAFETY: attached; a dictionary and a `str`.
        let is_known = unsafe { ffi::PyDict_Contains(dict.as_ptr(), name.whole.as_ptr()) } == 1;
        if is_known {
            let what = "the same name twice".into();
            return Err(Error::Convert(ConvertError::Unconvertible { path: path(), what }));
        }
        self.or_exception(dict.set(self.py, &name.whole, &value))
    }
}

/// Whether a module found in `sys.modules` is still being imported (by another thread).
fn is_initializing(py: Attached<'_>, module: &Object) -> bool {
    let flag =
        module.getattr_c(py, c"__spec__").and_then(|spec| spec.getattr_c(py, c"_initializing"));
    let is_set = flag.and_then(|flag| flag.is_true(py));
    if is_set.is_none() {
        // A module without the flag was put there by hand, and is complete.
        exception::clear(py);
    }
    is_set == Some(true)
}
