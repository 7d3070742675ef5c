//! `vestibule simulate`: a provider simulator for rehearsals and tests.
//!
//! Standard output is an interface: `listening URL` once, then `code DESTINATION DIGITS` per sent code.

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::Subcommand;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::simulator::{self, SentCode};

mod twilio;
mod vonage;

/// Play a provider: take its API calls and show the codes instead of sending them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vestibule simulate twilio --listen 127.0.0.1:4010")]
pub(super) struct Args {
    #[command(subcommand)]
    provider: Provider,
}

#[derive(Debug, Subcommand)]
enum Provider {
    Twilio(twilio::Twilio),
    Vonage(vonage::Vonage),
}

/// Serves until interrupted.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("cannot start the runtime: {error}")))?;
    match args.provider {
        Provider::Twilio(flags) => {
            let (listen, simulator) =
                (flags.listen, simulator::twilio::Simulator::new(flags.into_options()?));
            runtime.block_on(serve(listen, |listener| simulator.serve(listener, say_code)))
        }
        Provider::Vonage(flags) => {
            let (listen, simulator) =
                (flags.listen, simulator::vonage::Simulator::new(flags.into_options()?));
            runtime.block_on(serve(listen, |listener| simulator.serve(listener, say_code)))
        }
    }
}

async fn serve<F: Future<Output = ()>>(
    listen: SocketAddr,
    simulator: impl FnOnce(TcpListener) -> F,
) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::Runtime(format!("cannot listen on {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let no_signal = |error: io::Error| Failure::Runtime(format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    say(&format!("listening http://{address}"));
    tokio::select! {
        () = simulator(listener) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn say_code(sent: &SentCode) {
    say(&format!("code {} {}", sent.to, sent.code));
}

/// Writes a line at once. Whoever closed our output still has `/simulator/messages`.
fn say(line: &str) {
    let mut output = io::stdout().lock();
    let _unheard = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn secret(text: &str) -> Result<SecretString, &'static str> {
    (!text.is_empty()).then(|| text.to_owned().into()).ok_or("the secret is empty")
}

fn code(text: &str) -> Result<String, &'static str> {
    let fits = (4..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.to_owned()).ok_or("a code is 4 to 10 digits")
}

/// The names that a help text lists after `fault`, without the words between them.
#[cfg(test)]
fn fault_names(help: &str) -> impl Iterator<Item = &str> {
    let (_, names) = help.split_once("  fault ").expect("the help lists faults");
    let (names, _) = names.split_once("  times ").expect("the help lists times after faults");
    let lines = names.lines().map(|line| line.rsplit_once(": ").map_or(line, |(_, names)| names));
    lines.flat_map(str::split_whitespace)
}
