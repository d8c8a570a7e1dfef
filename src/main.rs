//! The `dogsled` command. All of it lives in the library; see [`dogsled::cli`].

fn main() -> std::process::ExitCode {
    dogsled::cli::main()
}
