//! Compiles the C++ in `src/torch/`, lets the program, the tests and the benches find libtorch
//! without `LD_LIBRARY_PATH`, and embeds the revision that a release was built from.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=MASKMAKER_REVISION={}", revision());
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo:warning=torch-sys names no libtorch; run `make libtorch`, build again");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // In container images the program lies in bin/ beside lib/.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    compile(Path::new(&lib));
}

/// Compiles the C++ by the same headers and flags as torch-sys.
fn compile(lib: &Path) {
    let sources = [
        "convolution",
        "foreach",
        "gpu_math",
        "module",
        "operator_counts",
        "parallel",
        "process_group",
        "script",
        "sync_batch_norm",
        "upload",
    ]
    .map(|name| format!("src/torch/{name}.cpp"));
    println!("cargo:rerun-if-changed=src/torch/ffi.h");
    println!("cargo:rerun-if-changed=src/torch/process_group.h");
    println!("cargo:rerun-if-changed=src/torch/gloo_names");
    for source in &sources {
        println!("cargo:rerun-if-changed={source}");
    }
    for name in ["LIBTORCH_INCLUDE", "LIBTORCH_CXX11_ABI"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let root = std::env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    let root = root.as_deref().or(lib.parent()).unwrap_or(lib);
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // The time of these functions is spent in libtorch, so optimizing them would only lengthen
        // the build.
        .opt_level(0)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .define("USE_C10D_GLOO", None)
        // libtorch is built with it, and without it some of its classes have more members.
        .define("NDEBUG", None)
        .include("src/torch/gloo_names")
        .flag("-isystem")
        .flag(root.join("include"))
        .flag("-isystem")
        .flag(root.join("include/torch/csrc/api/include"))
        .files(sources)
        .compile("maskmaker_torch");
}

/// Returns the revision to embed: the variable `REVISION` if it is set (images have no git), else
/// git's description in release builds. Test builds have none, so that a commit does not compile
/// everything again.
fn revision() -> String {
    println!("cargo:rerun-if-env-changed=REVISION");
    if let Ok(given) = std::env::var("REVISION")
        && !given.is_empty()
    {
        return given;
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return "development build".into();
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Any change of the sources must ask git again whether the tree is dirty.
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.lock");
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file])
            && std::path::Path::new(&path).exists()
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .unwrap_or_else(|| "unknown revision".into())
}
