//! Lets the program, the tests and the benches find libtorch without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").unwrap_or_else(|_| {
        panic!("torch-sys did not say where libtorch is; run `make libtorch` and build again")
    });
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // In images the program lies in bin/ beside lib/.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
}
