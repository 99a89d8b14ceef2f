//! What do the manual and the shells know of the command line?
//!
//! `manual DIRECTORY` writes, for the packages, `man/farol.1` with a page for each command, `man/farol.toml.5`, and
//! `completions/` for bash, fish and zsh. All of it comes from the declaration of the command line and from the
//! documented configuration, so that it cannot say something else than they do; and since it is a program of its
//! own, the daemon carries nothing of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

// A program has no library that another could use, so its source is taken in whole.
#[path = "../src/main.rs"]
#[expect(dead_code, reason = "the declaration is wanted, not what the commands do")]
mod program;

/// As readers of the manual find it: what each page belongs to.
const BOOK: &str = "farol";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CONFIGURATION: &str = include_str!("../config/farol.toml");

const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Done."),
    ("1", "It could not be done; the text says why and what to do."),
    ("2", "The command line is wrong."),
    ("78", "The configuration is wrong or lacks something: a restart would not help."),
];
const ENVIRONMENT: [(&str, &str); 1] = [("FAROL_LOG", "What is logged, where --log does not say.")];
const FILES: [(&str, &str); 3] = [
    ("/etc/farol/farol.toml", "The configuration, see farol.toml(5)."),
    ("/var/lib/farol", "The device's id and the viewers' keys."),
    ("/usr/share/doc/farol", "Documentation, and examples of drop-ins for farol.service."),
];

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("manual: say into which directory the manual pages and completions are to be written");
        return ExitCode::from(2);
    };
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("manual: cannot write into {}: {cause}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    // How this program was built says nothing of the daemon.
    let declared = program::cli::Arguments::command().version(VERSION).long_version(VERSION);
    let mut command = declared.clone();
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut command, "farol", &completions)?;
    }
    let mut command = declared.disable_help_subcommand(true);
    command.build();
    for one in command.get_subcommands() {
        page_of(one.clone(), &man)?;
    }
    page_of(command, &man)?;
    fs::write(man.join("farol.toml.5"), configuration())
}

fn page_of(command: Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let page = Man::new(command).source(format!("farol {VERSION}")).manual(BOOK);
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut rest = Roff::new();
    list(&mut rest, "EXIT STATUS", &EXIT_STATUS);
    list(&mut rest, "ENVIRONMENT", &ENVIRONMENT);
    list(&mut rest, "FILES", &FILES);
    rest.control("SH", ["SEE ALSO"]);
    let others = if name == "farol" { "farol.toml(5), systemctl(1)" } else { "farol(1), farol.toml(5)" };
    rest.text([roman(others)]);
    rest.to_writer(&mut text)?;
    fs::write(directory.join(format!("{name}.1")), text)
}

fn list(page: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (term, meaning) in entries {
        page.control("TP", []);
        page.text([bold(*term)]);
        page.text([roman(*meaning)]);
    }
}

/// The documented file explains each key where it stands, so the page is that file.
fn configuration() -> String {
    let mut page = Roff::new();
    page.control("TH", ["farol.toml", "5", "", &format!("farol {VERSION}"), BOOK]);
    page.control("SH", ["NAME"]);
    page.text([roman("farol.toml - what the camera daemon farol is told to do")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman("/etc/farol/farol.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A TOML file. This is all that it can say, with the defaults; any of it may be left out. \
         After a change: `farol check` tells every fault, and `systemctl reload farol` makes the daemon read it.",
    )]);
    page.control("SH", ["KEYS"]);
    page.control("nf", []);
    page.text([roman(CONFIGURATION)]);
    page.control("fi", []);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("farol(1)")]);
    page.to_roff()
}
