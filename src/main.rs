//! The `maskmaker` program; everything lives in the library.

fn main() {
    maskmaker::cli::main()
}
