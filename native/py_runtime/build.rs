//! Python's version cfgs for this crate, the run path of libpython for its tests, and the
//! identity of the Python that is being linked.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    pyo3_build_config::add_libpython_rpath_link_args();
    let python = pyo3_build_config::get().executable().unwrap_or_default();
    println!("cargo:rustc-env=PY_RUNTIME_EXECUTABLE={python}");
}
