//! Lets the program, the tests and the benches find libtorch without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo:warning=torch-sys names no libtorch; run `make libtorch`, build again");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // In images the program lies in bin/ beside lib/.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
}
