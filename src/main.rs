//! The `maskmaker` program; everything lives in the library.

fn main() -> std::process::ExitCode {
    maskmaker::cli::main()
}
