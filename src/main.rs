//! The binary: reads the command line, runs one command, and says with its exit status how it went.

pub(crate) mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match arguments.run() {
        Ok(status) => status,
        Err(error) => {
            cli::complain(&error);
            cli::exit_code(&error)
        }
    }
}
