//! The commands. Each is a file; each ends with an exit code that scripts can rely on.

mod audit;
mod backup;
mod check;
mod demo;
mod doctor;
mod explain;
mod finding;
mod generate;
mod init;
mod key;
mod log;
mod output;
mod progress;
mod restore;
mod selftest;
mod serve;
mod session;
mod simulate;
mod spend;
mod state;
mod store;
mod user;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::StartError;
use crate::config::Problems;
use crate::store::StoreError;

/// A two-factor gateway in front of any web application.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Example:\n  vestibule demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    #[command(after_help = "Example:\n  vestibule serve --config /etc/vestibule/config.toml")]
    Serve(Config),
    /// Try everything at once: a sample application, a simulated provider, a user and the gateway
    #[command(after_help = "Example:\n  vestibule demo")]
    Demo(demo::Args),
    /// Check a configuration and name every problem in it
    #[command(after_help = "Example:\n  vestibule check --online --config /etc/vestibule/config.toml")]
    Check(check::Args),
    /// Write a first configuration: six questions, or a flag for each
    #[command(after_help = init::HELP)]
    Init(init::Args),
    /// Look for ways around the gateway on this machine: listeners, files, secrets, limits
    #[command(after_help = "Example:\n  vestibule doctor")]
    Doctor(doctor::Args),
    /// Try to get past the gateway by every trick we know, and tell which worked
    #[command(after_help = selftest::HELP)]
    Selftest(selftest::Args),
    /// Manage the people the gateway lets in
    #[command(after_help = "Example:\n  vestibule user add alice --phone '+1 415 555 0100'")]
    User(user::Args),
    /// See and end sessions
    #[command(after_help = "Example:\n  vestibule session revoke --user alice")]
    Session(session::Args),
    /// See and rotate the keys that sign sessions
    #[command(after_help = "Example:\n  vestibule key rotate")]
    Key(key::Args),
    /// Read the audit trail
    #[command(after_help = "Example:\n  vestibule audit tail --reference K7QX-2MHD")]
    Audit(audit::Args),
    /// See what messages cost, and open sending again
    #[command(after_help = "Example:\n  vestibule spend show")]
    Spend(spend::Args),
    /// Copy the store to a file, also while the gateway runs
    #[command(after_help = backup::HELP)]
    Backup(backup::Args),
    /// Put a backup in the place of the store, while no gateway runs
    #[command(after_help = restore::HELP)]
    Restore(restore::Args),
    /// Look the store through, and move it to another database
    #[command(
        after_help = "Example:\n  vestibule store migrate --to postgres://vestibule@db.example.com/vestibule --password-file /etc/vestibule/postgres-password"
    )]
    Store(store::Args),
    /// Tell which route and rule a request falls under, what is required of it, and why
    #[command(
        after_help = "Example:\n  vestibule explain https://wiki.example.com/admin --from 192.0.2.7 --user alice"
    )]
    Explain(explain::Args),
    /// Run a provider simulator, for rehearsals and tests
    Simulate(simulate::Args),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  vestibule completions bash > /etc/bash_completion.d/vestibule")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    #[command(
        after_help = "Examples:\n  vestibule man | man -l -\n  vestibule man --out /usr/local/share/man/man1"
    )]
    Man(generate::ManArgs),
}

/// Which configuration a command works with.
#[derive(Clone, Debug, Args)]
pub(crate) struct Config {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/vestibule/config.toml")]
    pub(crate) config: PathBuf,
}

/// What every command that works on the store takes.
#[derive(Clone, Debug, Args)]
struct Common {
    #[command(flatten)]
    config: Config,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command did not succeed; each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done. Exit code 1.
    Runtime(String),
    /// It was called wrongly. Exit code 64.
    Usage(String),
    /// The configuration is wrong. Exit code 78.
    BadConfig(String),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 64,
            Self::BadConfig(_) => 78,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(text) | Self::Usage(text) | Self::BadConfig(text) => f.write_str(text),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::BadConfig(problems.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        // The service manager starts the gateway again after 1, and not after 78: these would be no better then.
        let text = error.to_string();
        if error.is_of_the_configuration() { Self::BadConfig(text) } else { Self::Runtime(text) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Runtime(error.to_string())
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vestibule: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(config) => serve::run(&config),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Init(args) => init::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::User(args) => user::run(args),
        Command::Session(args) => session::run(args),
        Command::Key(args) => key::run(args),
        Command::Audit(args) => audit::run(&args),
        Command::Spend(args) => spend::run(args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Store(args) => store::run(args),
        Command::Explain(args) => explain::run(&args),
        Command::Simulate(args) => simulate::run(args),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man(args) => generate::man(&args),
    }
}
